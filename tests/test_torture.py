"""Eight threads call, while workers are killed and plugins reloaded and closed at random: no answer is lost or wrong.

It lasts a second, and as a long test HARDPOINT_TORTURE seconds, 5 by default.
"""

from __future__ import annotations

import gc
import os
import random
import signal
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from probe import Probe
from processes import children, eventually, held, parent, runs, workers

import hardpoint
from hardpoint import Isolation

if TYPE_CHECKING:
    from pathlib import Path


SECONDS = float(os.environ.get("HARDPOINT_TORTURE", "5"))
THREADS = 8


class Torture:
    """The shared state of the threads, and their results."""

    def __init__(self, probe_library: Path, seed: int) -> None:
        self.library = probe_library
        self.random = random.Random(seed)
        self.ended = threading.Event()
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.lock = threading.Lock()
        self.plugins = [self.load(workers=1), self.load(workers=3)]
        self.seen: set[int] = set()

    def load(self, workers: int) -> Probe:
        return hardpoint.load(self.library, Probe, isolated=Isolation(timeout=20.0, workers=workers))

    def call(self, number: int) -> None:
        """Call until the end; each call has an answer of its own."""
        choose = random.Random(number)
        turn = 0
        while not self.ended.is_set():
            turn += 1
            with self.lock:
                at = choose.randrange(len(self.plugins))
                plugin = self.plugins[at]
            try:
                self.once(plugin, choose, f"{number}:{turn}")
            except (hardpoint.CrashedError, hardpoint.ClosedError) as error:
                self.counts[type(error).__name__] += 1
            except BaseException as error:  # noqa: BLE001 - raised at the end
                self.wrong.append(f"{number}:{turn} {error!r}")
            else:
                self.counts["answers"] += 1

    def once(self, plugin: Probe, choose: random.Random, token: str) -> None:
        kind = choose.randrange(5)
        if kind == 0:
            self.expect(plugin.text(token), token)
        elif kind == 1:
            value = int(token.replace(":", "0"))
            self.expect(plugin.add(value, 1), value + 1)
        elif kind == 2:
            data = token.encode() * choose.randrange(1, 20_000)
            self.expect(plugin.raw(data), data)
        elif kind == 3:
            array = bytearray(token.encode() * choose.choice((1, 5_000)))
            wanted = bytes(255 - byte for byte in array)
            plugin.flip(array)
            self.expect(bytes(array), wanted)
        else:
            with pytest.raises(hardpoint.CallError) as caught:
                plugin.fail(300, token)
            self.expect((caught.value.status, caught.value.text), (300, token))

    def expect(self, found: object, wanted: object) -> None:
        if found != wanted:
            self.wrong.append(f"{str(found)[:50]!r} where {str(wanted)[:50]!r} belongs")

    def disturb(self) -> None:
        """Usually kill a worker; sometimes reload a plugin, or close it and load another in its place."""
        at = self.random.randrange(len(self.plugins))
        plugin = self.plugins[at]
        pids = workers(plugin)
        self.seen.update(pids)
        what = self.random.random()
        if what < 0.85:
            if pids:
                try:
                    os.kill(
                        self.random.choice(pids), self.random.choice((signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM))
                    )
                except ProcessLookupError:
                    return
                self.counts["kills"] += 1
        elif what < 0.94:
            hardpoint.reload(plugin)
            self.counts["reloads"] += 1
        else:
            new = self.load(workers=1 + 2 * at)
            with self.lock:
                self.plugins[at] = new
            hardpoint.close(plugin)
            self.counts["closes"] += 1


@pytest.mark.parametrize("seconds", [1.0, pytest.param(SECONDS, marks=pytest.mark.long)], ids=["a-second", "for-long"])
def test_torture(probe_library: Path, seconds: float) -> None:
    seed = random.randrange(1 << 32)
    with hardpoint.loaded(probe_library, Probe, isolated=True) as plugin:
        zygote = parent(workers(plugin)[0])
    del plugin
    gc.collect()  # garbage of other tests, and its workers, does not count here
    assert eventually(lambda: not children(zygote))
    before = held()
    torture = Torture(probe_library, seed)
    threads = [threading.Thread(target=torture.call, args=(number,)) for number in range(1, THREADS + 1)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(torture.random.uniform(0.001, 0.05))
        try:
            torture.disturb()
        except hardpoint.CrashedError:  # killed while it was starting
            torture.counts["died at the start"] += 1
    torture.ended.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    for at in range(2):
        _still_serves(torture.plugins[at])
        torture.seen.update(workers(torture.plugins[at]))
        hardpoint.close(torture.plugins[at])
    assert torture.wrong == [], f"seed {seed}"
    assert torture.counts["kills"] > seconds, torture.counts
    assert torture.counts["answers"] > 100 * seconds, torture.counts
    torture.plugins.clear()
    gc.collect()
    assert eventually(lambda: not any(map(runs, torture.seen)))
    assert eventually(lambda: not children(zygote))
    assert eventually(lambda: held() == before, 5), (held(), before)


def _still_serves(plugin: Probe) -> None:
    for _ in range(20):
        try:
            assert plugin.text("still there") == "still there"
        except hardpoint.CrashedError:  # the death of a worker is noticed by the next call
            continue
        return
    pytest.fail("it died for good")
