"""Tables in a terminal, by rich: an extra, so that this module can be imported only where it is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

if TYPE_CHECKING:
    from .report import Table


def show(table: Table) -> None:
    """Print a table. Its words go in as Text: what a file says is no markup."""
    made = RichTable(title=Text(table.title), title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    made.add_column("", style="cyan")
    for name in table.header[1:]:
        made.add_column(Text(name), justify="right")
    for row in table.rows:
        made.add_row(*map(Text, row))
    Console().print(made)
