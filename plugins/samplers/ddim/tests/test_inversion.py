from itertools import pairwise

import pytest
import torch
from suffuse_ddim.inversion import Invert, decode, encode
from suffuse_ddim.sampler import Ddim

from suffuse.contracts.condition import Condition
from suffuse.errors import IncompatibleComponents, InvalidInput, Unsupported
from suffuse.parts import AtMean, Uniform
from suffuse.rng import Rng
from suffuse.testing.exact import mixture_system, truth
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.statistics import covariance_within, mean_within, slope

MIXTURE = GaussianMixture.random(dim=2, components=3, seed=0)


def test_error_falls_at_first_order(process):
    data = truth(MIXTURE, 16, seed=1)
    counts, errors = [100, 200, 400], []
    for steps in counts:
        sampler = Ddim(steps=steps, grid=Uniform(start=0.9))
        result = Invert().run(mixture_system(MIXTURE, process, sampler=sampler), {"data": data}, Rng.of(0, 16))
        errors.append(result.metrics["rmse"])
        assert result.metrics["max"] >= result.metrics["rmse"]
    # error = C/N (1 + c/N): two slopes, extrapolated, are free of c.
    coarse, fine = (slope([1, 2, 4], [a, b, b * b / a]).value for a, b in pairwise(errors))
    assert abs(2 * fine - coarse - 1) < 0.1
    assert errors[-1] < 0.05


def test_latents_are_the_prior(circle):
    """Encoding is the ODE's flow, which carries the data's law to the prior."""
    n = 2000
    system = mixture_system(MIXTURE, circle, sampler=Ddim(steps=200))
    latent = encode(system, truth(MIXTURE, n, seed=2), Condition(), Rng.of(0, n))
    assert mean_within(latent, 0.0)
    assert covariance_within(latent, torch.eye(2, dtype=torch.float64))


def test_terminals_do_not_disturb_the_encoding(circle):
    data, rng = truth(MIXTURE, 8, seed=3), Rng.of(0, 8)
    plain, ended = (
        encode(mixture_system(MIXTURE, circle, sampler=sampler), data, Condition(), rng)
        for sampler in (Ddim(steps=30), Ddim(steps=30, terminal=AtMean()))
    )
    assert torch.equal(plain, ended)


def test_labels(circle):
    system = mixture_system(MIXTURE, circle, sampler=Ddim(steps=200))
    data, labels = MIXTURE.sample_labelled(torch.Generator().manual_seed(0), 16)
    result = Invert().run(system, {"data": data, "cond": {"label": labels}}, Rng.of(0, 16))
    again = decode(system, result.states["latent"], Condition(label=labels), Rng.of(5, 16))
    assert torch.equal(again, result.states["reconstruction"])
    other = decode(system, result.states["latent"], Condition(label=(labels + 1) % 3), Rng.of(5, 16))
    assert (other - data).norm() > 5 * (again - data).norm()


def test_bad_input_is_refused(circle):
    data, rng = truth(MIXTURE, 4, seed=0), Rng.of(0, 4)
    system = mixture_system(MIXTURE, circle, sampler=Ddim(steps=5))
    for inputs in ({}, {"data": data, "extra": 1}, {"data": data[:3]}, {"data": data * float("nan")}):
        with pytest.raises(InvalidInput):
            Invert().run(system, inputs, rng)
    noisy = mixture_system(MIXTURE, circle, sampler=Ddim(steps=5, eta=1.0))
    with pytest.raises(IncompatibleComponents, match="inversion"):
        Invert().run(noisy, {"data": data}, rng)
    with pytest.raises(Unsupported, match="eta=0"):
        encode(noisy, data, Condition(), rng)
