"""A plugin of small parts that between them have every type of setting."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs
import pytest
import torch
from torch import Tensor, nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.guidance import Guidance
from suffuse.contracts.model import Denoiser, Parameterization, Scaling
from suffuse.contracts.network import Backbone
from suffuse.contracts.objective import Times
from suffuse.contracts.part import Part, setting
from suffuse.contracts.process import Gaussian, Jump, Kernel, Learned, Process
from suffuse.contracts.sampler import Grid, Sampler
from suffuse.loading import Loaded, Outcome
from suffuse.records import Component, Origin, Plugin
from suffuse.registry import Registry
from suffuse.registry import registry as installed

if TYPE_CHECKING:
    from suffuse.contracts.task import Task

module = attrs.define(eq=False, slots=False, kw_only=True, on_setattr=attrs.setters.NO_OP)


@attrs.frozen(kw_only=True)
class Window:
    """A group of settings that is no part."""

    width: int = 3
    grid: Grid | None = None


@attrs.frozen(kw_only=True)
class Everything(Guidance):
    scale: float = setting(1.0, "how much", ge=0)
    count: int = setting(3, ge=1, lt=100)
    flag: bool = setting(False)
    text: str = setting("a")
    mode: Literal["x0", "eps", 1] = setting("x0")
    named: str = setting("left", choices=("left", "right"))
    sizes: tuple[int, ...] = setting((1, 2))
    pair: tuple[int, float] = setting((1, 0.5))
    many: list[float] = setting(factory=list)
    bag: frozenset[str] = setting(frozenset())
    table: dict[str, float] = setting(factory=dict)
    maybe: float | None = setting(None, ge=0)
    number: int | float = setting(1)
    shape: int | tuple[int, ...] = setting(1)
    where: Path = setting(Path("a/b"))
    anything: Any = setting(None)
    inner: Guidance | None = setting(None)
    grids: dict[str, Grid] = setting(factory=dict)
    start: float | Grid = setting(1.0)
    window: Window = setting(factory=Window)


@attrs.frozen(kw_only=True)
class Needy(Guidance):
    needs: ClassVar[frozenset[str]] = frozenset({"conditional"})

    scale: float = setting(doc="1 is off")


@attrs.frozen(kw_only=True)
class Vp(Gaussian):
    end: float = setting(1.0, gt=0, le=1)

    def kernel(self, t: Tensor) -> Kernel:
        return Kernel((self.end * t * torch.pi / 2).cos(), (self.end * t * torch.pi / 2).sin())

    def time(self, log_snr: Tensor) -> Tensor:
        return torch.atan((-log_snr / 2).exp()) * 2 / torch.pi / self.end


@attrs.frozen(kw_only=True)
class Leap(Process, Jump):
    def corrupt(self, x0, t, *, rng, end=None): ...

    def prior(self, like, cond=None, *, t=1.0): ...

    def rates(self, x_t, t, prediction): ...


@module
class Trained(Gaussian, Learned):
    def __attrs_pre_init__(self) -> None:
        super().__init__()

    def __attrs_post_init__(self) -> None:
        self.slope = nn.Parameter(torch.rand(()))

    def kernel(self, t): ...

    def time(self, log_snr): ...


@attrs.frozen(kw_only=True)
class V(Parameterization):
    def mix(self, process, t):
        alpha, sigma = process.scalars(t)
        return -sigma, alpha

    def scaling(self, process, t):
        return Scaling(1.0, t)


@module
class Net(Backbone):
    provides: ClassVar[frozenset[str]] = frozenset({"conditional"})

    width: int = setting(4, ge=1)
    groups: int = setting(1, ge=1)
    inner: Backbone | None = setting(None)

    def __attrs_pre_init__(self) -> None:
        super().__init__()

    def __attrs_post_init__(self) -> None:
        norm = nn.GroupNorm(self.groups, self.width)  # raises ValueError unless groups divide the width
        self.blocks = nn.ModuleDict({"in": nn.Linear(self.width, self.width), "norm": norm})

    def forward(self, x: Tensor, c_noise: Tensor, cond: Condition) -> Tensor:
        return self.run("norm", self.run("in", x))


@module
class Own(Denoiser):
    """A denoiser whose process is a default that no spec has to name."""

    provides: ClassVar[frozenset[str]] = frozenset({"mean"})

    trained: Gaussian = setting(factory=Vp)

    def __attrs_pre_init__(self) -> None:
        super().__init__()

    def forward(self, x_t, t, cond, *, process, s=None, rng=None): ...


@attrs.frozen(kw_only=True)
class Solver(Sampler):
    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean"})

    order: int = setting(1, ge=1, le=3)

    def step(self, system, carry, t, s, rng): ...


@attrs.frozen(kw_only=True)
class UniformToo(Times):
    def draw(self, process, n, rng): ...


@attrs.frozen(kw_only=True)
class Hopper(Guidance):
    jump: Jump = setting()
    both: Grid | Times = setting("unset")


@attrs.frozen(kw_only=True)
class Hidden(Guidance):
    task: Task = setting()


@attrs.frozen(kw_only=True)
class Stranger(Grid):
    def times(self, process, steps): ...


def loaded(key: str, *components: Component) -> Loaded:
    origin = Origin(dist=f"suffuse-{key}", version="1", key=key, path="")
    return Loaded(origin=origin, plugin=Plugin(paper=None), components=components)


def component(cls: type[Part], name: str = "") -> Component:
    gives = frozenset().union(*(vars(c).get("provides", ()) for c in cls.__mro__))
    target = f"{cls.__module__}:{cls.__qualname__}"
    name = name or cls.__name__.lower()
    return Component(name=name, target=target, kind=cls.kind, needs=cls.needs, gives=gives)


@pytest.fixture(scope="session")
def parts() -> type:
    """The classes above, by name."""
    return type("parts", (), {k: v for k, v in globals().items() if isinstance(v, type)})


@pytest.fixture(scope="session")
def registry() -> Registry:
    core = next(p for p in installed().plugins() if p.origin.key == "suffuse")
    ours = [Everything, Needy, Vp, Leap, Trained, V, Net, Own, Solver, Hopper, Hidden]
    other = [component(UniformToo, "uniform"), component(V, "v")]
    plugins = (core, loaded("toy", *map(component, ours)), loaded("other", *other))
    return Registry(Outcome(plugins=plugins, failures=(), blocked=()))
