"""The types of options that several commands have."""

from __future__ import annotations

import argparse

_MOST = 256


def seconds(text: str) -> float:
    """A timeout. ArgumentTypeError, as from all of these, says what it has to be."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e9:
        raise argparse.ArgumentTypeError(f"a timeout is seconds above 0, such as 2 or 0.5, not {text!r}")
    return number


def count(text: str) -> int:
    """How many of something: from 1 to 256."""
    text = text.strip()
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= _MOST):
        raise argparse.ArgumentTypeError(f"a count is a number from 1 to {_MOST}, not {text!r}")
    return int(text)
