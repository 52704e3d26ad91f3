"""The environment of the process, as environ(7) has it: os.environ has only what Python changed."""

from __future__ import annotations

import os

from ..errors import one_line
from ..ffi.libc import ffi, libc


def read() -> list[int]:
    """The addresses of its texts. glibc never frees one, and setenv(3) makes a new one, so they tell of changes."""
    found, at = libc.environ, 0
    if found == ffi.NULL:  # clearenv(3)
        return []
    while found[at]:
        at += 1
    return ffi.unpack(found, at)  # type: ignore[no-any-return]


def restore(before: list[int], now: list[int]) -> list[str]:
    """Undo changes, except those of this program's own threads, which os.environ has as well."""
    was, is_ = variables(before), variables(now)
    changed = [
        name
        for name in {**was, **is_}
        if was.get(name) != is_.get(name) and is_.get(name) != os.environb.get(name)
    ]  # fmt: skip
    for name in changed:
        if name in was:
            libc.setenv(name, was[name], 1)
        else:
            libc.unsetenv(name)
    return [f"the environment variable {one_line(os.fsdecode(name))}" for name in changed]


def variables(addresses: list[int]) -> dict[bytes, bytes]:
    """Return the values by their names."""
    texts = (ffi.string(ffi.cast("char *", address)).partition(b"=") for address in reversed(addresses))
    return {name: value for name, _, value in texts}  # of two with one name, getenv(3) finds the first
