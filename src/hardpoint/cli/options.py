"""Types of options that several commands share, and checks of output files."""

from __future__ import annotations

import argparse
import errno
import os
import stat
from typing import TYPE_CHECKING

from ..file import tilde_hint
from .output import UsageError

if TYPE_CHECKING:
    from typing import IO

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
    try:
        try:
            found, is_wrong = path, stat.S_ISDIR(os.stat(path).st_mode)
        except FileNotFoundError:
            found = os.path.dirname(path) or "."
            is_wrong = not stat.S_ISDIR(os.stat(found).st_mode)
    except OSError as error:
        raise cannot_write(path, error.strerror) from error
    if is_wrong:
        raise cannot_write(path, os.strerror(errno.EISDIR if found == path else errno.ENOTDIR))
    if not os.access(found, os.W_OK):
        raise cannot_write(path, os.strerror(errno.EACCES))


def open_output(path: str) -> IO[bytes]:
    """Open a file to write. Raises UsageError for one that cannot be written, such as a FIFO that nobody reads."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0o666)
    except OSError as error:
        is_unread = error.errno == errno.ENXIO
        raise cannot_write(path, "nothing reads this FIFO" if is_unread else error.strerror) from error
    os.set_blocking(fd, True)
    return open(fd, "wb")


def cannot_write(path: str, why: str | None = None) -> UsageError:
    """Make the error for such a file, with the system's reason if it is known."""
    fix = "name a file in an existing folder that you can write to"
    return UsageError(f"{path} cannot be written{f': {why}' if why else ''}; {fix}{tilde_hint(path)}", path=path)
