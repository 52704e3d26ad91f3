"""Threads that load, call, crash and close isolated plugins at the same moment."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from conftest import IMPORTABLE
from hostile import Hostile
from processes import children, eventually, parent, together, workers

import hardpoint
from hardpoint import Isolation
from hardpoint.isolation.host import spawner

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import LoadHostile, RunPython


def test_the_first_loads_of_a_host_share_one_zygote(hostile_library: Path, run_python: RunPython) -> None:
    """None of them waits for an answer that another thread took: that would take 10 s, and then kill the zygote."""
    code = f"""
import os, sys, time
sys.path[:0] = {IMPORTABLE!r}
import hardpoint
from hostile import Hostile
from processes import children, parent, together, workers
def load():
    return hardpoint.load({str(hostile_library)!r}, Hostile, isolated=True)
for turn in range(3):
    start = time.monotonic()
    plugins = together(*[load] * 8)
    took = time.monotonic() - start
    pids = [workers(plugin)[0] for plugin in plugins]
    print(len(set(pids)), len({{parent(pid) for pid in pids}}), [plugin.pid() for plugin in plugins] == pids, took < 9)
    del plugins
print(len(children()))
"""
    assert run_python(code).stdout == "8 1 True True\n" * 3 + "1\n"


def test_each_call_of_many_threads_gets_its_own_answer(load_hostile: LoadHostile) -> None:
    """Over one worker and over several, each with connections of its own."""
    for count in (1, 3):
        plugin = load_hostile(isolated=Isolation(workers=count, timeout=60))
        plugin.count()
        pids = set(together(*[lambda plugin=plugin: plugin.nap(50)] * 9))
        assert len(pids) == count
        assert pids == set(workers(plugin))


def test_calls_are_spread_over_idle_workers(load_hostile: LoadHostile) -> None:
    """A call goes to the worker with the fewest under way; finished ones no longer count."""
    plugin = load_hostile(isolated=Isolation(workers=3, timeout=60))
    together(*[lambda: plugin.nap(100)] * 3)
    assert len(workers(plugin)) == 3
    for _ in range(5):  # one after the other: the first that runs
        assert plugin.pid() == plugin.pid()
    thread = threading.Thread(target=plugin.nap, args=(400,))
    thread.start()
    assert eventually(lambda: not thread.is_alive() or plugin.pid() != workers(plugin)[0])
    thread.join()
    before = [plugin.pid() for _ in range(3)]
    assert len(set(before)) == 1


def test_a_crash_while_others_call_and_start(load_hostile: LoadHostile) -> None:
    plugin = load_hostile(isolated=Isolation(workers=2, timeout=60))
    for _ in range(3):
        results = together(*[plugin.count] * 3, lambda: plugin.harm("abort"), *[plugin.count] * 3)
        assert isinstance(results[3], hardpoint.CrashedError)
        assert all(isinstance(each, (int, hardpoint.CrashedError)) for each in results)
        assert plugin.count() > 0


def test_a_close_while_others_call(hostile_library: Path) -> None:
    """Calls under way finish, later ones are refused, and no worker is left."""
    plugin = hardpoint.load(hostile_library, Hostile, isolated=Isolation(workers=2, timeout=60))
    pids = set(together(*[lambda: plugin.nap(100)] * 2))
    zygote = parent(next(iter(pids)))
    results = together(*[lambda: plugin.nap(200)] * 4, lambda: hardpoint.close(plugin), plugin.count)
    assert all(isinstance(each, (int, hardpoint.ClosedError, type(None))) for each in results), results
    assert eventually(lambda: not pids & set(children(zygote)))


def test_one_worker_takes_the_place_of_one_that_died(load_hostile: LoadHostile) -> None:
    """Though several threads call at that moment: each would start one."""
    plugin = load_hostile()
    zygote = parent(workers(plugin)[0])
    for _ in range(3):
        with pytest.raises(hardpoint.CrashedError):
            plugin.harm("abort")
        pids = together(*[plugin.pid] * 6)
        assert set(pids) == set(workers(plugin))
        assert eventually(lambda: len(children(zygote)) == 1)


# -- each lock is held where what it guards changes: a race would show seldom ------------------------------------------


def session_of(plugin: Any) -> Any:
    """The session behind an isolated plugin."""
    return plugin._instance.backend.session


class Guarded(list[Any]):
    """A list that records, at each change, whether this thread has its lock."""

    def __init__(self, values: list[Any], lock: Any, held: list[bool]) -> None:
        super().__init__(values)
        self.lock, self.held = lock, held

    def __setitem__(self, at: Any, value: Any) -> None:
        self.held.append(self.lock._is_owned())
        super().__setitem__(at, value)


def test_the_pool_changes_under_its_locks(load_hostile: LoadHostile) -> None:
    plugin: Any = load_hostile(isolated=Isolation(workers=2, timeout=60))
    pool = session_of(plugin)._workers
    replaced: list[bool] = []
    pool._workers = Guarded(pool._workers, pool._lock, replaced)
    together(*[lambda: plugin.nap(20)] * 4)
    assert (pool._claims.counts(), len(replaced)) == ([0, 0], 1)
    for _ in range(2):
        with pytest.raises(hardpoint.CrashedError):
            plugin.harm("abort")
    assert plugin.count() > 0
    assert pool._claims.counts() == [0, 0]
    assert all(replaced)
    assert len(replaced) >= 2


def test_the_zygotes_books_change_under_its_lock(load_hostile: LoadHostile) -> None:
    load_hostile()
    one: Any = spawner.zygote()
    held: list[bool] = []

    class Workers(dict[int, Any]):
        def pop(self, key: Any, *default: Any) -> Any:
            held.append(one._lock._is_owned())
            return super().pop(key, *default)

        def __setitem__(self, key: int, value: Any) -> None:
            held.append(one._lock._is_owned())
            super().__setitem__(key, value)

    before = one._workers
    one._workers = Workers(dict(before))
    held.clear()
    try:
        for _ in range(2):
            hardpoint.close(load_hostile())
        assert eventually(lambda: len(held) >= 4)
    finally:
        before.update(one._workers)
        one._workers = before
    assert all(held)


def test_a_worker_is_written_to_under_its_lock(load_hostile: LoadHostile) -> None:
    """`close` gives the socket's number back: it may be another file's in the next moment."""
    plugin: Any = load_hostile()
    [worker] = session_of(plugin)._workers.running
    held: list[bool] = []

    class Watched:
        def __init__(self, sock: Any) -> None:
            self.sock = sock

        def fileno(self) -> int:
            return int(self.sock.fileno())

        def __getattr__(self, name: str) -> Any:
            if name == "sendmsg":
                held.append(worker._control._lock._is_owned())
            return getattr(self.sock, name)

    worker._control._sock = Watched(worker._control._sock)
    together(*[lambda: plugin.nap(50)] * 3)
    hardpoint.close(plugin)
    assert len(held) >= 3
    assert all(held)
