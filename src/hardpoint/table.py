"""Text for people: counted nouns, and rows as a table, in plain columns or by rich, which is an extra."""

from __future__ import annotations

from itertools import zip_longest
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


_NARROW = 12
"""Characters that a column of text keeps when it is folded."""


def plain(table: Table, width: int | None = None) -> str:
    """Format the table in aligned columns.

    Where that is wider than `width`, cells of text are folded; if that does not suffice, each row becomes a block of
    its own with a line a cell. Nothing is cut off.
    """
    lines = [table.header, *table.rows]
    natural = [max(map(len, column)) for column in zip(*lines, strict=True)]
    widths = natural if width is None else _narrowed(natural, table.text_columns, width)
    title = _folded(table.title, width) if table.title else []
    if width is not None and _total(widths) > width:
        return "\n".join([*title, *_blocks(table, width)])
    return "\n".join([*title, *(part for line in lines for part in _line(line, widths, table.text_columns))])


def fits(table: Table, width: int) -> bool:
    """True if the table needs no more than `width` columns."""
    return _total([max(map(len, column)) for column in zip(table.header, *table.rows, strict=True)]) <= width


def _total(widths: list[int]) -> int:
    return sum(widths) + 2 * len(widths)


def _narrowed(widths: list[int], text_columns: int, width: int) -> list[int]:
    """Take what is too much from the widest columns of text."""
    widths = widths.copy()
    while (excess := _total(widths) - width) > 0:
        widest = max(range(text_columns), key=widths.__getitem__)
        second = max((widths[each] for each in range(text_columns) if each != widest), default=0)
        if widths[widest] <= _NARROW:
            break
        widths[widest] = max(widths[widest] - excess, min(second, widths[widest] - 1), _NARROW)
    return widths


def _line(cells: tuple[str, ...], widths: list[int], text_columns: int) -> list[str]:
    """One row, in several lines where cells are folded."""
    folded = [_folded(cell, width) or [""] for cell, width in zip(cells, widths, strict=True)]
    return [
        "  ".join(
            ["", *(cell.ljust(width) if column < text_columns else cell.rjust(width)
                   for column, (cell, width) in enumerate(zip(parts, widths, strict=True)))]
        ).rstrip()
        for parts in zip_longest(*folded, fillvalue="")
    ]  # fmt: skip


def _blocks(table: Table, width: int) -> list[str]:
    """Each row as lines of `name  cell`, with an empty line between rows."""
    names = max(map(len, table.header))
    lines: list[str] = []
    for row in table.rows:
        lines += [""] if lines else []
        for name, cell in zip(table.header, row, strict=True):
            first, *rest = _folded(cell, width - names - 4) or [""]
            lines.append(f"  {name:<{names}}  {first}".rstrip())
            lines += [f"  {'':<{names}}  {part}" for part in rest]
    return lines


def _folded(text: str, width: int | None) -> list[str]:
    """The text in lines of at most so many characters, broken at blanks where there are any."""
    if width is None or len(text) <= width:
        return [text]
    from textwrap import wrap  # 1 ms, where something is too wide

    return wrap(text, max(width, 1), break_on_hyphens=False)


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
