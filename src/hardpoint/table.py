"""Text for people: counted nouns, and rows as a table, in plain columns or by rich, which is an extra."""

from __future__ import annotations

from typing import NamedTuple


def counted(number: int, noun: str) -> str:
    """A number with its noun: `1 plugin`, `2 plugins`, `3 processes`."""
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{ending}"


class Table(NamedTuple):
    """Rows of text under a header."""

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    text_columns: int = 1
    """The number of leading columns with text, aligned to the left; the others have numbers."""


def plain(table: Table) -> str:
    """Format the table in aligned columns."""
    lines = [table.header, *table.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = [_line(line, widths, table.text_columns) for line in lines]
    return "\n".join([*filter(None, [table.title]), *shown])


def _line(cells: tuple[str, ...], widths: list[int], text_columns: int) -> str:
    pairs = enumerate(zip(cells, widths, strict=True))
    aligned = [cell.ljust(width) if column < text_columns else cell.rjust(width) for column, (cell, width) in pairs]
    return "  ".join(["", *aligned]).rstrip()


def show(table: Table) -> None:
    """Print the table with rich. Raises ImportError without it. Cells are Text: a file must not inject markup."""
    # an extra, and 50 ms
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    title = Text(table.title) if table.title else None
    made = RichTable(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for column, name in enumerate(table.header):
        is_text = column < table.text_columns
        made.add_column(
            Text(name),
            justify="left" if is_text else "right",
            style="cyan" if column == 0 else "",
            overflow="fold" if is_text else "ellipsis",
        )
    for row in table.rows:
        made.add_row(*map(Text, row))
    Console().print(made)
