"""Files -> those that became others, as it happens; by watchfiles, an extra."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ..errors import HardpointError
from ..file import Identity

if TYPE_CHECKING:
    from collections.abc import Iterator

_EVERY = 1000
"""Milliseconds after which they are looked at without word from the kernel, which has none about other machines' changes."""


def check_watchfiles() -> None:
    """HardpointError if there is no watchfiles."""
    if find_spec("watchfiles") is None:
        raise HardpointError("--watch needs watchfiles, which is not installed; pip install 'hardpoint[watch]'")


def changes(paths: list[str]) -> Iterator[list[str]]:
    """The paths that lead to another file than before, or to other contents, until Ctrl-C: KeyboardInterrupt.

    Folders are watched, and not files, since a file that is replaced takes its watch along. What is not there is waited for.
    """
    import watchfiles  # noqa: F401 - before the first call: an import takes a Ctrl-C badly

    known = {path: _identity(path) for path in paths}
    folders = {os.path.dirname(where) for path in paths for where in (os.path.abspath(path), os.path.realpath(path))}
    for folder in folders:
        if not os.path.isdir(folder):
            raise HardpointError(f"{folder}: there is no such folder to watch; check the path", path=folder)
    return _changes(known, sorted(folders))


def _changes(known: dict[str, Identity | None], folders: list[str]) -> Iterator[list[str]]:
    from watchfiles import watch

    for _ in watch(*folders, watch_filter=None, recursive=False, rust_timeout=_EVERY, yield_on_timeout=True):
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
