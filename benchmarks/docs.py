"""Writes a run's tables and picture into docs/benchmarks.md, and one table into README.md: they never drift by hand.

`./build.sh bench --docs` does it with what it has just measured; `python -m benchmarks.docs` with docs/benchmarks.json.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.report import markdown, summary

if TYPE_CHECKING:
    from benchmarks.report import Results

README = Path(__file__).parent.parent / "README.md"
DOCS = README.with_name("docs")
PAGE, FIGURES, PICTURE = DOCS / "benchmarks.md", DOCS / "benchmarks.json", DOCS / "benchmarks.svg"


def between(page: str, marker: str, text: str) -> str:
    """The page with `text` between the comments `<!-- marker -->` and `<!-- /marker -->`."""
    start, end = f"<!-- {marker} -->", f"<!-- /{marker} -->"
    before, found, rest = page.partition(start)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"the page has no place for what was measured: the lines {start} and {end}")
    return f"{before}{start}\n\n{text}\n\n{end}{after}"


def write(results: Results) -> None:
    """Write the page, the picture, and the figures that both are made from."""
    from benchmarks.plot import plot

    for page, text in ((PAGE, markdown(results)), (README, summary(results))):
        page.write_text(between(page.read_text(), "results", text))
    FIGURES.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    plot(results, PICTURE)


if __name__ == "__main__":
    write(json.loads(FIGURES.read_text()))
