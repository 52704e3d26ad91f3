"""Isolated plugins that hang or are frozen: they are killed in time."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest
from hostile import SHORT
from processes import eventually, freeze, promised, runs, together, workers

import hardpoint
from hardpoint import CrashedError, Isolation, TimedOutError

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import LoadHostile


SOON = 1.0
"""Seconds: what docs/isolation.md promises for the end of a plugin that hangs. It has half of one to end by itself."""
LATE = 0.5
"""Seconds that a call may take beyond its time-out."""
HANGS = ("spin", "pause", "freeze", "stop", "handlers", "flood")


@pytest.mark.parametrize("what", HANGS)
def test_a_call_that_hangs_is_ended_in_time(load_hostile: LoadHostile, hostile_library: Path, what: str) -> None:
    plugin = load_hostile(isolated=SHORT)

    def hang() -> float:
        [before] = workers(plugin)
        start = time.monotonic()
        with pytest.raises(TimedOutError) as caught:
            plugin.harm(what)
        took = time.monotonic() - start
        assert isinstance(caught.value, TimeoutError)
        assert str(caught.value) == f"{hostile_library}: harm took longer than 2 s, and the worker was killed"
        assert eventually(lambda: not runs(before))
        assert plugin.count() == 1
        assert took >= 2.0
        return took

    promised(2.0 + LATE, hang)


def test_a_hang_in_one_thread_ends_the_call_of_another_with_the_reason(load_hostile: LoadHostile) -> None:
    plugin = load_hostile(isolated=SHORT)
    errors: list[BaseException] = []

    def nap() -> None:
        try:
            time.sleep(0.3)
            plugin.nap(10_000)
        except hardpoint.HardpointError as error:
            errors.append(error)

    thread = threading.Thread(target=nap)
    thread.start()
    with pytest.raises(TimedOutError):
        plugin.harm("spin")
    thread.join()
    [error] = errors
    assert isinstance(error, CrashedError)
    assert "the worker was killed in nap, since another call took too long" in str(error)


@pytest.mark.parametrize("what", HANGS)
def test_a_create_that_hangs(load_hostile: LoadHostile, hostile_library: Path, what: str) -> None:
    def hang() -> float:
        start = time.monotonic()
        with pytest.raises(TimedOutError) as caught:
            load_hostile(isolated=SHORT, config=f"create:{what}")
        assert str(caught.value) == f"{hostile_library}: loading took longer than 2 s, and the worker was killed"
        return time.monotonic() - start

    promised(2.0 + LATE, hang)


@pytest.mark.parametrize("what", HANGS)
def test_a_destroy_that_hangs_is_ended_soon(
    load_hostile: LoadHostile, hostile_library: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    def hang() -> float:
        plugin = load_hostile(config=f"destroy:{what}")
        [pid] = workers(plugin)
        caplog.clear()
        with caplog.at_level(logging.WARNING, "hardpoint.plugin.hostile"):
            start = time.monotonic()
            hardpoint.close(plugin)
            took = time.monotonic() - start
        [record] = [each for each in caplog.records if each.levelno == logging.WARNING]
        assert record.getMessage() == f"{hostile_library}: destroy took too long, and the worker was killed"
        assert eventually(lambda: not runs(pid))
        assert took >= 0.5
        return took

    promised(SOON, hang)


def test_a_frozen_worker_is_closed_soon(load_hostile: LoadHostile) -> None:
    def close() -> float:
        plugin = load_hostile()
        [pid] = workers(plugin)
        freeze(pid)
        start = time.monotonic()
        hardpoint.close(plugin)
        took = time.monotonic() - start
        assert eventually(lambda: not runs(pid))
        return took

    promised(SOON, close)


def test_a_pool_of_frozen_workers_is_closed_soon(load_hostile: LoadHostile) -> None:
    def close() -> float:
        plugin = load_hostile(isolated=Isolation(workers=4))
        pids = together(*[lambda: plugin.nap(200)] * 4)
        for pid in pids:
            freeze(pid)
        start = time.monotonic()
        hardpoint.close(plugin)
        took = time.monotonic() - start
        assert eventually(lambda: not any(map(runs, pids)))
        return took

    promised(SOON, close)


def test_a_destroy_of_a_third_of_a_second_is_waited_for(
    load_hostile: LoadHostile, caplog: pytest.LogCaptureFixture
) -> None:
    plugin = load_hostile(config="destroy:linger")
    with caplog.at_level(logging.WARNING, "hardpoint.plugin.hostile"):
        hardpoint.close(plugin)
    assert [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING] == []


def test_a_call_of_a_frozen_worker_times_out(load_hostile: LoadHostile) -> None:
    plugin = load_hostile(isolated=SHORT)

    def call() -> float:
        freeze(workers(plugin)[0])
        start = time.monotonic()
        with pytest.raises(TimedOutError, match=r"count took longer than 2 s"):
            plugin.count()
        took = time.monotonic() - start
        assert plugin.count() == 1
        return took

    promised(2.0 + LATE, call)


def test_signals_in_the_host_do_not_postpone_the_timeout(load_hostile: LoadHostile) -> None:
    """Such as a profiler's timer: each signal interrupts the wait for the answer."""
    plugin = load_hostile(isolated=SHORT)
    guard = threading.Timer(10, os.kill, (workers(plugin)[0], signal.SIGKILL))
    guard.start()
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)

    def hang() -> float:
        start = time.monotonic()
        with pytest.raises(TimedOutError):
            plugin.harm("pause")
        return time.monotonic() - start

    try:
        promised(2.0 + LATE, hang)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        guard.cancel()
