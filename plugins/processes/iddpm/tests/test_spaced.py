import pytest
import torch
from suffuse_ddpm.discrete import Discrete
from suffuse_ddpm.linear import Linear
from suffuse_iddpm.ring import CHAIN
from suffuse_iddpm.spaced import Spaced

from suffuse.errors import Unsupported


def published(T, K):
    """The rule in words: strides of (T - 1)/(K - 1) added up from index 0, each rounded, halves to even."""
    at, kept = 0.0, []
    for _ in range(K):
        kept.append(round(at))
        at += (T - 1) / (K - 1)
    return kept


@pytest.mark.parametrize("T", [1000, 4000])
@pytest.mark.parametrize("K", [2, 3, 10, 25, 27, 50, 75, 100, 250, 999, 1000])
def test_indices_are_the_published_ones(T, K):
    chain = Discrete(T=T, schedule="cosine")
    times = Spaced().times(chain, K)
    assert [int(n) - 1 for n in chain.step_of(times.flip(0))] == published(T, K)
    assert times[0] == 1
    assert chain.step_of(times[-1]) == 1
    assert bool((times.diff() < 0).all())


def test_all_steps_are_the_chain_and_fewer_keep_its_signal():
    n = torch.arange(CHAIN.T, 0, -1)
    assert torch.equal(Spaced().times(CHAIN, CHAIN.T), CHAIN.time_of(n))
    times = Spaced().times(CHAIN, 37)
    torch.testing.assert_close(CHAIN.scalars(times)[0] ** 2, CHAIN.alpha_bar[CHAIN.step_of(times) - 1])
    betas = CHAIN.transition(times[:-1], times[1:]).sigma ** 2
    signal = CHAIN.alpha_bar[CHAIN.step_of(times) - 1]
    torch.testing.assert_close(betas, 1 - signal[:-1] / signal[1:], rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    ("process", "steps", "words"), [(CHAIN, 1, "2 to 1000"), (CHAIN, 1001, "2 to 1000"), (Linear(), 5, "T=")]
)
def test_what_it_cannot_give_is_refused(process, steps, words):
    with pytest.raises(Unsupported, match=words):
        Spaced().times(process, steps)
