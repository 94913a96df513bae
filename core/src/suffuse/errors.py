"""Every error that suffuse raises on purpose. Each message is one clear line."""

from collections.abc import Iterable


class SuffuseError(Exception):
    """Base of all errors of suffuse.

    `path` says where in a spec the fault lies, as in ``pipeline.sampler.steps``; whoever nests specs may set
    it while the error travels up.
    """

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path

    @property
    def message(self) -> str:
        """The message without the path."""
        return str(self.args[0])

    def __str__(self) -> str:
        return f"{self.message} @ {self.path}" if self.path else self.message


class UnknownComponent(SuffuseError):
    """No installed part has this reference; the message has the close matches."""


class AmbiguousName(SuffuseError):
    """A short name, or a reference without its kind, fits several parts."""


class MissingPlugin(SuffuseError):
    """The plugin is not installed, or is switched off.

    Only a plugin of the shipped catalogue gets an install line: a name may come from a stranger's file.
    """


class BrokenPlugin(SuffuseError):
    """A plugin, or one of its parts, could not be loaded. `traceback` is the text of the original one."""

    def __init__(self, message: str, *, path: str = "", traceback: str = "") -> None:
        super().__init__(message, path=path)
        self.traceback = traceback


class IncompatibleApi(SuffuseError):
    """A plugin was made for another major version of suffuse's plugin API."""


class IncompatibleComponents(SuffuseError):
    """Parts that do not fit together: capabilities are `missing`; `givers` are the parts that have them."""

    def __init__(
        self, message: str, *, path: str = "", missing: Iterable[str] = (), givers: Iterable[str] = ()
    ) -> None:
        super().__init__(message, path=path)
        self.missing = frozenset(missing)
        self.givers = tuple(givers)

    @property
    def message(self) -> str:
        """What does not fit, what is missing, and who could give it."""
        text = super().message
        if self.missing:
            text += f"; missing: {', '.join(sorted(self.missing))}"
        if self.givers:
            text += f"; given by: {', '.join(self.givers)}"
        return text


class SpecError(SuffuseError):
    """A spec or a setting is wrong: an unknown key, a wrong type, a value out of range."""


class Unsupported(SuffuseError):
    """An operation that cannot exist for this object, as the score of a one-step model."""


class InvalidInput(SuffuseError):
    """An argument is wrong: its shape, dtype, device or value, a NaN, an empty batch."""


class WeightsError(SuffuseError):
    """Saved weights are missing, altered, or do not fit the model."""
