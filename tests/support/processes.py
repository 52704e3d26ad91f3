"""What /proc tells of processes, and how to wait until something is so."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hardpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

PATIENCE = 20.0
"""Seconds until something that should be soon counts as never: a machine may be busy."""


def eventually(what: Callable[[], object], seconds: float = PATIENCE) -> bool:
    """Whether it becomes so in that time."""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def silence(caplog: pytest.LogCaptureFixture) -> None:
    """Wait until nothing more is logged by instances of earlier tests, which may end late on a busy machine."""
    gc.collect()
    heard = -1
    while len(caplog.records) != heard:
        heard = len(caplog.records)
        time.sleep(0.1)
    caplog.clear()


def runs(pid: int) -> bool:
    """Whether there is such a process, and it is not a zombie."""
    return field(pid, 0) not in {"", "Z", "X"}


def field(pid: int, at: int) -> str:
    """A field of /proc/pid/stat, counted from the state; nothing if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[at]
    except OSError:
        return ""


def freeze(pid: int) -> None:
    """Stop a process with SIGSTOP, and wait until all of its threads have: they go on for a while on a busy machine."""
    os.kill(pid, signal.SIGSTOP)
    assert eventually(lambda: all(field(int(task), 0) == "T" for task in os.listdir(f"/proc/{pid}/task")))


def parent(pid: int) -> int:
    """Its parent; that of a worker is the zygote."""
    return int(field(pid, 1))


def children(pid: int | None = None) -> list[int]:
    """The children of a process, this one by default, zombies too."""
    wanted = str(pid or os.getpid())
    return [each for each in map(int, filter(str.isdigit, os.listdir("/proc"))) if field(each, 1) == wanted]


def workers(plugin: object) -> tuple[int, ...]:
    """The worker processes of an isolated plugin."""
    isolation = hardpoint.info(plugin).isolation
    assert isolation is not None
    return isolation.workers


def spares(zygote: int) -> list[int]:
    """What a zygote has when all workers have ended: the process that is ready for the next one. No zombie, nor two of them."""
    found = children(zygote)
    return found if len(found) == 1 and all(map(runs, found)) else []


def held() -> tuple[int, int, int]:
    """How many descriptors, threads and children this process has."""
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), len(children())


def zygotes_of(host: str) -> list[str]:
    """Processes whose command line says that they are the zygote of a host."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(b"isolation.worker.zygote" in word for word in words) and host.encode() in words:
            found.append(pid)
    return found


def gone(*pids: int) -> bool:
    return eventually(lambda: not any(map(runs, pids)))


def together(*functions: Callable[[], Any]) -> list[Any]:
    """What they give, called at once on a thread each; an error is given too."""
    results: list[Any] = [None] * len(functions)
    barrier = threading.Barrier(len(functions))

    def call(at: int) -> None:
        barrier.wait()
        try:
            results[at] = functions[at]()
        except hardpoint.HardpointError as error:
            results[at] = error

    threads = [threading.Thread(target=call, args=(at,)) for at in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
