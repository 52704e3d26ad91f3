"""A plugin's file under its workers: still the one that was checked, replaced, or rewritten in place."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ...errors import StaleError
from ...file import Identity, open_library

if TYPE_CHECKING:
    from ...file import LibraryFile


def require_same(file: LibraryFile, *, is_first: bool) -> None:
    """Raise StaleError if another file stands at the path now: nobody has checked that one."""
    if file.pinned:
        return
    try:
        status = os.stat(file.absolute)
    except OSError:
        with open_library(file.absolute, file.path):  # raises the error of a file that is gone
            raise
    if Identity.of(status) != file.identity:
        raise stale(file.path, is_first=is_first)


def stale(path: str, *, is_first: bool) -> StaleError:
    """The error for a file that is not the one that was checked, for the first worker or for a later one."""
    if is_first:
        return StaleError(f"{path} was replaced while it was being loaded; load it again", path=path)
    return StaleError(
        f"{path} was replaced after it was loaded, and a new worker cannot start with the new file; "
        "call hardpoint.reload to load that",
        path=path,
    )


def rewritten(file: LibraryFile) -> str:
    """The part of a message about a file that was rewritten in place; "" for one that was not."""
    if file.pinned or Identity.of(os.fstat(file.fd)) == file.identity:
        return ""
    return (
        "; its file was rewritten in place while it was loaded, which changes the code that runs: replace it by a rename "
        "(mv), or pin it (sha256=)"
    )
