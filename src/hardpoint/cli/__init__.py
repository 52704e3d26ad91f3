"""The command line: `hardpoint COMMAND ...`, one file a command."""

from __future__ import annotations

import argparse
import io
import os
import sys
import warnings
from typing import TYPE_CHECKING

from ..errors import HardpointError
from ..version import __version__
from . import call, check, header, include, inspect
from .output import status_of, warn

if TYPE_CHECKING:
    from collections.abc import Sequence

_COMMANDS = (call, inspect, check, header, include)
_EPILOG = """\
exit status:
  0  fine
  1  problems were found, or a call failed
  2  wrong usage
  3  not found
  4  not a plugin, or one that does not fit
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit status. Results go to stdout, all else to stderr, and never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a path may be no text at all
    warnings.showwarning = lambda message, *_, **__: warn(f"warning: {message}")
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()
    except HardpointError as error:
        warn(str(error))
        return status_of(error)
    except BrokenPipeError:  # the reader has seen enough; Python would complain once more when it closes stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hardpoint",
        description="Look at, check and call native plugins: C shared libraries with a versioned vtable.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"hardpoint {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in _COMMANDS:
        name = module.__name__.rpartition(".")[2]
        description, _, example = (module.__doc__ or "").strip().partition("\n\n")
        command = commands.add_parser(
            name,
            help=description.splitlines()[0],
            description=description,
            epilog=example,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.configure(command)
        command.set_defaults(run=module.run, command=command)
    return parser
