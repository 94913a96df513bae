"""The command ``suffuse``: one sub-command a module, of which only the chosen one is imported.

A command's module has ``configure(parser)``, which adds its arguments, and ``main(args) -> int``, which
returns the exit status.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

from suffuse.errors import InvalidInput, SuffuseError

if TYPE_CHECKING:
    from suffuse.registry import Registry

# Command -> (module, what it does).
COMMANDS = {
    "list": ("suffuse.cli.list", "list the installed plugins and their parts"),
    "show": ("suffuse.cli.show", "show a part, a plugin, or a saved pipeline"),
    "sample": ("suffuse.cli.sample", "draw samples, with parts swapped by name, and score them"),
    "run": ("suffuse.cli.run", "run a task on a pipeline, or a file of commands into one report"),
    "train": ("suffuse.cli.train", "train what an experiment file says, or go on with it"),
    "verify": ("suffuse.cli.verify", "measure plugins by the contract suite and their claims"),
    "doctor": ("suffuse.cli.doctor", "examine the installation, every plugin and every part"),
}


class Arguments(argparse.ArgumentParser):
    """A command's arguments; what is wrong with them is an error of one line like any other."""

    def error(self, message: str) -> NoReturn:
        """Raise ``InvalidInput``."""
        raise InvalidInput(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 2 for a fault of the user's, 130 when interrupted."""
    # Not list(argv): importing the command of that name puts its module where the builtin was.
    argv = sys.argv[1:] if argv is None else [*argv]
    try:
        status = _run(argv)
        sys.stdout.flush()
        return status
    except SuffuseError as error:
        print(f"suffuse: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("suffuse: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader has gone; without this, Python would complain while it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _run(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="suffuse", description="Diffusion models, put together from plugins.")
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(dest="command", metavar="command", parser_class=Arguments)
    chosen = next((word for word in argv if not word.startswith("-")), None)
    for name, (module, summary) in COMMANDS.items():
        about = f"{summary[0].upper()}{summary[1:]}."
        command = commands.add_parser(name, help=summary, description=about, allow_abbrev=False)
        if name == chosen:
            import_module(module).configure(command)
    args, unknown = parser.parse_known_args(argv, argparse.Namespace(argv=argv))
    if unknown:
        chosen_parser = commands.choices.get(args.command, parser)
        chosen_parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if args.version:
        from suffuse import __version__

        print(f"suffuse {__version__}")
    elif args.command is None:
        parser.print_help()
    else:
        return int(import_module(COMMANDS[args.command][0]).main(args))
    return 0


def count(number: int, noun: str) -> str:
    """The number with its noun, as in ``1 plugin``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def tell_faults(registry: "Registry") -> None:
    """Tell each fault of the installed plugins on stderr, in one line."""
    for failure in registry.failures:
        print(f"suffuse: warning: {failure.line}", file=sys.stderr)
