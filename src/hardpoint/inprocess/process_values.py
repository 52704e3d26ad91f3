"""Parts of the process's state and how each is put back: proc(5)'s status, the environment."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..errors import one_line
from ..ffi.libc import ffi, libc
from ..fields import Fields

if TYPE_CHECKING:
    from collections.abc import Callable

_SIG_SETMASK, _PR_SET_NAME = 2, 15
CANNOT = " (which cannot be put back)"
"""The end of the name of what could not be put back."""


# -- proc(5)'s status --------------------------------------------------------------------------------------------------


def read_status() -> bytes:
    """Read proc(5)'s status of this process and thread, in 15 us; nothing where there is no /proc."""
    try:
        fd = os.open("/proc/thread-self/status", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, 1 << 14)
    finally:
        os.close(fd)


def caught(text: bytes) -> int:
    """The mask of the signals that are caught; of all where there is no /proc."""
    at = text.find(b"\nSigCgt:\t")
    return int(text[at + 9 : at + 25], 16) if at >= 0 else 0x7FFFFFFF


def is_same(before: bytes, now: bytes) -> bool:
    """True if all lines that matter are the same, in the same places, which is faster than to compare each.

    False if it does not tell: the lines between them, such as the memory in use, can get longer.
    """
    at = 0
    for start, end in _SPANS:
        at = before.find(start, at)
        to = before.find(end, at)
        if at < 0 or to < 0 or before[at:to] != now[at:to]:
            return False
        at = to
    return True


def lines_of(text: bytes) -> dict[bytes, bytes]:
    """The lines that matter, by their names."""
    lines = dict(line.split(b":\t", 1) for line in text.splitlines() if b":\t" in line)
    return {key: lines[key] for key in _KEYS if key in lines}


def _set_mask(was: bytes) -> None:
    libc.pthread_sigmask(_SIG_SETMASK, ffi.new("uint64_t[16]", [int(was, 16)]), ffi.NULL)


def _set_name(was: bytes) -> None:
    libc.prctl(_PR_SET_NAME, int(ffi.cast("uintptr_t", name := ffi.new("char[]", was))), 0, 0, 0)
    del name


def _set_affinity(was: bytes) -> None:
    mask = int(was.replace(b",", b""), 16)
    os.sched_setaffinity(0, {cpu for cpu in range(mask.bit_length()) if mask >> cpu & 1})


def _cannot(_: bytes) -> None:
    raise OSError


_LINES: dict[str, tuple[tuple[bytes, ...], Callable[[bytes], Any]]] = {
    "the umask": ((b"Umask",), lambda was: os.umask(int(was, 8))),
    "the CPU affinity": ((b"Cpus_allowed",), _set_affinity),
    "the name of the thread": ((b"Name",), _set_name),
    "the user": ((b"Uid",), lambda was: os.setresuid(*map(int, was.split()[:3]))),
    "the group": ((b"Gid",), lambda was: os.setresgid(*map(int, was.split()[:3]))),
    "the supplementary groups": ((b"Groups",), lambda was: os.setgroups([*map(int, was.split())])),
    "the capabilities": ((b"CapInh", b"CapPrm", b"CapEff", b"CapBnd", b"CapAmb"), _cannot),
    "the no_new_privs attribute": ((b"NoNewPrivs",), _cannot),
    "the seccomp filter": ((b"Seccomp", b"Seccomp_filters"), _cannot),
    "the process group or session": ((b"NSpgid", b"NSsid"), lambda was: os.setpgid(0, int(was.split()[-1]))),
    "the signal mask": ((b"SigBlk",), _set_mask),
}
"""The lines of each, and how the first is put back; OSError if it can't be."""
_KEYS = [*(key for lines, _ in _LINES.values() for key in lines), b"SigCgt", b"SigIgn"]
_SPANS = ((b"Name:", b"\nFDSize:"), (b"\nGroups:", b"\nVmPeak:"), (b"\nSigBlk:", b"\nMems_allowed:"))
"""Starts of the first line of each part that matters, and of the first one behind it."""


def restore_status(before: dict[bytes, bytes], now: dict[bytes, bytes]) -> list[str]:
    """Put back what differs; return its names."""
    different = {
        name: write
        for name, (lines, write) in _LINES.items()
        if any(before.get(line) != now.get(line) for line in lines)
    }
    for name, write in different.items():
        try:
            write(before[_LINES[name][0][0]])
        except (OSError, KeyError):
            continue
    after = lines_of(read_status())
    return [
        name + ("" if all(before.get(line) == after.get(line) for line in _LINES[name][0]) else CANNOT)
        for name in different
    ]


# -- the environment ---------------------------------------------------------------------------------------------------


def _block() -> tuple[int, int]:
    """Address and size of the environment that the process was started with (proc(5), stat); 0 without /proc."""
    try:
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0, 0
    start, end = int(fields[47]), int(fields[48])
    return start, max(end - start, 0)


_start, _size = _block()
_first = ffi.buffer(ffi.cast("char *", _start), _size) if _size else b""


class Environment(Fields):
    """environ(7), of which os.environ has only what Python changed."""

    addresses: bytes
    """Of the texts. glibc never frees one, and setenv(3) makes a new one."""
    first: bytes
    """The environment that the process was started with, as its memory is now."""
    others: list[bytes]
    """The texts that lie elsewhere."""

    def variables(self) -> dict[bytes, bytes]:
        """Return the values by their names."""
        others = iter(self.others)
        texts = [
            self.first[address - _start : self.first.find(b"\0", address - _start)] if _is_first(address)
            else next(others)
            for address in memoryview(self.addresses).cast("Q")
        ]  # fmt: skip
        # Of two with one name, getenv(3) finds the first.
        return {name: value for name, _, value in (text.partition(b"=") for text in reversed(texts))}


def _is_first(address: int) -> bool:
    return 0 <= address - _start < _size


_last: tuple[Any, int, bytes, list[Any]] = (ffi.NULL, 0, b"", [])
"""The array that environ was at the last look, its length, its addresses, and those of texts that lie elsewhere."""


def read_environment() -> Environment:
    """Read the environment."""
    global _last  # noqa: PLW0603 - which saves the most of the time
    found, (array, at, addresses, others) = libc.environ, _last
    if found == ffi.NULL:  # clearenv(3)
        return Environment(b"", _first[:], [])
    if found != array or not at or not found[at - 1] or found[at]:
        at = 0
        while found[at]:
            at += 1
    if (now := ffi.buffer(found, 8 * at)[:]) != addresses:
        addresses = now
        others = [ffi.cast("char *", each) for each in memoryview(now).cast("Q") if not _is_first(each)]
    _last = found, at, addresses, others
    return Environment(addresses, _first[:], [*map(ffi.string, others)])


def restore_environment(before: Environment, now: Environment) -> list[str]:
    """Undo changes, except those of this program's own threads, which os.environ has as well."""
    was, is_ = before.variables(), now.variables()
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
