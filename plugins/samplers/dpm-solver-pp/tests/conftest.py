"""Processes for the tests: variance-preserving, variance-exploding, and one without signal at t = 1."""

import attrs
import pytest
import torch

from suffuse.contracts.process import Gaussian, Kernel, as_time
from suffuse.testing.stand_ins import Circle, Explosion


@attrs.frozen(kw_only=True)
class Line(Gaussian):
    """``alpha = 1 - t, sigma = t``."""

    def kernel(self, t):
        return Kernel(1 - as_time(t), as_time(t))

    def time(self, log_snr):
        return torch.sigmoid(-as_time(log_snr) / 2)


PROCESSES = {"circle": Circle, "explosion": Explosion, "line": Line}


@pytest.fixture(params=list(PROCESSES))
def process(request):
    return PROCESSES[request.param]()


@pytest.fixture
def circle():
    return Circle()


@pytest.fixture
def line():
    return Line()
