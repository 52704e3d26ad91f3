"""Write the tables and the plot of a run into docs/benchmarks.md, and one table into README.md.

`./build.sh bench --docs` does it after a run; `python -m benchmarks.docs` does it for docs/benchmarks.json.
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
        raise ValueError(f"the page does not have the lines {start} and {end}, between which the results are written")
    return f"{before}{start}\n\n{text}\n\n{end}{after}"


def write(results: Results) -> None:
    """Write the pages, the plot, and the figures that they are made from."""
    from benchmarks.plot import plot

    for page, text in ((PAGE, markdown(results)), (README, summary(results))):
        page.write_text(between(page.read_text(), "results", text))
    FIGURES.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    plot(results, PICTURE)


if __name__ == "__main__":
    write(json.loads(FIGURES.read_text()))
