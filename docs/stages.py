"""Draw docs/stages.svg from docs/stages.toml: `python docs/stages.py`. A test compares the two.

Text beside the boxes is grey, which is readable on white and on black: the picture cannot know the page's background.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

DOCS = Path(__file__).parent
WIDTH, STEP, BOX, LEFT = 640, 58, 40, 24
BOX_WIDTH, ERRORS = 400, 444
GREY = "#808890"
FILLS = ["#1f5f8b", "#8a5a12", "#2d6e3e"]


def draw(bands: list[dict[str, Any]]) -> str:
    """Draw the stages as SVG."""
    parts: list[str] = []
    y = 0
    last = len(bands) - 1
    for index, band in enumerate(bands):
        y += 26
        parts.append(_text(LEFT, y, band["title"], GREY, 14))
        y += 10
        for position, stage in enumerate(band["stage"]):
            parts += _stage(y, stage, FILLS[index])
            y += STEP
            if (index, position) != (last, len(band["stage"]) - 1):
                end = y if position < len(band["stage"]) - 1 else y + 36
                parts.append(_arrow(LEFT + BOX_WIDTH - 30, y - STEP + BOX, end))
    style = "font-family='system-ui, sans-serif'"
    head = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {y - STEP + BOX + 4}' role='img' {style}>"
    return "\n".join([head, "<title>The stages that a plugin goes through</title>", *parts, "</svg>"]) + "\n"


def _stage(y: int, stage: dict[str, str], fill: str) -> list[str]:
    middle = y + BOX // 2
    return [
        f"<rect x='{LEFT}' y='{y}' width='{BOX_WIDTH}' height='{BOX}' rx='6' fill='{fill}'/>",
        _text(LEFT + 14, middle + 5, stage["name"], "#ffffff", 15, "font-weight='bold'"),
        _text(LEFT + 104, middle + 5, stage["asks"], "#ffffff", 14),
        _text(ERRORS, middle + 5, f"✗ {stage['refuses']}", GREY, 14),
    ]


def _arrow(x: int, top: int, end: int) -> str:
    return (
        f"<path d='M{x} {top} V{end - 7}' stroke='{GREY}' stroke-width='2'/>"
        f"<path d='M{x - 5} {end - 8} h10 l-5 8 z' fill='{GREY}'/>"
    )


def _text(x: int, y: int, text: str, fill: str, size: int, more: str = "") -> str:
    return f"<text x='{x}' y='{y}' fill='{fill}' font-size='{size}' {more}>{escape(text)}</text>".replace(" >", ">")


def picture() -> str:
    """The contents of docs/stages.svg."""
    return draw(tomllib.loads((DOCS / "stages.toml").read_text())["band"])


if __name__ == "__main__":
    (DOCS / "stages.svg").write_text(picture())
