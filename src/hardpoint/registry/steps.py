"""Every step from the root to a file: folders, symbolic links and the file, each as the kernel would reach it."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from ..fields import Fields

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_LINKS = 40  # as path_resolution(7)
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class Step(Fields):
    """A folder, a link or a file on the way."""

    kind: str
    """`folder`, `link` or `file`."""
    path: str
    status: os.stat_result
    is_last: bool
    """True for a folder that the file, or a link to it, stands in."""


def steps(path: str) -> Iterator[Step]:
    """Yield the steps to an absolute path, in order.

    Each is opened in the folder that was looked at before it, so that nobody can exchange it in between. Raises OSError
    if there is nothing at the path, or it may not be looked at.
    """
    folder, at = os.open("/", _LOOK), "/"
    rest, links = _parts(path), 0
    try:
        yield Step("folder", at, os.fstat(folder), len(rest) == 1)
        while rest:
            name = rest.pop()
            found = os.open(name, _LOOK, dir_fd=folder)
            try:
                status, here = os.fstat(found), os.path.dirname(at) if name == ".." else os.path.join(at, name)
                if stat.S_ISDIR(status.st_mode):
                    folder, found, at = found, folder, here
                elif not stat.S_ISLNK(status.st_mode):
                    yield Step("file", here, status, is_last=False)
                    return
                else:
                    yield Step("link", here, status, is_last=False)
                    target = os.readlink("", dir_fd=found)
                    if (links := links + 1) > _MOST_LINKS:
                        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                    rest += _parts(target)
                    if target.startswith("/"):
                        os.close(found)
                        found = os.open("/", _LOOK)
                        folder, found, at = found, folder, "/"
            finally:
                os.close(found)
            yield Step("folder", at, os.fstat(folder), len(rest) == 1)
    finally:
        os.close(folder)


def _parts(path: str) -> list[str]:
    """The names in a path, from the last to the first."""
    return [name for name in reversed(path.split("/")) if name not in {"", "."}]
