"""Types of options that several commands share, and checks of output files."""

from __future__ import annotations

import argparse
import os

from ..file import tilde_hint
from .output import UsageError

_MAX_COUNT = 256


def seconds(text: str) -> float:
    """Parse a timeout. Raises ArgumentTypeError, as all of these do, which says what it must be."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e9:
        raise argparse.ArgumentTypeError(f"a timeout is seconds above 0, such as 2 or 0.5, not {text!r}")
    return number


def count(text: str) -> int:
    """Parse a count from 1 to 256."""
    text = text.strip()
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= _MAX_COUNT):
        raise argparse.ArgumentTypeError(f"a count is a number from 1 to {_MAX_COUNT}, not {text!r}")
    return int(text)


def check_writable(path: str) -> None:
    """Raise UsageError for a file that cannot be written, as far as that is known before writing."""
    exists = os.path.exists(path)
    if os.path.isdir(path) or not os.access(path if exists else os.path.dirname(path) or ".", os.W_OK):
        raise cannot_write(path)


def cannot_write(path: str, why: str | None = None) -> UsageError:
    """Make the error for such a file, with the system's reason if it is known."""
    fix = "name a file in an existing folder that you can write to"
    return UsageError(f"{path} cannot be written{f': {why}' if why else ''}; {fix}{tilde_hint(path)}", path=path)
