"""Process state that `load` does not watch, since it changes rarely and each part costs a system call or more."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING

from ..ffi.libc import ffi, libc

if TYPE_CHECKING:
    from collections.abc import Iterator

_FILES = {
    "personality": "the personality (personality(2))",
    "oom_score_adj": "the badness for the out-of-memory killer (oom_score_adj)",
    "coredump_filter": "the filter of core dumps",
    "timerslack_ns": "the timer slack",
    "timers": "the timers of timer_create(2), whose signals end a process that does not expect them",
    "cgroup": "the control group",
}
"""Files of proc(5), and what each tells."""
_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid_for_children", "time_for_children", "user", "uts")
_PRCTL = {  # of linux/prctl.h: the option, and True if it writes the value to an address
    "the signal at the parent's death (PR_SET_PDEATHSIG)": (2, True),
    "the keep-capabilities flag (PR_SET_KEEPCAPS)": (7, False),
    "the use of the time stamp counter (PR_SET_TSC)": (25, True),
    "the securebits": (27, False),
    "the policy for memory errors (PR_MCE_KILL)": (34, False),
    "the child subreaper attribute (PR_SET_CHILD_SUBREAPER)": (37, True),
    "transparent huge pages (PR_SET_THP_DISABLE)": (42, False),
    "the I/O flusher attribute (PR_SET_IO_FLUSHER)": (58, False),
    "the denial of writable and executable memory (PR_SET_MDWE)": (66, False),
}
_LIMIT_NAME = 26
"""Characters of the column of names in proc(5)'s limits."""
_WATCHED_LIMITS = {"cpu time", "file size", "open files", "address space"}
"""By `load`; Go's runtime may raise that of open files somewhat later, on a thread of its own."""
_GET_MEMPOLICY, _IOPRIO_GET = {"x86_64": (239, 252)}.get(platform.machine(), (236, 31))


def details() -> dict[str, object]:
    """Read all of it, by names; what this kernel does not tell is left out."""
    found: dict[str, object] = {}
    for name, what in _FILES.items():
        found[what] = _read(f"/proc/self/{name}")
    for line in (_read("/proc/self/limits") or "").splitlines()[1:]:
        name = line[:_LIMIT_NAME].removeprefix("Max ").strip()
        if name not in _WATCHED_LIMITS:
            found[f"the limit of {name}"] = line[_LIMIT_NAME:]
    for name in _NAMESPACES:
        found[f"the namespace {name}"] = _link(f"/proc/self/ns/{name}")
    for what, (option, is_written) in _PRCTL.items():
        answer = ffi.new("int *")
        result = libc.prctl(option, int(ffi.cast("uintptr_t", answer)) if is_written else 0, 0, 0, 0)
        found[what] = (result, answer[0])
    found["the scheduling policy"] = (os.sched_getscheduler(0), os.sched_getparam(0).sched_priority)
    found["the I/O priority"] = libc.syscall(_IOPRIO_GET, 1, 0, 0, 0, 0)
    found["the policy for memory of NUMA nodes"] = _memory_policy()
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        found[f"the flags of descriptor {number} ({name})"] = _line(f"/proc/self/fdinfo/{number}", "flags:")
    return found


def left() -> dict[str, list[str]]:
    """Things that may stay behind, by what they are."""
    return {
        "descriptors open": [*_descriptors()],
        "threads running": [f"{each} ({(_read(f'/proc/self/task/{each}/comm') or '').strip()})"
                            for each in _names("/proc/self/task")],
        "processes running": (_read(f"/proc/self/task/{os.getpid()}/children") or "").split(),
        "memory locked": [(_line("/proc/self/status", "VmLck:") or "").strip()],
    }  # fmt: skip


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return None


def _link(path: str) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _line(path: str, name: str) -> str | None:
    """The rest of the line that starts with a name."""
    return next((line[len(name) :] for line in (_read(path) or "").splitlines() if line.startswith(name)), None)


def _memory_policy() -> tuple[int, int, bytes]:
    mode, nodes = ffi.new("int *"), ffi.new("char[128]")  # room for 1,024 nodes, the most that a kernel can have
    addresses = [int(ffi.cast("uintptr_t", each)) for each in (mode, nodes)]
    return libc.syscall(_GET_MEMPOLICY, *addresses, 1024, 0, 0), mode[0], ffi.buffer(nodes)[:]


def _descriptors() -> Iterator[str]:
    for name in _names("/proc/self/fd"):
        if (target := _link(f"/proc/self/fd/{name}")) is not None:  # None for that of the listing itself
            yield f"{name} ({target})"
