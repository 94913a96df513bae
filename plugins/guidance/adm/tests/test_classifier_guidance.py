import attrs
import pytest
import torch
from suffuse_adm.classifier import Classifier, GaussianClasses
from suffuse_adm.gradient import log_prob_gradient
from suffuse_adm.guidance import GuidedMean, GuidedScore
from suffuse_adm.half_unet import HalfUNet
from suffuse_adm.objective import NoisyClassifier
from suffuse_ddim.sampler import Ddim
from suffuse_ddpm.ancestral import Ancestral
from suffuse_ddpm.discrete import Discrete
from suffuse_ddpm.linear import Linear
from suffuse_ddpm.parameterization import Eps
from suffuse_dpm_solver_pp.multistep import Multistep
from suffuse_edm.deterministic import Heun
from suffuse_edm.grid import Rho
from suffuse_edm.process import Edm
from suffuse_iddpm.ancestral import Ancestral as LearnedAncestral
from suffuse_iddpm.ring import CHAIN, held
from suffuse_mlp.backbone import Mlp

from suffuse.contracts.condition import Condition
from suffuse.contracts.objective import Batch, Times
from suffuse.contracts.prediction import Mean
from suffuse.contracts.space import Euclidean
from suffuse.errors import IncompatibleComponents, InvalidInput, SpecError, Unsupported
from suffuse.parts import Chain, Clip
from suffuse.preconditioned import Preconditioned
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.exact import mixture_system, truth
from suffuse.testing.fitting import seeded
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.stand_ins import Circle, Explosion, FirstOrder
from suffuse.testing.statistics import compare

F64 = torch.float64
CLASSES = GaussianMixture.ring(4, radius=1.5, std=0.6)
EXACT = GaussianClasses(means=tuple(map(tuple, CLASSES.means.tolist())), std=0.6)
TIME = torch.tensor(0.4, dtype=F64)


@attrs.frozen
class Barely(Times):
    """Next to no noise."""

    def draw(self, process, n, rng):
        return torch.full((n,), 1e-3, dtype=F64), torch.ones(n, dtype=F64)


def states(n=8):
    x = torch.randn(n, 2, generator=torch.Generator().manual_seed(0), dtype=F64)
    return x, Condition(label=torch.arange(n) % 4)


def system(guidance, process=None, **parts):
    return mixture_system(CLASSES, process or Linear(), guidance=guidance, **parts)


@pytest.mark.parametrize("process", [Linear(), Edm(), Circle()])
def test_gaussian_classes_are_the_exact_classifier(process):
    x, _ = states()
    for t in (TIME, torch.linspace(0.0, 1.0, 8, dtype=F64)):
        said = EXACT(x, t, Condition(), process=process).logits.log_softmax(1)
        torch.testing.assert_close(said, CLASSES.class_log_prob(x, *process.scalars(t)), rtol=1e-9, atol=1e-9)
    weighted = attrs.evolve(CLASSES, weights=torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=F64))
    classes = GaussianClasses(means=EXACT.means, std=0.6, weights=(1.0, 2.0, 3.0, 4.0))
    said = classes(x, TIME, Condition(), process=process).logits.log_softmax(1)
    torch.testing.assert_close(said, weighted.class_log_prob(x, *process.scalars(TIME)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("process", "sampler"),
    [
        (Linear(), Ddim(steps=60)),
        (Linear(), Multistep(steps=30)),
        (Linear(), Ancestral(steps=200)),
        (Edm(), Heun(steps=25, grid=Rho())),
        (Discrete(), Ddim(steps=60, eta=1.0)),
    ],
    ids=lambda p: type(p).__name__,
)
def test_an_unconditional_model_samples_the_conditional_law_with_any_sampler(process, sampler):
    guided = system(GuidedScore(classifier=EXACT, alone=True), process, sampler=sampler)
    label = torch.full((800,), 2)
    x = guided.sample(cond={"label": label}, seed=3, dtype=F64)
    assert compare(x, truth(CLASSES.conditioned(2), 800, 7), "energy", permutations=400, seed=0).p_value > 0.005
    plain = attrs.evolve(guided, guidance=None).sample(800, seed=3, dtype=F64)
    assert compare(plain, truth(CLASSES.conditioned(2), 800, 7), "energy", permutations=200, seed=0).p_value < 0.01


@pytest.mark.parametrize("variance", ["small", "large"])
def test_guided_means_sample_the_conditional_law_in_many_steps(variance):
    """The shift is of first order in the step, so the law is that of the score in the limit."""
    guidance = GuidedMean(classifier=EXACT, alone=True)
    guided = system(guidance, sampler=Ancestral(steps=300, variance=variance))
    x = guided.sample(cond={"label": torch.full((800,), 1)}, seed=3, dtype=F64)
    assert compare(x, truth(CLASSES.conditioned(1), 800, 7), "energy", permutations=400, seed=0).p_value > 0.005


def test_a_learned_variance_scales_the_shift_element_by_element():
    learned = attrs.evolve(held(0.3), sampler=LearnedAncestral(steps=5))
    guided = attrs.evolve(learned, guidance=GuidedMean(classifier=EXACT, strength=2.0, alone=True))
    label = torch.tensor([0, 1, 2])
    for info in (i for _, i in guided.stream(cond={"label": label}, seed=0)):
        plain = learned.plain(info.x_t, info.t, Condition(), s=info.s)
        mean = CHAIN.posterior(info.x_t, plain.x0, info.t, info.s).mean
        if info.transition is None:
            torch.testing.assert_close(info.x_s, mean)
            continue
        gradient = log_prob_gradient(EXACT, info.x_t, info.t, Condition(label=label), CHAIN)
        expected = mean + 2 * plain.variance.value * gradient
        torch.testing.assert_close(info.transition.mean, expected, rtol=1e-4, atol=1e-4)


def test_the_score_keeps_a_learned_variance():
    learned = attrs.evolve(held(0.3), guidance=GuidedScore(classifier=EXACT, alone=True))
    x, cond = states()
    s = torch.tensor(0.3, dtype=F64)
    plain, guided = (f(x.float(), TIME, cond, s=s) for f in (learned.plain, learned.denoise))
    assert torch.equal(plain.variance.value, guided.variance.value)
    exact = mixture_system(CLASSES, CHAIN, variance=True, guidance=GuidedScore(classifier=EXACT, alone=True))
    assert exact.denoise(x, TIME, cond).variance is None  # that of x0 is another one for the guided law


@pytest.mark.parametrize("mix", [(1.0, 0.0), (0.0, 1.0), "v"])
@pytest.mark.parametrize("time", [TIME, torch.linspace(0.1, 1.0, 8, dtype=F64)])
def test_every_parameterization_is_guided_alike(mix, time):
    (x, cond), guided = states(), system(GuidedScore(classifier=EXACT, strength=3.0, alone=True))

    def read(x_t, t, cond, *, s=None, rng=None):
        p = guided.plain(x_t, t, cond)
        to = p.mix if mix == "v" else mix
        return Mean(value=p._as(to, "it"), x_t=x_t, t=t, process=p.process, mix=to)

    found = guided.guidance.denoiser(read, guided)(x, time, cond)
    torch.testing.assert_close(found.score, guided.denoise(x, time, cond).score, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(found.x0, guided.denoise(x, time, cond).x0, rtol=1e-7, atol=1e-7)


def test_a_conditional_model_is_guided_further():
    """Both are told the label: score_c + w grad."""
    x, cond = states()
    found = system(GuidedScore(classifier=EXACT, strength=2.0)).denoise(x, TIME, cond)
    alpha, sigma = Linear().scalars(TIME)
    s_u = CLASSES.score(x, alpha, sigma)
    s_c = torch.cat(
        [CLASSES.conditioned(int(c)).score(r[None], alpha, sigma) for c, r in zip(cond["label"], x, strict=True)]
    )
    torch.testing.assert_close(found.score, s_c + 2 * (s_c - s_u), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", [GuidedScore, GuidedMean])
def test_off_is_off_and_rows_without_a_label_are_not_guided(kind):
    x, cond = states()
    off = system(kind(classifier=EXACT, strength=0.0), sampler=Ancestral(steps=5))
    assert off.denoise is off.plain
    assert off.step == off.sampler.step
    on = attrs.evolve(off, guidance=kind(classifier=EXACT, strength=2.0, alone=True))
    plain = attrs.evolve(off, guidance=None)
    some = cond.drop(where=torch.arange(8) < 3)
    a, b = (w.sample(cond=c, seed=1, start=x, dtype=F64) for w, c in ((on, some), (plain, Condition())))
    torch.testing.assert_close(a[:3], b[:3])
    assert bool(((a - b).abs().amax(1) > 1e-3)[3:].all())


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_works_whatever_the_autograd_mode(mode):
    guided = system(GuidedScore(classifier=EXACT, strength=2.0), sampler=FirstOrder(steps=4))
    cond = {"label": torch.arange(6) % 4}
    with mode():
        x = guided.sample(cond=cond, seed=0, dtype=F64)
    assert not x.requires_grad
    torch.testing.assert_close(x, guided.sample(cond=cond, seed=0, dtype=F64))


def test_gradients_flow_through_the_classifier_s_own():
    """By differences, of a guided step's sum."""
    guided, (x, cond) = system(GuidedScore(classifier=EXACT, strength=2.0)), states(2)

    def f(x):
        return guided.denoise(x, TIME, cond).x0

    assert torch.autograd.gradcheck(f, x.clone().requires_grad_())


def test_what_cannot_be_guided_is_refused():
    x, cond = states()
    with pytest.raises(InvalidInput, match="label=3"):
        system(GuidedScore(classifier=EXACT)).denoise(x, TIME, Condition())
    with pytest.raises(InvalidInput, match=r"\[0, 4\)"):
        system(GuidedScore(classifier=EXACT, alone=True)).denoise(x, TIME, Condition(label=torch.full((8,), 4)))
    with pytest.raises(IncompatibleComponents, match="stochastic"):
        system(GuidedMean(classifier=EXACT), sampler=Ddim())
    with pytest.raises(Unsupported, match="logits"):
        system(GuidedScore(classifier=mixture_system(CLASSES, Linear()).model)).denoise(x, TIME, cond)
    with pytest.raises(SpecError, match="strength"):
        GuidedScore(classifier=EXACT, strength=float("nan"))
    with pytest.raises(InvalidInput, match="2 elements"):
        EXACT(torch.zeros(1, 3), TIME, Condition(), process=Linear())
    for wrong in (
        {"means": ((0.0,),)},
        {"means": ((0.0,), (1.0, 2.0))},
        {"means": ((0.0,), (1.0,)), "weights": (1.0,)},
    ):
        with pytest.raises(SpecError):
            GaussianClasses(**wrong)


def test_clipped_inside_as_the_authors_do():
    guidance = Chain(parts=(Clip(low=-0.2, high=0.2), GuidedMean(classifier=EXACT, alone=True)))
    infos = [
        i for _, i in system(guidance, sampler=Ancestral(steps=6)).stream(cond={"label": torch.tensor([0, 1])}, seed=0)
    ]
    assert all(bool((i.prediction.x0.abs() <= 0.2).all()) for i in infos)


@seeded(0)
def learned(**settings):
    net = Mlp(shape=(2,), width=16, depth=1, frequencies=4, outputs=4)
    torch.nn.init.normal_(net.last.weight)
    model = Preconditioned(backbone=net.double(), parameterization=Eps(), trained=Linear())
    return Classifier(model=model)


def test_a_classifier_is_told_the_time_of_its_own_schedule():
    classifier, process, (x, cond) = learned(), Explosion(), states()
    u = process.time(Linear().log_snr(TIME))
    k = torch.hypot(*process.scalars(u)) / torch.hypot(*Linear().scalars(TIME))
    one, other = classifier(x, TIME, cond, process=Linear()), classifier(k * x, u, cond, process=process)
    torch.testing.assert_close(one.logits, other.logits, rtol=1e-6, atol=1e-6)
    assert one.logits.shape == (8, 4)
    torch.testing.assert_close(one.logits, classifier(x, TIME, Condition(), process=Linear()).logits)


def test_the_objective_is_the_cross_entropy_at_the_drawn_noise():
    """With the exact classifier its mean is the conditional entropy, which noise raises."""
    n = 4000
    x, y = CLASSES.sample_labelled(torch.Generator().manual_seed(0), n)
    batch, means = Batch(x=x, cond=Condition(label=y), index=torch.arange(n)), []
    for times in ({"times": Barely()}, {}):
        exact = System(model=EXACT, process=Linear(), space=Euclidean(shape=(2,)))
        loss = NoisyClassifier(**times).loss("model", batch, exact, {}, Rng.of(0, n))
        means.append(float(loss.per_sample.mean()))
        assert 0 < float(loss.logs["accuracy"]) <= 1
    clean = -CLASSES.class_log_prob(x).gather(1, y[:, None]).mean()
    assert abs(means[0] - float(clean)) < 0.02  # at t = 0.001 there is a hundredth of the noise's variance
    assert means[1] > means[0] + 0.1
    absent = attrs.evolve(batch, cond=batch.cond.drop(where=torch.arange(n) < 5))
    assert not NoisyClassifier().loss("model", absent, exact, {}, Rng.of(0, n)).per_sample[:5].any()
    with pytest.raises(InvalidInput, match="labelled"):
        NoisyClassifier().loss("model", None, exact, {}, Rng.of(0, 2))


@seeded(0)
def test_images_train_their_classifier():
    net = HalfUNet(
        channels=1, side=8, classes=3, width=8, multipliers=(1, 2), depth=1, attention=(1,), head_width=4, groups=4
    )
    model = Classifier(model=Preconditioned(backbone=net, parameterization=Eps(), trained=Linear()))
    trained = System(model=model, space=Euclidean(shape=(1, 8, 8)))
    x = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    batch = Batch(x=x, cond=Condition(label=torch.arange(6) % 3), index=torch.arange(6))
    loss = NoisyClassifier().loss("model", batch, trained, {}, Rng.of(0, 6)).per_sample
    assert bool(torch.autograd.grad(loss.sum(), net.pool.out.weight)[0].any())
    gradient = log_prob_gradient(model, x, TIME, batch.cond, Linear())
    assert gradient.shape == x.shape
    assert bool(gradient.flatten(1).any(1).all())
