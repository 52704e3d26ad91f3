"""The command line: `hardpoint COMMAND ...`, one file a command."""

# PYTHON_ARGCOMPLETE_OK: argcomplete's global completion looks for this marker.

from __future__ import annotations

import errno
import io
import os
import sys
import warnings
from importlib import import_module
from typing import TYPE_CHECKING

from ..errors import HardpointError, HardpointWarning
from ..version import __version__
from .commands import COMMANDS
from .output import give_up, status_of, warn
from .parser import Parser, did_you_mean

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Collection, Sequence

_EPILOG = """\
exit status:
  0  success
  1  problems were found, or a call failed
  2  wrong usage
  3  not found
  4  not a plugin, or one that does not fit (for build, check, doctor and list that is a problem found: 1)
  5  an isolated plugin crashed, or took too long
  130  Ctrl-C
  141  stdout was closed, as by `| head`
"""
_INTERRUPTED, _CLOSED = 130, 141  # what a shell reports for SIGINT and SIGPIPE
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status. Results go to stdout, all else to stderr, and never a traceback."""
    _open_streams()
    with warnings.catch_warnings():
        _show_warnings()
        return _main(argv)


def _main(argv: Sequence[str] | None) -> int:
    try:
        status = _run(argv)
        sys.stdout.flush()
    except BrokenPipeError:
        give_up(sys.stdout)
        return _CLOSED
    except OSError as error:
        warn(_why(error))
        give_up(sys.stdout)
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    return status


def _why(error: OSError) -> str:
    try:
        os.getcwd()
    except FileNotFoundError:
        return f"the working directory was removed; cd to one that exists ({error})"
    if error.errno in _FULL and error.filename is None:
        return f"stdout cannot be written: {error.strerror}"
    return str(error)


def _open_streams() -> None:
    """Put /dev/null in the place of streams that the caller closed, and let the others print any path."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:  # or files that are opened later would take these numbers
        os.set_inheritable(fd, True)  # in the processes that are started from here, too
    os.close(fd)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for the rest of the process
        if isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a path need not be valid UTF-8


def _show_warnings() -> None:
    """Print each warning once, in a line of ours, whatever $PYTHONWARNINGS says of hardpoint's own."""
    shown = set[str]()

    def show(message: Warning | str, *_: object, **__: object) -> None:
        if str(message) not in shown:
            shown.add(str(message))
            warn(f"warning: {message}")

    warnings.simplefilter("always", HardpointWarning)
    warnings.showwarning = show


def _run(argv: Sequence[str] | None) -> int:
    try:
        arguments = _parse(argv)
        status: int = arguments.run(arguments)
    except HardpointError as error:
        warn(str(error))
        return status_of(error)
    except SystemExit:  # argparse's: help, version, wrong usage
        sys.stdout.flush()
        raise
    except MemoryError:
        warn("out of memory")
        return 1
    return status


def _parse(argv: Sequence[str] | None) -> Namespace:
    """Parse the arguments.

    In `call` and `build`, options may stand between the words, which argparse alone does not allow.
    Arguments of `build` after -- go to the compiler.
    """
    argv = sys.argv[1:] if argv is None else [*argv]
    flags: list[str] = []
    if argv[:1] == ["build"] and "--" in argv:
        argv, flags = argv[: argv.index("--")], argv[argv.index("--") + 1 :]
    if "_ARGCOMPLETE" in os.environ:  # set by the shell's completion
        _complete()
    parser = _parser([word for word in argv if not word.startswith("-")][:1])
    if not argv:
        parser.print_help(sys.stderr)
        parser.exit(2)
    arguments, rest = parser.parse_known_args(argv)
    arguments.flags = flags
    command: Parser = getattr(arguments, "command", parser)
    if unknown := [word for word in rest if word.startswith("-")]:
        hint = did_you_mean(unknown[0], command.options())
        command.error(f"unknown: {' '.join(rest)}{hint} (write -- before an argument that starts with a dash)")
    if command is parser:
        parser.error("a command is missing; hardpoint --help lists them")
    if rest:
        words: list[str] | None = getattr(arguments, "words", None)
        if words is None:
            command.error(f"unknown: {' '.join(rest)}")
        words += rest
    return arguments


def _complete() -> None:
    """Answer the shell and exit; return if argcomplete is not installed here, but only where the shell has it."""
    try:
        from .completion import complete  # argcomplete is an extra
    except ModuleNotFoundError:
        return
    complete(_parser(os.environ.get("COMP_LINE", "").split()))


def _parser(names: Collection[str] | None = None) -> Parser:
    """Make the parser of all commands. Those in `names` are imported, for their arguments; by default all."""
    parser = Parser(
        prog="hardpoint",
        description="Look at, check and call native plugins: C shared libraries with a versioned vtable.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"hardpoint {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for each in COMMANDS:
        command = commands.add_parser(each.name, help=each.help)
        if names is None or each.name in names:
            module = import_module(f".{each.module}", __name__)
            command.description, _, command.epilog = (module.__doc__ or "").strip().partition("\n\n")
            module.configure(command)
            command.set_defaults(run=module.run, command=command)
    return parser
