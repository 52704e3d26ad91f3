"""A pool's books: a signal handler's exception loses no turn, and no call waits for another worker's start."""

from __future__ import annotations

import os
import signal
import time
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import hostile
import pytest
from conftest import BINDINGS, IMPORTABLE
from processes import eventually, gone, promised, together, workers

import hardpoint
from hardpoint import CrashedError, Isolation, TimedOutError
from hardpoint.isolation.host import workers as workers_module
from hardpoint.isolation.host.claims import Claim, Claims, NestedError
from hardpoint.isolation.host.lost import FOREVER

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Compiler, LoadHostile, RunPython

pools: Any = workers_module


@pytest.fixture(scope="session")
def serial(compiler: Compiler) -> Path:
    return hostile.build(compiler, "-DSERIAL")


def pool_of(plugin: Any) -> Any:
    """The workers behind an isolated plugin."""
    return plugin._instance.backend.session._workers


# -- turns -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BINDINGS)
def test_interruptions_lose_no_turn(serial: Path, run_python: RunPython, kind: str) -> None:
    """A hundred exceptions of a signal handler, at any instruction of a call."""
    code = f"""
import random, signal, sys
sys.path[:0] = {IMPORTABLE!r}
import hardpoint
from hostile import Hostile
from processes import together
class Interrupted(BaseException): pass
def interrupt(*_): raise Interrupted
sys.unraisablehook = lambda _: None  # some exceptions come in a __del__, and are lost there
options = hardpoint.Isolation(workers=2, timeout=20)
with hardpoint.loaded({str(serial)!r}, Hostile, binding={kind!r}, isolated=options) as plugin:
    together(*[lambda: plugin.nap(20)] * 2)
    signal.signal(signal.SIGALRM, interrupt)
    chance, count = random.Random(1), 0
    while count < 100:
        try:
            signal.setitimer(signal.ITIMER_REAL, chance.uniform(10e-6, 300e-6))
            while signal.getitimer(signal.ITIMER_REAL)[0]:
                plugin.count()
        except Interrupted:
            pass
        count += 1
    claims = plugin._instance.backend.session._workers._claims
    print(claims.counts(), [turn.locked() for turn in claims._turns])
    print(len(together(*[lambda: plugin.nap(50)] * 4)))
"""
    assert run_python(code).stdout == "[0, 0] [False, False]\n4\n"


def test_a_turn_ends_with_its_claim() -> None:
    claims = Claims(2, serial=True)

    def take(deadline: int = FOREVER) -> Claim | None:
        """As a thread of its own would: a thread that has a turn gets no other."""
        claim = claims.take(lambda _: True, deadline)
        if claim is not None:
            claim.thread = 0
        return claim

    first, second = take(), take()
    assert first is not None
    assert second is not None
    assert (first.number, second.number, claims.counts()) == (0, 1, [1, 1])
    assert take(0) is None
    assert claims.counts() == [1, 1]
    del second
    third = take()
    assert third is not None
    assert third.number == 1


def test_a_thread_that_has_a_turn_gets_no_other() -> None:
    claims = Claims(2, serial=True)
    first = claims.take(lambda _: True, FOREVER)
    with pytest.raises(NestedError):
        claims.take(lambda _: True, FOREVER)
    assert claims.counts() == [1, 0]
    del first
    assert claims.take(lambda _: True, 0) is not None


def test_a_call_goes_to_the_worker_with_the_fewest() -> None:
    """Among several, to one that is running."""
    claims = Claims(3, serial=False)
    held = [claims.take(lambda number: number == 2, 0) for _ in range(4)]
    assert [claim.number for claim in held if claim] == [2, 0, 1, 2]


def test_a_serial_pool_is_usable_while_an_interrupted_call_is_reported(serial: Path) -> None:
    """The traceback keeps the frames of the call alive, but not its turn."""
    options = Isolation(workers=2, timeout=20)
    with hardpoint.loaded(serial, hostile.Hostile, binding="cffi", isolated=options) as plugin:
        with pytest.raises(CrashedError):
            plugin.harm("abort")
        with pytest.raises(CrashedError) as caught:
            plugin.harm("abort")
        assert pool_of(plugin)._claims.counts() == [0, 0]
        assert caught.traceback
        assert len(together(*[plugin.count] * 4)) == 4


# -- starts ------------------------------------------------------------------------------------------------------------


def test_the_end_of_a_call_waits_for_no_start(load_hostile: LoadHostile) -> None:
    """A worker that starts holds the lock of starts for as long as its plugin's create takes."""

    def attempt() -> float:
        plugin = load_hostile(isolated=Isolation(workers=2, timeout=1.0))
        pool, started, over = pool_of(plugin), Event(), Event()

        def start() -> None:
            with pool._lock:
                started.set()
                over.wait(10)

        thread = Thread(target=start)
        thread.start()
        assert started.wait(10)
        try:
            begin = time.monotonic()
            with pytest.raises(TimedOutError):
                plugin.harm("spin")
            hardpoint.close(plugin)
            return time.monotonic() - begin
        finally:
            over.set()
            thread.join()

    promised(1.5, attempt)


@pytest.mark.parametrize("moment", ["before it is known", "after it has loaded"])
def test_a_close_while_a_worker_starts(load_hostile: LoadHostile, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """It ends that worker too, at each moment of the start."""
    plugin = load_hostile(isolated=Isolation(timeout=20))
    with pytest.raises(CrashedError):
        plugin.harm("abort")
    pool = pool_of(plugin)
    made: list[Any] = []
    new, went_well = pools.Worker, pool._restarts.went_well

    def make(*arguments: Any) -> Any:
        made.append(new(*arguments))
        if moment == "before it is known":
            pool.end_calls("the plugin was closed")
        return made[-1]

    def end() -> None:
        went_well()
        if moment == "after it has loaded":
            pool.end_calls("the plugin was closed")

    monkeypatch.setattr(pools, "Worker", make)
    monkeypatch.setattr(pool._restarts, "went_well", end)
    with pytest.raises(CrashedError, match=r"was killed (in loading|before count), since the plugin was closed"):
        plugin.count()
    assert eventually(lambda: gone(made[0].pid))
    assert workers(plugin) == ()
    with pytest.raises(CrashedError, match="count was ended, since the plugin was closed; load it again"):
        plugin.count()


def test_a_worker_that_died_idle(load_hostile: LoadHostile) -> None:
    """The next call was never sent."""
    plugin = load_hostile()
    [worker] = pool_of(plugin).running
    os.kill(worker.pid, signal.SIGKILL)
    assert eventually(lambda: worker.has_died)
    with pytest.raises(CrashedError, match="was killed by SIGKILL before count, which hardpoint did not send"):
        plugin.count()
    assert plugin.count() == 1
