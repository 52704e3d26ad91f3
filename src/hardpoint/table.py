"""Text for people: counted nouns, and rows as a table, in plain columns or by rich, which is an extra."""

from __future__ import annotations

from typing import NamedTuple


def counted(number: int, noun: str) -> str:
    """A number with its noun: `1 plugin`, `2 plugins`, `3 processes`."""
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{ending}"


class Table(NamedTuple):
    """Some rows of words under a header."""

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    words: int = 1
    """How many of the first columns are words, which start on the left; the others are numbers."""


def plain(table: Table) -> str:
    """The table in aligned columns."""
    lines = [table.header, *table.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = [_line(line, widths, table.words) for line in lines]
    return "\n".join([*filter(None, [table.title]), *shown])


def _line(cells: tuple[str, ...], widths: list[int], words: int) -> str:
    pairs = enumerate(zip(cells, widths, strict=True))
    aligned = [cell.ljust(width) if column < words else cell.rjust(width) for column, (cell, width) in pairs]
    return "  ".join(["", *aligned]).rstrip()


def show(table: Table) -> None:
    """Print it by rich; ImportError if that is not installed. Cells are Text, so that no file's words become markup."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    title = Text(table.title) if table.title else None
    made = RichTable(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for column, name in enumerate(table.header):
        words = column < table.words
        made.add_column(
            Text(name),
            justify="left" if words else "right",
            style="cyan" if column == 0 else "",
            overflow="fold" if words else "ellipsis",
        )
    for row in table.rows:
        made.add_row(*map(Text, row))
    Console().print(made)
