"""Read processes in /proc, and wait for conditions."""

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
"""Seconds to wait for conditions that should hold soon: the machine may be busy."""


def eventually(what: Callable[[], object], seconds: float = PATIENCE) -> bool:
    """Wait until the condition is true. Return False on a time-out."""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def promised(seconds: float, attempt: Callable[[], float]) -> None:
    """Assert that one of three attempts takes less than was promised; each returns its time.

    A busy machine may miss a promise now and then. A wrong constant misses it each time.
    """
    took: list[float] = []
    while len(took) < 3:
        took.append(attempt())
        if took[-1] < seconds:
            return
    raise AssertionError(f"promised in {seconds} s, took {took}")


def silence(caplog: pytest.LogCaptureFixture) -> None:
    """Wait until instances of earlier tests log nothing more; they may end late on a busy machine."""
    gc.collect()
    heard = -1
    while len(caplog.records) != heard:
        heard = len(caplog.records)
        time.sleep(0.1)
    caplog.clear()


def runs(pid: int) -> bool:
    """True if the process exists and is not a zombie."""
    return field(pid, 0) not in {"", "Z", "X"}


def field(pid: int, at: int) -> str:
    """Return a field of /proc/pid/stat, counted from the state; empty if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[at]
    except OSError:
        return ""


def freeze(pid: int) -> None:
    """Send SIGSTOP to a process, and wait until all of its threads stopped, which takes a while on a busy machine."""
    os.kill(pid, signal.SIGSTOP)
    assert eventually(lambda: all(field(int(task), 0) == "T" for task in os.listdir(f"/proc/{pid}/task")))


def parent(pid: int) -> int:
    """Return the parent of a process; a worker's parent is the zygote."""
    return int(field(pid, 1))


def children(pid: int | None = None) -> list[int]:
    """Return the children of a process, this one by default, including zombies."""
    wanted = str(pid or os.getpid())
    return [each for each in map(int, filter(str.isdigit, os.listdir("/proc"))) if field(each, 1) == wanted]


def workers(plugin: object) -> tuple[int, ...]:
    """Return the worker processes of an isolated plugin."""
    isolation = hardpoint.info(plugin).isolation
    assert isolation is not None
    return isolation.workers


def held() -> tuple[int, int, int]:
    """Return the numbers of descriptors, threads and children of this process."""
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), len(children())


def zygotes_of(host: str) -> list[str]:
    """Return the ids of a host's zygotes, found by their command line."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            title = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0")
        except OSError:
            continue
        if title == b"hardpoint: zygote of " + host.encode():
            found.append(pid)
    return found


def gone(*pids: int) -> bool:
    return eventually(lambda: not any(map(runs, pids)))


def together(*functions: Callable[[], Any]) -> list[Any]:
    """Call all functions at once, on a thread each, and return their results; an error counts as a result."""
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
