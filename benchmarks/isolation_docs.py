"""Write the tables of isolation.py into docs/benchmarks.md, docs/isolation.md and README.md.

`python -m benchmarks.isolation --docs` does it after a run, and `python -m benchmarks.isolation_docs` for the figures
in docs/isolation.json.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from benchmarks.docs import DOCS, PAGE, README, between
from benchmarks.isolation_report import brief, costs, page

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.isolation_report import Figures

MARKER = "isolation"
FIGURES = DOCS / "isolation.json"


def texts(figures: Figures) -> dict[Path, str]:
    """The text between the comments of each page."""
    return {PAGE: page(figures), DOCS / "isolation.md": costs(figures), README: brief(figures)}


def write(figures: Figures) -> None:
    """Write the pages, and the figures that they are made from."""
    for path, text in texts(figures).items():
        path.write_text(between(path.read_text(), MARKER, text))
    FIGURES.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    write(json.loads(FIGURES.read_text()))
