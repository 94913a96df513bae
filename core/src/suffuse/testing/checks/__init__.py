"""The rules, by the kind of part they apply to."""

from suffuse.testing.checks import common as common
from suffuse.testing.checks import networks as networks
from suffuse.testing.checks import processes as processes
from suffuse.testing.checks import samplers as samplers
from suffuse.testing.checks import training as training

ALL = common.CHECKS
BY_KIND = {
    "process": processes.CHECKS,
    "parameterization": processes.READING,
    "grid": processes.GRID,
    "sampler": samplers.CHECKS,
    "guidance": samplers.GUIDANCE,
    "backbone": networks.CHECKS,
    "codec": networks.CODEC,
    "encoder": networks.ENCODER,
    "objective": training.CHECKS,
    "times": training.TIMES,
    "weighting": training.WEIGHTING,
    "dataset": training.DATASET,
    "weights": training.WEIGHTS,
    "claim": training.CLAIM,
}
