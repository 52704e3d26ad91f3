"""Watch files for changes, by watchfiles, an extra."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ..errors import HardpointError
from ..file import Identity

if TYPE_CHECKING:
    from collections.abc import Iterator

_POLL_MILLISECONDS = 1000
"""Milliseconds between looks without an event: inotify misses changes by other machines on a network file system."""


def check_watchfiles() -> None:
    """Raise HardpointError if watchfiles is not installed."""
    if find_spec("watchfiles") is None:
        raise HardpointError("--watch needs watchfiles, which is not installed; pip install 'hardpoint[watch]'")


def changes(paths: list[str]) -> Iterator[list[str]]:
    """Yield the paths whose file was replaced or changed, until Ctrl-C (KeyboardInterrupt).

    Folders are watched, not files: a file that is replaced takes its watch along. A missing file is waited for.
    """
    import watchfiles  # noqa: F401 - an extra; before the first call, since Ctrl-C during an import leaves it half done

    known = {path: _identity(path) for path in paths}
    folders = {os.path.dirname(where) for path in paths for where in (os.path.abspath(path), os.path.realpath(path))}
    for folder in folders:
        if not os.path.isdir(folder):
            raise HardpointError(f"{folder}: the folder to watch does not exist; check the path", path=folder)
    return _changes(known, sorted(folders))


def _changes(known: dict[str, Identity | None], folders: list[str]) -> Iterator[list[str]]:
    from watchfiles import watch

    for _ in watch(
        *folders, watch_filter=None, recursive=False, rust_timeout=_POLL_MILLISECONDS, yield_on_timeout=True
    ):
        now = {path: _identity(path) for path in known}
        changed = [path for path, identity in now.items() if identity is not None and identity != known[path]]
        known.update({path: now[path] for path in changed})
        if changed:
            yield changed


def _identity(path: str) -> Identity | None:
    try:
        return Identity.of(os.stat(path))
    except (OSError, ValueError):
        return None
