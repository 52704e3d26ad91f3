"""`timeout=` bounds all that a call waits for; `close` and `reload` from another thread end a call that hangs."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import hostile
import pytest
from conftest import BINDINGS
from processes import eventually, freeze, gone, parent, promised, runs, together, workers

import hardpoint
from hardpoint import CrashedError, Isolation, TimedOutError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Compiler, LoadHostile

TURN = "another call has its turn, and the plugin takes one at a time (HP_SERIAL)"


@pytest.fixture(scope="session")
def serial(compiler: Compiler) -> Path:
    return hostile.build(compiler, "-DSERIAL")


# -- time-outs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("kind", BINDINGS)
def test_the_wait_for_a_turn_is_bounded(serial: Path, kind: Any, count: int) -> None:
    """Six calls of an HP_SERIAL plugin end after the time-out together, and not after six of them."""

    def attempt() -> float:
        with hardpoint.loaded(
            serial, hostile.Hostile, binding=kind, isolated=Isolation(timeout=1.0, workers=count)
        ) as plugin:
            together(*[lambda: plugin.nap(50)] * count)  # both workers run
            start = time.monotonic()
            errors = together(*[lambda: plugin.harm("pause")] * 6)
            took = time.monotonic() - start
        assert {type(each) for each in errors} == {TimedOutError}
        texts = {str(each) for each in errors}
        assert f"{serial}: harm took longer than 1 s, and the worker was killed" in texts
        assert f"{serial}: harm took longer than 1 s: {TURN}" in texts
        assert all(" took longer than 1 s" in each for each in texts)  # one may have had its turn in the last moment
        return took

    promised(1.5, attempt)


def test_sending_to_a_worker_that_does_not_read_is_bounded(load_hostile: LoadHostile) -> None:
    plugin = load_hostile(isolated=Isolation(timeout=0.5, memory="256MiB"))
    for size in (16_000, 8_000_000):

        def attempt(size: int = size) -> float:
            freeze(workers(plugin)[0])
            start = time.monotonic()
            with pytest.raises(TimedOutError, match=r"write took longer than 0\.5 s, and the worker was killed"):
                plugin.write("x" * size, 0)
            took = time.monotonic() - start
            assert plugin.count() == 1
            return took

        promised(1.0, attempt)


def test_a_restart_by_a_zygote_that_is_stopped_is_bounded(load_hostile: LoadHostile) -> None:
    plugin = load_hostile(isolated=Isolation(timeout=2.0))

    def attempt() -> float:
        [worker] = workers(plugin)
        zygote = parent(worker)
        with pytest.raises(CrashedError):
            plugin.harm("abort")
        freeze(zygote)
        start = time.monotonic()
        assert plugin.count() == 1
        took = time.monotonic() - start
        assert gone(zygote)
        return took

    promised(1.0, attempt)


def test_the_pause_before_a_restart_is_bounded(load_hostile: LoadHostile, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    plugin = load_hostile(isolated=Isolation(timeout=0.3), config=f"if:{trap}")
    trap.touch()
    with pytest.raises(CrashedError):
        plugin.harm("abort")
    for _ in range(2):
        with pytest.raises(CrashedError):
            plugin.count()
    with pytest.raises(TimedOutError, match=r"count took longer than 0\.3 s: the plugin fails to start"):
        plugin.count()


# -- close and reload --------------------------------------------------------------------------------------------------


def after(seconds: float, action: Callable[[], Any]) -> Callable[[], Any]:
    def later() -> Any:
        time.sleep(seconds)
        return action()

    return later


@pytest.mark.parametrize("kind", BINDINGS)
@pytest.mark.parametrize("timeout", [None, 30.0])
def test_a_close_ends_a_call_that_hangs(hostile_library: Path, kind: Any, timeout: float | None) -> None:
    def attempt() -> float:
        plugin = hardpoint.load(hostile_library, hostile.Hostile, binding=kind, isolated=Isolation(timeout=timeout))
        [worker] = workers(plugin)
        start = time.monotonic()
        error, _ = together(lambda: plugin.harm("spin"), after(0.1, lambda: hardpoint.close(plugin)))
        took = time.monotonic() - start - 0.1
        assert isinstance(error, CrashedError)
        assert str(error).startswith(f"{hostile_library}: the worker was killed in harm, since the plugin was closed")
        assert gone(worker)
        return took

    promised(0.5, attempt)


@pytest.mark.parametrize("kind", BINDINGS)
def test_a_reload_ends_a_call_that_hangs(hostile_library: Path, kind: Any) -> None:
    def attempt() -> float:
        with hardpoint.loaded(hostile_library, hostile.Hostile, binding=kind, isolated=True) as plugin:
            [worker] = workers(plugin)
            ended: list[float] = []

            def hang() -> None:
                try:
                    plugin.harm("pause")
                finally:
                    ended.append(time.monotonic())

            def reload() -> float:
                hardpoint.reload(plugin)
                return time.monotonic()

            error, start = together(hang, after(0.1, reload))
            assert isinstance(error, CrashedError)
            assert "the worker was killed in harm, since the plugin was reloaded" in str(error)
            assert not runs(worker)
            assert plugin.count() == 1
            return ended[0] - float(start)

    promised(0.5, attempt)


def test_calls_that_end_soon_are_not_ended_by_a_close(load_hostile: LoadHostile) -> None:
    plugin = load_hostile()
    [worker] = workers(plugin)
    assert together(lambda: plugin.nap(250), after(0.1, lambda: hardpoint.close(plugin))) == [worker, None]
    assert eventually(lambda: not runs(worker))


def test_a_close_without_a_call_starts_no_thread(load_hostile: LoadHostile) -> None:
    plugin = load_hostile()
    plugin.count()
    before = len(os.listdir("/proc/self/task"))
    hardpoint.close(plugin)
    assert len(os.listdir("/proc/self/task")) <= before
