"""The conformance kit: every part is checked by the same rules, and the number of checks is known.

``check("edm/heun")`` returns one ``Result`` a check and never raises. A plugin's test file inherits all of them::

    from suffuse.testing import contract_suite

    test_contract = contract_suite("edm")
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

import attrs

from suffuse.contracts.part import Part
from suffuse.errors import InvalidInput, SuffuseError
from suffuse.loading import Loaded, Outcome
from suffuse.records import Component, Origin, Plugin
from suffuse.registry import Registry, registry

__all__ = ["Exempt", "Result", "Subject", "check", "checks_of", "contract_suite", "demand", "refused", "run_check"]

Status: TypeAlias = Literal["passed", "failed", "exempt", "not run"]


class Exempt(Exception):
    """Raised by a check that does not apply to its subject, with the reason."""


class Broken(AssertionError):
    """A rule that does not hold, with what was found."""


def demand(holds: object, message: str) -> None:
    """Raise ``Broken`` unless ``holds``."""
    if not holds:
        raise Broken(message)


def refused(call: Callable[[], object], what: str, *words: str, error: type[SuffuseError] = InvalidInput) -> None:
    """Raise ``Broken`` unless ``call`` raises ``error`` in one line that has all of ``words``."""
    try:
        call()
    except error as answer:
        lost = [word for word in words if word not in str(answer)]
        demand(not lost, f"{what} is answered by {str(answer)!r}, which does not name {lost}")
        demand("\n" not in str(answer), f"{what} is answered by several lines: {str(answer)!r}")
    except Exception as answer:
        demand(False, f"{what} is answered by {type(answer).__name__}: {answer}; expected {error.__name__}")
    else:
        demand(False, f"{what} is accepted; expected {error.__name__}")


@attrs.frozen(kw_only=True)
class Result:
    """The outcome of one check. ``not run``: it says nothing, since one that it builds on fails."""

    check: str
    status: Status
    reason: str = ""
    seconds: float = 0.0


@attrs.frozen(eq=False, kw_only=True, slots=False)
class Subject:
    """What is checked: a registered part, or an object that no plugin registers."""

    kind: str
    ref: str | None = None
    component: Component | None = None
    given: Part | None = None
    known: Registry | None = None
    done: dict[str, Result] = attrs.field(factory=dict)

    @property
    def part(self) -> Part:
        """The part under its example settings, made once."""
        made: Part = self._made
        return made

    @cached_property
    def _made(self) -> Any:  # noqa: ANN401
        if self.given is not None:
            return self.given
        from suffuse.contracts import kinds
        from suffuse.spec import structure

        assert self.component is not None
        assert self.known is not None
        assert self.ref is not None
        spec = {"use": self.ref, "with": dict(self.component.example)}
        contract = kinds.contract_of(self.kind, self.known.resolve(self.ref, self.kind))
        return structure(spec, contract, registry=self.known)

    @property
    def shape(self) -> tuple[int, ...]:
        """One input's shape, for networks and codecs."""
        if self.component is not None and self.component.shape:
            return self.component.shape
        shape = getattr(self.part, "shape", ()) or getattr(getattr(self.part, "backbone", None), "shape", ())
        if not shape:
            raise Broken("the manifest's record must say the shape of one input: Component(shape=(1, 8, 8))")
        return tuple(shape)

    def beside(self, name: str) -> Part | None:
        """A part that the manifest asks to be composed with this one."""
        if self.component is None or name not in self.component.beside:
            return None
        from suffuse.contracts import kinds
        from suffuse.spec import structure

        contract = kinds.contract_of({"model": "denoiser"}.get(name, name))
        made: Part = structure(self.component.beside[name], contract, registry=self.known)
        return made


Check: TypeAlias = Callable[[Subject], None]


def checks_of(kind: str) -> Mapping[str, Check]:
    """The checks of a kind, by name: those of every part, then the kind's own."""
    from suffuse.testing.checks import ALL, BY_KIND

    return {**ALL, **BY_KIND.get(kind, {})}


def run_check(subject: Subject, name: str) -> Result:
    """Run one check; whatever it raises is its result.

    A failure is laid to the check that owns its cause: where one that this check builds on fails too, this one was
    not run. Each is run once for a subject.
    """
    result = _run(subject, name)
    if result.status == "failed" and (cause := _cause(subject, name)) != name:
        told = f"says nothing while {cause!r} fails: {result.reason}"
        return attrs.evolve(result, status="not run", reason=told)
    return result


def _cause(subject: Subject, name: str) -> str:
    """The failing check that this failing one builds on, in the end; itself if there is none."""
    from suffuse.testing.checks import BUILDS_ON

    known = checks_of(subject.kind)
    for other in ("resolves", *BUILDS_ON.get(name, ())):
        if other != name and other in known and _run(subject, other).status == "failed":
            return _cause(subject, other)
    return name


def _run(subject: Subject, name: str) -> Result:
    if name not in subject.done:
        began = time.perf_counter()
        status, reason = _judge(subject, checks_of(subject.kind)[name])
        subject.done[name] = Result(check=name, status=status, reason=reason, seconds=time.perf_counter() - began)
    return subject.done[name]


def _judge(subject: Subject, rule: Check) -> tuple[Status, str]:
    try:
        rule(subject)
    except Exempt as verdict:
        return "exempt", _told(verdict)
    except Broken as error:
        return "failed", _told(error)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # also SystemExit and pytest's own: no part ends or skips its examination
        last = traceback.extract_tb(error.__traceback__)[-1]
        return "failed", f"{type(error).__name__}: {_told(error)} ({Path(last.filename).name}:{last.lineno})"
    return "passed", ""


def _told(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "an error whose message cannot be had"


def check(target: object, *, kind: str | None = None, known: Registry | None = None, **record: Any) -> list[Result]:  # noqa: ANN401
    """Check a part by all rules of its kind. Never raises; one result a rule.

    ``target`` is a reference, an object, or a class of parts, which is checked as if a plugin registered it:
    ``record`` then has fields of its ``Component`` (``example``, ``beside``, ``shape``).
    What cannot be found has one result, of the check ``resolves``.
    """
    try:
        subject = _subject(target, kind, known, record)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        reason = _told(error) if isinstance(error, SuffuseError) else f"{type(error).__name__}: {_told(error)}"
        return [Result(check="resolves", status="failed", reason=reason)]
    return [run_check(subject, name) for name in checks_of(subject.kind)]


def _subject(target: object, kind: str | None, known: Registry | None, record: Mapping[str, Any]) -> Subject:
    if record and not isinstance(target, type):
        raise InvalidInput(f"only a class takes a record, got {sorted(record)} for {type(target).__name__}")
    if isinstance(target, Part):
        return Subject(kind=target.kind, given=target)
    known = known or registry()
    if isinstance(target, type) and issubclass(target, Part):
        kind, known = target.kind, _registering(target, known, record)
        target = "unregistered/part"
    if not isinstance(target, str):
        raise InvalidInput(f"expected a reference, a part or a class of parts, got {type(target).__name__}")
    entry = known.get(target, kind)
    return Subject(kind=entry.kind, ref=entry.ref, component=entry.component, known=known)


def _registering(cls: type[Part], known: Registry, record: Mapping[str, Any]) -> Registry:
    """These plugins, and one more that registers the class."""
    gives = frozenset[str]().union(*(vars(c).get("provides", ()) for c in cls.__mro__))
    target, summary = f"{cls.__module__}:{cls.__qualname__}", "a class that no plugin registers"
    fields: dict[str, Any] = {"summary": summary, "needs": cls.needs, "gives": gives, **record}
    component = Component(name="part", kind=cls.kind, target=target, **fields)
    origin = Origin(dist="unregistered", version="0", key="unregistered", path="")
    mine = Loaded(origin=origin, plugin=Plugin(paper=None), components=(component,))
    return Registry(Outcome(plugins=(*known.plugins(), mine), failures=known.failures, blocked=known.blocked))


def contract_suite(
    plugin: str, *, expected_failures: Mapping[str, str] | None = None
) -> Callable[[str, str, str], None]:
    """A parametrised pytest function: every rule for every part of an installed plugin.

    ``expected_failures`` maps ``"name:check"`` to a reason; such a check must fail (strictly). One that is named but
    does not exist fails the suite. What is exempt or not run is skipped with its reason.
    """
    import pytest

    expected = dict(expected_failures or {})
    found = registry().find(plugin=plugin)
    cases = [(e.kind, e.ref, name) for e in found for name in checks_of(e.kind)]
    labels = {f"{ref.partition('/')[2]}:{name}" for _, ref, name in cases}
    if not cases:
        raise SuffuseError(f"the plugin {plugin!r} offers no parts: is it installed? See `suffuse doctor`")
    if unknown := set(expected) - labels:
        raise SuffuseError(f"expected failures that name no check: {sorted(unknown)}")

    def mark(case: tuple[str, str, str]) -> Any:  # noqa: ANN401
        label = f"{case[1].partition('/')[2]}:{case[2]}"
        marks = [pytest.mark.xfail(reason=expected[label], strict=True)] if label in expected else []
        return pytest.param(*case, id=f"{case[0]}-{label}", marks=marks)

    subjects: dict[tuple[str, str], Subject] = {}

    @pytest.mark.parametrize(("kind", "ref", "name"), [mark(case) for case in cases])
    def test_contract(kind: str, ref: str, name: str) -> None:
        if (kind, ref) not in subjects:
            subjects[kind, ref] = _subject(ref, kind, None, {})
        result = run_check(subjects[kind, ref], name)
        if result.status in ("exempt", "not run"):
            pytest.skip(result.reason)
        assert result.status == "passed", result.reason

    return test_contract
