"""The rules, by the kind of part they apply to."""

from suffuse.testing.checks import common as common
from suffuse.testing.checks import generators as generators
from suffuse.testing.checks import linear as linear
from suffuse.testing.checks import models as models
from suffuse.testing.checks import networks as networks
from suffuse.testing.checks import problems as problems
from suffuse.testing.checks import processes as processes
from suffuse.testing.checks import samplers as samplers
from suffuse.testing.checks import targets as targets
from suffuse.testing.checks import training as training

ALL = common.CHECKS
BY_KIND = {
    "process": {**processes.CHECKS, **linear.CHECKS},
    "parameterization": processes.READING,
    "grid": processes.GRID,
    "sampler": samplers.CHECKS,
    "terminal": samplers.TERMINAL,
    "guidance": samplers.GUIDANCE,
    "backbone": networks.CHECKS,
    "codec": networks.CODEC,
    "encoder": networks.ENCODER,
    "denoiser": models.DENOISER,
    "generator": generators.GENERATOR,
    "latent": generators.LATENT,
    "critic": generators.CRITIC,
    "adapter": models.ADAPTER,
    "objective": training.CHECKS,
    "times": training.TIMES,
    "weighting": training.WEIGHTING,
    "coupling": problems.COUPLING,
    "dataset": training.DATASET,
    "weights": training.WEIGHTS,
    "claim": training.CLAIM,
    "space": problems.SPACE,
    "operator": problems.OPERATOR,
    "noise": problems.NOISE,
    "reward": targets.REWARD,
    "target": targets.TARGET,
    "metric": problems.METRIC,
    "task": problems.TASK,
}

# What a rule takes for granted. While one of these fails it says nothing of its own, and a fault has one name: to
# compare two runs says nothing of batches where no run repeats another.
_RUNS = ("forward", "float64")
BUILDS_ON = {
    "replay": ("forward",),
    "batch-invariance": (*_RUNS, "replay"),
    "broadcast": (*_RUNS, "replay", "batch-invariance"),
    "interleaving": ("replay",),
    "noise-unused": ("replay",),
    "float64": ("forward", "replay", "endpoints"),
    "half": ("forward", "replay", "endpoints"),
    "purity": (*_RUNS, "replay"),
    "contiguity": (*_RUNS, "replay"),
    "marginals": ("endpoints",),
    "linear": ("float64", "purity"),
    "moments": ("linear", "sde", "derivative"),
    "gradients": ("endpoints", "purity"),
    "draws": ("energy",),
    "log-z": ("energy", "draws"),
    "transition": ("endpoints",),
    "acts": ("endpoints",),
    "conditions": (*_RUNS, "replay", "batch-invariance", "samples", "scores"),
    "blocks": (*_RUNS, "replay"),
    "saved": (*_RUNS, "replay", "registered", "samples", "scores"),
    "learns": ("samples",),
    "inverse": ("samples",),
    "density": ("law",),
    "penalised": ("scores",),
    "trains": _RUNS,
    "last": ("grid",),
    "bad-input": (*_RUNS, "broadcast"),
}
