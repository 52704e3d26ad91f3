"""The types of options that several commands have, and the files that these write."""

from __future__ import annotations

import argparse
import os

from .output import UsageError

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


def check_writable(path: str) -> None:
    """UsageError for a file that cannot be written, as far as that can be told before there is anything to write."""
    there = os.path.exists(path)
    if os.path.isdir(path) or not os.access(path if there else os.path.dirname(path) or ".", os.W_OK):
        raise cannot_write(path)


def cannot_write(path: str, why: str | None = None) -> UsageError:
    """What is said of such a file, perhaps with the system's reason."""
    fix = "name a file in a folder that is there and can be written to"
    return UsageError(f"{path} cannot be written{f': {why}' if why else ''}; {fix}", path=path)
