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
from typing import Any, Literal, TypeAlias

import attrs

from suffuse.contracts.part import Part
from suffuse.errors import SuffuseError
from suffuse.records import Component
from suffuse.registry import Registry, registry

__all__ = ["Exempt", "Result", "Subject", "check", "checks_of", "contract_suite", "demand", "run_check"]


class Exempt(Exception):
    """Raised by a check that does not apply to its subject, with the reason."""


class Broken(AssertionError):
    """A rule that does not hold, with what was found."""


def demand(holds: object, message: str) -> None:
    """Raise ``Broken`` unless ``holds``."""
    if not holds:
        raise Broken(message)


@attrs.frozen(kw_only=True)
class Result:
    """The outcome of one check."""

    check: str
    status: Literal["passed", "failed", "exempt"]
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

    @property
    def part(self) -> Part:
        """The part under its example settings; a module is made once, so that it keeps its weights."""
        made: Part = self._made
        return made

    @cached_property
    def _made(self) -> Any:  # noqa: ANN401
        if self.given is not None:
            return self.given
        from suffuse.contracts import kinds
        from suffuse.spec import structure

        assert self.component is not None
        spec = {"use": self.ref, "with": dict(self.component.example)}
        return structure(spec, kinds.contract_of(self.kind), registry=self.known)

    @property
    def shape(self) -> tuple[int, ...]:
        """One input's shape, for networks and codecs."""
        if self.component is not None and self.component.shape:
            return self.component.shape
        shape = getattr(self.part, "shape", ())
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


def run_check(subject: Subject, name: str, rule: Check) -> Result:
    """Run one check; whatever it raises is its result."""
    began = time.perf_counter()

    def result(status: Literal["passed", "failed", "exempt"], reason: str = "") -> Result:
        return Result(check=name, status=status, reason=reason, seconds=time.perf_counter() - began)

    try:
        rule(subject)
    except Exempt as verdict:
        return result("exempt", str(verdict))
    except AssertionError as error:
        return result("failed", str(error) or "".join(traceback.format_exception(error))[-400:])
    except (Exception, SystemExit) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return result("failed", f"{type(error).__name__}: {error} ({last.filename}:{last.lineno})")
    return result("passed")


def check(target: str | Part, *, kind: str | None = None, known: Registry | None = None) -> list[Result]:
    """Check a part by reference, or an object, by all rules of its kind. Never raises; one result a rule."""
    subject = _subject(target, kind, known)
    if isinstance(subject, Result):
        return [subject]
    return [run_check(subject, name, rule) for name, rule in checks_of(subject.kind).items()]


def _subject(target: str | Part, kind: str | None, known: Registry | None) -> Subject | Result:
    if isinstance(target, Part):
        return Subject(kind=target.kind, given=target)
    known = known or registry()
    try:
        entry = known.get(target, kind)
    except SuffuseError as error:
        return Result(check="resolves", status="failed", reason=str(error))
    return Subject(kind=entry.kind, ref=entry.ref, component=entry.component, known=known)


def contract_suite(
    plugin: str, *, expected_failures: Mapping[str, str] | None = None
) -> Callable[[str, str, str], None]:
    """A parametrised pytest function: every rule for every part of an installed plugin.

    ``expected_failures`` maps ``"name:check"`` to a reason; such a check must fail (strictly). One that is named but
    does not exist fails the suite.
    """
    import pytest

    expected = dict(expected_failures or {})
    found = registry().find(plugin=plugin)
    cases = [(e.kind, e.ref, name) for e in found for name in checks_of(e.kind)]
    labels = {f"{ref.partition('/')[2]}:{name}" for _, ref, name in cases}
    if unknown := set(expected) - labels:
        raise SuffuseError(f"expected failures that name no check: {sorted(unknown)}")
    if not cases:
        raise SuffuseError(f"the plugin {plugin!r} offers no parts: is it installed? See `suffuse doctor`")

    def mark(case: tuple[str, str, str]) -> Any:  # noqa: ANN401
        label = f"{case[1].partition('/')[2]}:{case[2]}"
        marks = [pytest.mark.xfail(reason=expected[label], strict=True)] if label in expected else []
        return pytest.param(*case, id=f"{case[0]}-{label}", marks=marks)

    subjects: dict[tuple[str, str], Subject | Result] = {}

    @pytest.mark.parametrize(("kind", "ref", "name"), [mark(case) for case in cases])
    def test_contract(kind: str, ref: str, name: str) -> None:
        subject = subjects.setdefault((kind, ref), _subject(ref, kind, None))
        assert isinstance(subject, Subject), subject
        result = run_check(subject, name, checks_of(kind)[name])
        if result.status == "exempt":
            pytest.skip(result.reason)
        assert result.status == "passed", result.reason

    return test_contract
