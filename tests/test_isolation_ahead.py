"""The process that is forked ahead of the next worker: used, harmless when it dies, idle, and never left behind."""

from __future__ import annotations

import os
import re
import signal
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from hostile import Hostile
from processes import children, eventually, field, freeze, gone, parent, workers

import hardpoint
from hardpoint import Isolation

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import LoadHostile


def spare_of(plugin: object) -> int:
    """Return the spare process, while the plugin has one worker."""
    [worker] = workers(plugin)
    others: list[int] = []

    def is_there() -> bool:
        others[:] = [pid for pid in children(parent(worker)) if pid != worker]
        return len(others) == 1

    assert eventually(is_there), others
    return others[0]


def test_the_next_worker_is_the_spare_process(load_hostile: LoadHostile, hostile_library: Path) -> None:
    plugin = load_hostile()
    for _ in range(3):
        waited = spare_of(plugin)
        with hardpoint.loaded(hostile_library, Hostile, isolated=True) as other:
            assert workers(other) == (waited,)
            assert other.count() == 1
        with pytest.raises(hardpoint.CrashedError):
            plugin.harm("segv")
        assert plugin.count() == 1


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=lambda how: how.name)
def test_a_killed_spare_process_does_no_harm(
    load_hostile: LoadHostile, hostile_library: Path, how: signal.Signals
) -> None:
    plugin = load_hostile()
    for _ in range(3):
        waited = spare_of(plugin)
        os.kill(waited, how)
        assert gone(waited)
        with hardpoint.loaded(hostile_library, Hostile, isolated=True) as other:
            assert waited not in workers(other)
            assert other.count() == 1
    assert plugin.count() == 1


def test_a_frozen_spare_process_is_killed_at_the_timeout(load_hostile: LoadHostile, hostile_library: Path) -> None:
    plugin = load_hostile()
    waited = spare_of(plugin)
    freeze(waited)
    with pytest.raises(hardpoint.TimedOutError, match="loading took longer than"):
        hardpoint.load(hostile_library, Hostile, isolated=Isolation(timeout=0.3))
    assert gone(waited)
    with hardpoint.loaded(hostile_library, Hostile, isolated=Isolation(timeout=20.0)) as other:
        assert other.count() == 1


def test_it_has_the_limits_and_the_sandbox_of_its_worker(load_hostile: LoadHostile, hostile_library: Path) -> None:
    spare_of(load_hostile())
    with hardpoint.loaded(hostile_library, Hostile, isolated=Isolation(files=77, cpu=9)) as other:
        about = hardpoint.info(other).isolation
        assert about is not None
        assert {"open files: 77", "processor time: 9 s"} <= set(about.sandbox)


def test_it_inherits_nothing_from_the_host_or_other_workers(load_hostile: LoadHostile) -> None:
    folder = f"/proc/{spare_of(load_hostile())}/fd"
    assert eventually(lambda: sorted(map(int, os.listdir(folder))) == [0, 1, 2, 3]), os.listdir(folder)
    assert [os.readlink(f"{folder}/{fd}") for fd in (0, 1)] == ["/dev/null"] * 2
    assert re.match("socket:", os.readlink(f"{folder}/3"))


def test_idle_processes_take_no_processor_time(hostile_library: Path) -> None:
    with ExitStack() as stack:
        plugins = [stack.enter_context(hardpoint.loaded(hostile_library, Hostile, isolated=True)) for _ in range(2)]
        for _ in range(2000):
            for plugin in plugins:
                plugin.count()
        zygote = parent(workers(plugins[0])[0])
        assert eventually(lambda: len(children(zygote)) == 3)
        time.sleep(0.3)  # until the last of them is ready
        everybody = [os.getpid(), zygote, *children(zygote)]
        before = {pid: ticks(pid) for pid in everybody}
        time.sleep(1.0)
        assert {pid: ticks(pid) - before[pid] <= 5 for pid in everybody} == dict.fromkeys(everybody, True)


def test_a_slow_method_is_awaited_without_polling(load_hostile: LoadHostile) -> None:
    """The wait for quick calls may poll; the wait for slow ones between them, and for the next call, sleeps."""
    plugin = load_hostile()
    both = [os.getpid(), *workers(plugin)]
    for _ in range(2000):
        plugin.count()
    before = {pid: ticks(pid) for pid in both}
    for _ in range(20):
        for _ in range(5):
            plugin.count()
        plugin.nap(40)
        time.sleep(0.01)
    assert {pid: ticks(pid) - before[pid] <= 20 for pid in both} == dict.fromkeys(both, True)


def ticks(pid: int) -> int:
    """Return the processor time of a process in hundredths of a second."""
    return int(field(pid, 11)) + int(field(pid, 12))
