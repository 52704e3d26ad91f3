"""Calls of isolated plugins from threads and from asyncio, and pools of workers."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from typing import TYPE_CHECKING

import hostile
import pytest
from hostile import Hostile
from probe import Probe
from processes import runs, together, workers

import hardpoint
from hardpoint import Isolation

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Compiler, LoadHostile


@pytest.fixture(scope="session")
def serial(compiler: Compiler) -> Path:
    return hostile.build(compiler, "-DSERIAL")


def test_threads_call_one_worker_at_once(load_hostile: LoadHostile) -> None:
    plugin = load_hostile()
    seen: list[int] = []

    def watch() -> None:
        [pid] = workers(plugin)
        threading.Event().wait(0.3)
        seen.append(len(os.listdir(f"/proc/{pid}/task")))

    assert together(*[lambda: plugin.nap(600)] * 4, watch) == [workers(plugin)[0]] * 4 + [None]
    assert seen[0] >= 5  # a thread for each call


@pytest.mark.parametrize("kind", ["hostile_library", "serial"])
def test_workers_share_the_calls(load_hostile: LoadHostile, request: pytest.FixtureRequest, kind: str) -> None:
    plugin = load_hostile(request.getfixturevalue(kind), Isolation(workers=3))
    pids = together(*[lambda: plugin.nap(400)] * 3)
    assert len(set(pids)) == 3
    assert set(workers(plugin)) == set(pids)
    hardpoint.close(plugin)
    assert not any(map(runs, pids))


def test_one_worker_of_a_pool_dies_and_the_others_go_on(load_hostile: LoadHostile) -> None:
    plugin = load_hostile(isolated=Isolation(workers=2))
    first, second = together(*[lambda: plugin.nap(300)] * 2)
    assert first != second
    errors = together(lambda: plugin.harm("segv"), lambda: plugin.nap(300))
    assert isinstance(errors[0], hardpoint.CrashedError)
    assert errors[1] in {first, second}
    again = together(*[lambda: plugin.nap(300)] * 2)
    assert len(set(again)) == 2
    assert len(set(again) & {first, second}) == 1


def test_a_serial_plugin_serves_one_call_at_a_time_in_one_worker(probe_library: Path, compiler: Compiler) -> None:
    hostile_library = compiler.library("probe.c", "-pthread", "-DSERIAL")
    with hardpoint.loaded(hostile_library, Probe, isolated=True) as plugin:
        assert together(*[lambda: plugin.overlap(30)] * 4) == [1] * 4
    with hardpoint.loaded(hostile_library, Probe, isolated=Isolation(workers=2)) as plugin:
        assert together(*[lambda: plugin.overlap(30)] * 6) == [1] * 6


def test_awaited_calls_overlap_and_do_not_block_the_loop(load_hostile: LoadHostile) -> None:
    plugin = hardpoint.awaitable(load_hostile(isolated=Isolation(workers=2)))
    turns = 0

    async def tick() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.01)

    async def main() -> set[int]:
        ticking = asyncio.create_task(tick())
        pids = await asyncio.gather(plugin.nap(500), plugin.nap(500))
        ticking.cancel()
        return set(pids)

    assert len(asyncio.run(main())) == 2
    assert turns > 5


def test_awaited_errors_and_names(load_hostile: LoadHostile) -> None:
    plain = load_hostile()
    plugin = hardpoint.awaitable(plain)
    with pytest.raises(hardpoint.CrashedError):
        asyncio.run(plugin.harm("abort"))
    assert asyncio.run(plugin.count()) == 1
    assert repr(plugin) == f"<awaitable {plain!r}>"
    assert set(dir(plugin)) == {name for name in dir(Hostile) if not name.startswith("_")}
    with pytest.raises(AttributeError, match="has no method 'hum'"):
        plugin.hum  # noqa: B018
    with pytest.raises(TypeError, match="'x' is not a plugin object"):
        hardpoint.awaitable("x")


def test_cancelling_an_awaited_call_leaves_the_plugin_usable(load_hostile: LoadHostile) -> None:
    plugin = hardpoint.awaitable(load_hostile())

    async def main() -> int:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await plugin.nap(400)
        number: int = await plugin.count()
        return number

    assert asyncio.run(main()) == 1


def test_an_interrupted_call_gives_no_answer_to_the_next(load_hostile: LoadHostile) -> None:
    plugin = load_hostile()

    def interrupt(*_: object) -> None:
        raise TimeoutError("a handler of the host")

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(TimeoutError, match=r"^a handler of the host$"):
            plugin.nap(500)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert plugin.release() == "1.0.0"
    assert plugin.count() == 1
    assert workers(plugin) == (plugin.pid(),)
