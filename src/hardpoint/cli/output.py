"""Print results, problems and tables; map errors to exit statuses."""

from __future__ import annotations

import base64
import io
import json
import math
import os
import re
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, Any, TextIO

from ..errors import (
    CrashedError,
    HardpointError,
    IncompatibleError,
    LoadError,
    NotAPluginError,
    PluginNotFoundError,
    StaleError,
    TimedOutError,
    one_line,
    printable,
)
from ..table import fits, plain, show

if TYPE_CHECKING:
    from ..errors import Problem
    from ..table import Table


class UsageError(HardpointError):
    """The command's arguments are wrong."""


_STATUS: tuple[tuple[type[HardpointError], int], ...] = (
    (UsageError, 2),
    (PluginNotFoundError, 3),
    (NotAPluginError, 4),
    (IncompatibleError, 4),
    (StaleError, 4),
    (LoadError, 4),
    (CrashedError, 5),
    (TimedOutError, 5),
)


def status_of(error: HardpointError) -> int:
    """The exit status for an error."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 1)


def warn(message: str) -> None:
    """Print a message for a person on stderr."""
    try:
        print(f"hardpoint: {printable(message)}", file=sys.stderr, flush=True)
    except OSError:  # nowhere else to report it
        give_up(sys.stderr)


def give_up(stream: TextIO) -> None:
    """Redirect a stream that cannot be written to /dev/null: Python would report it again at exit, when it flushes."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def own_stdout() -> None:
    """Keep stdout for this command: what others write to descriptor 1, such as a plugin, goes to stderr from now on."""
    try:
        fd = sys.stdout.fileno()
    except io.UnsupportedOperation:
        return
    if fd != 1:  # a caller's own stream
        return
    sys.stdout.flush()
    mine = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = open(mine, "w", encoding=sys.stdout.encoding, errors="backslashreplace")  # noqa: SIM115 - for good


def print_json(value: Any) -> None:
    """Print a result for a program on stdout, as JSON in ASCII. Bytes and infinity are encoded by `_as_json`."""
    print(json.dumps(_as_json(value), indent=2, allow_nan=False))


def _as_json(value: Any) -> Any:
    """Encode bytes as {"base64": "..."}, and floats that are not finite as {"float": "nan"}."""
    if isinstance(value, dict):
        return {key: _as_json(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json(each) for each in value]
    if isinstance(value, (bytes, bytearray)):
        return {"base64": base64.b64encode(value).decode()}
    return {"float": str(value)} if isinstance(value, float) and not math.isfinite(value) else value


_ROOM = 20
"""Columns that a text needs beside its label; where fewer are left, it stands below."""
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def print_folded(label: str, text: str) -> None:
    """Print a label and a text, whose lines are broken for the terminal's width and indented to where it begins."""
    width = output_width()
    columns = len(_COLOUR.sub("", label))
    if width is None or columns + len(text) <= width:
        print(label + text)
        return
    if columns + _ROOM > width:
        print(label.rstrip())
        columns = len(label) - len(label.lstrip()) + 4
        label = " " * columns
    # Without a label, too, no line of a file's text begins where the lines of the report do.
    indent = " " * (columns or 4)
    first, *rest = textwrap.wrap(
        text, width, initial_indent=" " * columns, subsequent_indent=indent, break_on_hyphens=False
    ) or [label]
    print(label + first[columns:])
    for line in rest:
        print(line)


def print_fact(name: str, *values: str) -> None:
    """Print a name and its values, one a line in a column of their own; `none` if there are none."""
    first, *rest = values or ("none",)
    print_folded(f"  {name:<9} ", one_line(first))
    for value in rest:
        print_folded(f"  {'':<9} ", one_line(value))


def print_problem(problem: Problem) -> None:
    """Print a problem or a warning, with its fix."""
    print(f"  {coloured('problem', 31) if problem.fatal else coloured('warning', 33)} {problem.code}")
    for name, text in (("needs", problem.needs), ("found", problem.found), ("do", problem.fix)):
        print_folded(f"    {name:<5}  ", text)


def output_width() -> int | None:
    """The columns of the terminal, or $COLUMNS, but at least 40; None for a pipe or a file, where no line is broken."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and len(columns) < 10 and int(columns):
        return max(int(columns), 40)
    return max(shutil.get_terminal_size().columns, 40) if sys.stdout.isatty() else None


def print_prose(text: str) -> None:
    """Print sentences, broken for the terminal's width."""
    width = output_width()
    print(printable(text if width is None else textwrap.fill(text, width, break_on_hyphens=False)))


def print_table(table: Table) -> None:
    """Print an empty line and a table: by rich if it is installed and stdout is a terminal, else in plain columns."""
    print()
    width = output_width()
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and fits(table, (width or 80) - len(table.header)):
        try:
            show(table)
        except ImportError:
            pass
        else:
            return
    print(printable(plain(table, width)))


def coloured(text: str, colour: int) -> str:
    """The text in a colour of the terminal (31 red, 32 green, 33 yellow), if stdout is one."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not sys.stdout.isatty():
        return text
    return f"\x1b[{colour}m{text}\x1b[0m"
