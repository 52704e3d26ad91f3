"""The parser of the command line: help that follows the terminal's width, and hints for misspelt words."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

_NARROWEST, _WIDEST = 40, 200
_COLUMN = re.compile(r"  \S+  +")
"""The beginning of a line in two columns, such as `  4  not a plugin`."""
_SHELL_WORD = re.compile(r"""(?:'[^']*'|"[^"]*"|\$\([^)]*\)|[^\s'"$]|\$)+""")
_USAGE_PART = re.compile(r"\[.*?\]+(?=\s|$)|\S+")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """The end of a message about an unknown word: `; did you mean list?`, or "" if nothing is like it."""
    from difflib import get_close_matches  # 2 ms, for the error alone

    close = get_close_matches(word, [*choices], n=2)
    return f"; did you mean {' or '.join(close)}?" if close else ""


class Formatter(argparse.HelpFormatter):
    """Lays the help out for the terminal's width, from 40 to 200 columns; $COLUMNS replaces that."""

    def __init__(self, *args: Any, **options: Any) -> None:
        columns = min(max(shutil.get_terminal_size().columns, _NARROWEST), _WIDEST)
        super().__init__(*args, **{"width": columns - 2, **options})

    def _format_usage(self, usage: str | None, actions: Any, groups: Any, prefix: str | None) -> str:
        text = " ".join(super()._format_usage(usage, actions, groups, prefix).split())
        return "\n".join(_broken(_USAGE_PART.findall(text), self._width, " " * len("usage: "))) + "\n\n"

    def _format_action_invocation(self, action: argparse.Action) -> str:
        text = super()._format_action_invocation(action)
        return "\n".join(_broken([text], self._width - 2, " " * 6))

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n\n".join(indent + _paragraph(part, width - len(indent)) for part in text.strip().split("\n\n"))


def _paragraph(text: str, width: int) -> str:
    """Break prose; of a title with indented lines, break each of these by itself: commands, or two columns."""
    if "\n  " not in text:
        return "\n".join(_broken(text.split(), width))
    lines: list[str] = []
    for line in text.split("\n"):
        if column := _COLUMN.match(line):
            first, *rest = line[column.end() :].split()
            lines += _broken([column[0] + first, *rest], width, " " * column.end())
        elif line.startswith("  "):
            first, *rest = _SHELL_WORD.findall(line)
            lines += _broken([f"  {first}", *rest], width, " " * 6, " \\")
        else:
            lines.append(line)
    return "\n".join(lines)


def _broken(words: list[str], width: int, indent: str = "", end: str = "") -> list[str]:
    """Break words into lines. All but the first begin with `indent`, and all but the last end with `end`."""
    lines = [""]
    for index, word in enumerate(words):
        longer = f"{lines[-1]} {word}" if index else word
        if _seen(longer + end) <= width:
            lines[-1] = longer
        elif index:
            lines[-1] += end
            lines += _pieces(indent + word, width, indent)
        else:
            lines = _pieces(word, width, indent)
    return lines


def _pieces(word: str, width: int, indent: str) -> list[str]:
    """A word that may be too long for a line, broken between alternatives."""
    lines: list[str] = []
    while _seen(word) > width and (cut := max(word.rfind(char, len(indent) + 1, width) for char in "|(, ")) > 0:
        lines.append(word[: cut + 1].rstrip())
        word = indent + word[cut + 1 :]
    return [*lines, word]


def _seen(text: str) -> int:
    """The columns that a text takes."""
    return len(_COLOUR.sub("", text))


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors suggest what was meant."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"formatter_class": Formatter, **kwargs})

    def options(self) -> list[str]:
        """Every option, as it is written."""
        return [*self._option_string_actions]

    def _print_message(self, message: str, file: Any = None) -> None:
        if message:  # argparse ignores a stream that cannot be written
            (file or sys.stderr).write(message)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        hint = did_you_mean(str(value), action.choices)
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - it has no public name
            raise argparse.ArgumentError(None, f"no command {value!r}{hint or '; hardpoint --help lists them'}")
        raise argparse.ArgumentError(action, f"it is one of {', '.join(action.choices)}, not {value!r}{hint}")
