"""What /proc/thread-self/status says of this process and thread, and how each of it is put back (proc(5)).

One read has it all, and takes 15 us.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..ffi.libc import ffi, libc

if TYPE_CHECKING:
    from collections.abc import Callable

_SIG_SETMASK, _PR_SET_NAME = 2, 15
CANNOT = " (which cannot be put back)"
"""The end of the name of what could not be put back."""


def read() -> bytes:
    """Read it; nothing where there is no /proc."""
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


def steady(text: bytes) -> list[bytes]:
    """The parts without what always changes, such as the memory in use: comparing them is faster than all lines."""
    parts, at = [], 0
    for start, end in _SPANS:
        at = text.find(start, at)
        to = text.find(end, at)
        if at < 0 or to < 0:  # another kernel's
            return [text]
        parts.append(text[at:to])
        at = to
    return parts


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
_SPANS = ((b"Name:", b"FDSize:"), (b"Groups:", b"VmPeak:"), (b"SigBlk:", b"Mems_allowed:"))
"""Starts of the first line of each part that matters, and of the first one behind it."""


def restore(before: dict[bytes, bytes], now: dict[bytes, bytes]) -> list[str]:
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
    after = lines_of(read())
    return [
        name + ("" if all(before.get(line) == after.get(line) for line in _LINES[name][0]) else CANNOT)
        for name in different
    ]
