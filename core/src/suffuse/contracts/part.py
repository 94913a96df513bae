"""What every component is: an attrs class whose fields are its settings.

A part *needs* capabilities of the parts around it and *gives* its own. Both are plain words (``gaussian``,
``mean``, ``conditional``), repeated in the plugin's torch-free manifest, so that a wrong combination is refused
before torch is imported; the contract suite asserts that manifest and class agree.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar, dataclass_transform

import attrs

from suffuse.errors import SpecError

__all__ = ["Part", "module", "setting"]


T = TypeVar("T")


class Part:
    """A component: settings in attrs fields, capabilities in class attributes.

    ``needs`` lists what the other parts of a system must give; ``"a|b"`` is met by either.
    ``provides`` lists what the class gives; ``gives`` collects it over the bases and may be narrowed by settings
    (a backbone without classes is not ``conditional``).
    """

    kind: ClassVar[str]
    needs: ClassVar[frozenset[str]] = frozenset()
    provides: ClassVar[frozenset[str]] = frozenset()

    @property
    def gives(self) -> frozenset[str]:
        """The capabilities of this part under its settings."""
        return frozenset[str]().union(*(vars(c).get("provides", ()) for c in type(self).__mro__))


def setting(
    default: Any = attrs.NOTHING,  # noqa: ANN401 - a field's default has the field's own type
    doc: str = "",
    *,
    factory: Callable[[], Any] | None = None,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    choices: Sequence[Any] | None = None,
    check: Callable[[Any], str | None] | None = None,
) -> Any:  # noqa: ANN401
    """An attrs field with its meaning and its range, checked whenever a part is made.

    ``check`` returns what is wrong with a value, or None. Raises ``SpecError`` with the field's name, what was
    expected and what came. The field's metadata keep ``doc``, the bounds and the choices for those who describe it.
    """
    bounds = [(ge, "at least", operator.ge), (gt, "above", operator.gt)]
    bounds += [(le, "at most", operator.le), (lt, "below", operator.lt)]
    active = [(b, words, ok) for b, words, ok in bounds if b is not None]

    def wrong_with(value: Any) -> str | None:  # noqa: ANN401
        for bound, words, ok in active:
            if isinstance(value, bool) or not isinstance(value, int | float):
                return f" must be a number, got {value!r}"
            if not ok(value, bound):  # NaN fails every comparison, so it ends here too
                return f" must be {words} {bound:g}, got {value!r}"
        if choices is not None and value not in choices:
            return f" must be one of {', '.join(map(repr, choices))}, got {value!r}"
        wrong = check(value) if check is not None else None
        return f": {wrong}" if wrong else None

    def validate(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:  # noqa: ANN401
        if value is None and default is None:
            return
        if wrong := wrong_with(value):
            raise SpecError(f"{attribute.name}{wrong}", path=attribute.alias or attribute.name)

    if factory is not None:
        default = attrs.Factory(factory)
    limits = {"ge": ge, "gt": gt, "le": le, "lt": lt, "choices": None if choices is None else tuple(choices)}
    metadata = {"doc": doc, **{name: limit for name, limit in limits.items() if limit is not None}}
    return attrs.field(default=default, validator=validate, metadata=metadata)


@dataclass_transform(kw_only_default=True, field_specifiers=(setting, attrs.field))
def module(cls: type[T]) -> type[T]:
    """Make a class with settings that is also a ``torch.nn.Module``: settings are fields, layers are attributes.

    Plain ``attrs.define`` sets fields past ``Module.__setattr__``, which loses sub-modules, and does not run the
    module's own ``__init__`` first. Build layers in ``__attrs_post_init__``.
    """

    def before(self: Any) -> None:  # noqa: ANN401
        from torch.nn import Module

        Module.__init__(self)  # not super's: that of a derived class would come back here

    cls.__attrs_pre_init__ = before  # type: ignore[attr-defined]
    made: type[T] = attrs.define(eq=False, slots=False, kw_only=True, on_setattr=attrs.setters.NO_OP)(cls)
    return made
