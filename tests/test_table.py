"""Text for people: counted nouns."""

from __future__ import annotations

import pytest

from hardpoint.table import counted


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (0, "plugin", "0 plugins"),
        (1, "plugin", "1 plugin"),
        (2, "process", "2 processes"),
        (4096, "byte", "4,096 bytes"),
    ],
)
def test_counted(number: int, noun: str, text: str) -> None:
    assert counted(number, noun) == text
