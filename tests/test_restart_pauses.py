"""The pauses between starts of a plugin whose every start fails, on a clock that the test moves."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from hardpoint import CrashedError, Isolation
from hardpoint.isolation.host import restarts as module

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import LoadHostile


class Clock:
    """The module `time`, with a sleep that takes no time and moves the clock on."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.sleeps: list[float] = []

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.ahead += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    monkeypatch.setattr(module, "sleep", made.sleep)
    return made


def crash(plugin: Any, what: str = "count") -> str:
    with pytest.raises(CrashedError) as caught:
        plugin.harm("abort") if what == "harm" else plugin.count()
    return str(caught.value)


def test_pauses_double_after_each_failed_start(load_hostile: LoadHostile, clock: Clock, tmp_path: Path) -> None:
    """None before the first, then 0.2, 0.4 and 0.8 s since the last failure: docs/isolation.md says so."""
    trap = tmp_path / "trap"
    plugin = load_hostile(config=f"if:{trap}")
    trap.touch()
    crash(plugin, "harm")
    pauses: list[float] = []
    for _ in range(4):
        assert "in loading" in crash(plugin)
        pauses.append(sum(clock.sleeps))
        clock.sleeps.clear()
    for pause, promised in zip(pauses, [0.0, 0.2, 0.4, 0.8], strict=True):
        assert promised - 0.15 <= pause <= promised, pauses  # less what passed since the failure
    assert "failed to start 4 times in a row" in crash(plugin)
    assert clock.sleeps == []


def test_time_that_passed_since_counts(load_hostile: LoadHostile, clock: Clock, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    plugin = load_hostile(config=f"if:{trap}")
    trap.touch()
    crash(plugin, "harm")
    crash(plugin)
    clock.ahead += 0.15
    crash(plugin)
    assert sum(clock.sleeps) <= 0.05
    clock.ahead += 1.0
    clock.sleeps.clear()
    crash(plugin)
    assert clock.sleeps == []


def test_a_start_that_goes_well_ends_the_pauses(load_hostile: LoadHostile, clock: Clock, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    plugin = load_hostile(config=f"if:{trap}")
    for _ in range(3):
        trap.touch()
        crash(plugin, "harm")
        crash(plugin)  # at once: the start before went well
        assert clock.sleeps == []
        trap.unlink()
        assert plugin.count() == 1
        assert 0.05 <= sum(clock.sleeps) <= 0.2
        clock.sleeps.clear()


def test_a_worker_that_runs_is_not_paused_for_another(load_hostile: LoadHostile, clock: Clock, tmp_path: Path) -> None:
    """Of two workers one fails to start: the calls of the other go on."""
    trap = tmp_path / "trap"
    plugin = load_hostile(config=f"if:{trap}", isolated=Isolation(workers=2, timeout=30))
    trap.touch()
    for _ in range(5):
        assert plugin.count() > 0
    assert clock.sleeps == []


def test_restart_never_makes_no_pause(load_hostile: LoadHostile, clock: Clock) -> None:
    plugin = load_hostile(isolated=Isolation(restart="never", timeout=30))
    crash(plugin, "harm")
    for _ in range(3):
        assert "restart is 'never'" in crash(plugin)
    assert clock.sleeps == []
