"""What commands print, and the exit status that an error means."""

from __future__ import annotations

import base64
import json
import math
import os
import sys
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
)

if TYPE_CHECKING:
    from ..errors import Problem
    from ..table import Table


class UsageError(HardpointError):
    """The words of the command cannot be meant."""


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
    """A message for a person, on stderr."""
    try:
        print(f"hardpoint: {printable(message)}", file=sys.stderr, flush=True)
    except OSError:  # there is nowhere else to say it
        give_up(sys.stderr)


def give_up(stream: TextIO) -> None:
    """Have a stream that cannot be written to end nowhere; Python would complain of it once more at the exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def printable(text: str) -> str:
    """The text without what a terminal would obey: names and reasons come from files that nobody vouches for."""
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape", "surrogatepass").decode()
        for char in text
    )


def print_json(value: Any) -> None:
    """A result for a program, on stdout, in ASCII. JSON has no bytes and no infinity: see `_as_json`."""
    print(json.dumps(_as_json(value), indent=2, allow_nan=False))


def _as_json(value: Any) -> Any:
    """Bytes travel as {"base64": "..."}, and floats that are not finite as {"float": "nan"}."""
    if isinstance(value, dict):
        return {key: _as_json(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json(each) for each in value]
    if isinstance(value, (bytes, bytearray)):
        return {"base64": base64.b64encode(value).decode()}
    return {"float": str(value)} if isinstance(value, float) and not math.isfinite(value) else value


def print_fact(name: str, *values: str) -> None:
    """Print a name and its values, one a line in a column of their own; `none` if there are none."""
    first, *rest = values or ("none",)
    print(printable(f"  {name:<9} {first}"))
    for value in rest:
        print(printable(f"  {'':<9} {value}"))


def print_problem(problem: Problem) -> None:
    """A problem or a warning, with what to do about it."""
    print(f"  {coloured('problem', 31) if problem.fatal else coloured('warning', 33)} {problem.code}")
    print(printable(f"    needs  {problem.needs}\n    found  {problem.found}\n    do     {problem.fix}"))


def print_table(table: Table) -> None:
    """A table under an empty line: by rich, where it is installed and a person looks on; in plain columns elsewhere."""
    from ..table import plain, show

    print()
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        try:
            show(table)
        except ImportError:
            pass
        else:
            return
    print(printable(plain(table)))


def coloured(text: str, colour: int) -> str:
    """The text in one of the terminal's colours (31 red, 32 green, 33 yellow), if a person is there to see it."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not sys.stdout.isatty():
        return text
    return f"\x1b[{colour}m{text}\x1b[0m"
