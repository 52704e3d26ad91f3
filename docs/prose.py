"""Markdown for prose that is written as docstrings and help texts: escaped, linked and wrapped."""

from __future__ import annotations

import re
import textwrap

WIDTH = 120


def escaped(text: str) -> str:
    """Escape what Markdown would take for markup, outside of `code`."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([*<]|\b_|_\b)", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


def wrapped(text: str) -> str:
    """Wrap each paragraph. Lists and code within stay as they are."""
    return "\n\n".join(_paragraph(each, "", "") for each in re.split(r"\n\n+", text.strip()))


def item(label: str, text: str) -> str:
    """An item of a list, with a label that is never broken, and paragraphs."""
    first, *others = re.split(r"\n\n+", text.strip())
    return "\n\n".join([_paragraph(first, f"- {label}: ", "  "), *(_paragraph(each, "  ", "  ") for each in others)])


def _paragraph(text: str, first: str, indent: str) -> str:
    if re.search(r"^(?: |[-+*] |```)", text, re.MULTILINE):
        return textwrap.indent(text, indent)
    lines = textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    # What starts a line could now be taken for the mark of a list or heading.
    return "\n".join([*lines[:1], *(re.sub(r"^(\s*)([-+#>]\s|\d+[.)]\s)", r"\1\\\2", each) for each in lines[1:])])


def fenced(text: str, language: str = "text") -> str:
    """A block of code."""
    return f"```{language}\n{text.rstrip()}\n```"
