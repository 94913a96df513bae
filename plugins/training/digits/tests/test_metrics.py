import attrs
import pytest
import torch
from suffuse_digits.classifier import Classifier
from suffuse_digits.dataset import Digits
from suffuse_digits.frechet import fitted_distance, frechet_distance
from suffuse_digits.metrics import Accuracy, Frechet
from suffuse_digits.train_classifier import accuracy, train

from suffuse.contracts.condition import Condition
from suffuse.contracts.network import Embedding, Encoder
from suffuse.contracts.task import Example
from suffuse.errors import InvalidInput, SpecError, Unsupported


def gaussian(seed, dim=6):
    g = torch.Generator().manual_seed(seed)
    a = torch.randn(dim, dim, generator=g, dtype=torch.float64)
    return torch.randn(dim, generator=g, dtype=torch.float64), a @ a.T


def test_it_is_the_formula_for_any_two_gaussians():
    """tr (C1 C2)^(1/2) from the eigenvalues of the plain product, which is not symmetric but similar to one that is."""
    (m1, c1), (m2, c2) = gaussian(0), gaussian(1)
    cross = torch.linalg.eigvals(c1 @ c2).real.sqrt().sum()
    expected = (m1 - m2).square().sum() + c1.trace() + c2.trace() - 2 * cross
    torch.testing.assert_close(frechet_distance(m1, c1, m2, c2), expected, rtol=1e-10, atol=0)
    torch.testing.assert_close(frechet_distance(m2, c2, m1, c1), expected, rtol=1e-10, atol=0)


def test_a_gaussian_is_at_no_distance_from_itself():
    m, c = gaussian(2)
    assert frechet_distance(m, c, m, c) < 1e-12 * c.trace()
    assert frechet_distance(m, 0 * c, m, 0 * c) == 0


def test_fitted_to_samples():
    """Two sets of one law: each coordinate's share has the mean 1/n + 1/m + O(1/n), so some 2 D (1/n + 1/m)."""
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(4000, 3, generator=g), torch.randn(4000, 3, generator=g) + torch.tensor([1.0, 0, 0])
    assert float(fitted_distance(x, x)) < 1e-12
    # The mean's error is sqrt(2/4000) = 0.022 and enters twice.
    assert float(fitted_distance(x, y)) == pytest.approx(1, abs=5 * 2 * 0.0224)


@pytest.mark.parametrize("x", [torch.zeros(1, 3), torch.zeros(3), torch.full((4, 3), torch.nan)])
def test_bad_features_are_refused(x):
    with pytest.raises(InvalidInput, match="at least two rows of finite features"):
        fitted_distance(x, torch.zeros(4, 3))


def test_shapes_are_checked():
    with pytest.raises(InvalidInput, match=r"means \(D,\) and covariances"):
        frechet_distance(torch.zeros(3), torch.eye(2), torch.zeros(3), torch.eye(3))


def test_the_shipped_classifier_reads_digits():
    assert accuracy(Classifier(), "test") > 0.98
    assert sum(p.numel() for p in Classifier().parameters()) < 60_000


def test_the_recipe_trains():
    """Five epochs of sixty get nine digits of ten right, and the same ones each time."""
    one, two = train(epochs=5, seed=1), train(epochs=5, seed=1)
    assert accuracy(one, "test") > 0.9
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)


def test_metrics_of_real_digits():
    train_set, test = Digits(split="train").everything(), Digits(split="test").everything()
    floor = Frechet().measure(train_set, test)["frechet"]
    noise = Example(x=torch.rand(500, 1, 8, 8) * 16, cond=Condition())
    one_class = Example(x=test.x[test.cond["label"] == 3], cond=Condition())
    assert floor > 0
    assert Frechet().measure(noise, test)["frechet"] > 10 * floor
    assert Frechet().measure(one_class, test)["frechet"] > 10 * floor
    assert Accuracy().measure(test, train_set)["accuracy"] > 0.98
    wrong = attrs.evolve(test, cond=Condition(label=(test.cond["label"] + 1) % 10))
    assert Accuracy().measure(wrong, train_set)["accuracy"] < 0.02


def test_bad_samples_are_refused():
    test = Digits(split="test").everything()
    with pytest.raises(InvalidInput, match="with a label"):
        Accuracy().measure(Example(x=test.x, cond=Condition()), test)
    with pytest.raises(InvalidInput, match="finite data"):
        Frechet().measure(Example(x=test.x * torch.nan, cond=Condition()), test)
    with pytest.raises(InvalidInput, match=r"expected digits \(batch, 1, 8, 8\)"):
        Frechet().measure(Example(x=test.x[:, 0], cond=Condition()), test)
    with pytest.raises(SpecError, match="width=16, got width=8"):
        Classifier(width=8)


def test_an_encoder_without_logits_reads_nothing():
    @attrs.define(eq=False, slots=False, kw_only=True, on_setattr=attrs.setters.NO_OP)
    class Blind(Encoder):
        def __attrs_pre_init__(self):
            super().__init__()

        def forward(self, data):
            return Embedding(whole=data.flatten(1))

    test = Digits(split="test").everything()
    with pytest.raises(Unsupported, match="Blind gives features but no logits"):
        Accuracy(encoder=Blind()).measure(test, test)
