"""Restart policies: what follows when the worker of an isolated plugin has died."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from processes import workers

from hardpoint import CrashedError, Isolation, TimedOutError

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import LoadHostile


def test_restart_never_stays_dead(load_hostile: LoadHostile, hostile_library: Path) -> None:
    plugin = load_hostile(isolated=Isolation(restart="never"))
    with pytest.raises(CrashedError, match="killed by SIGSEGV in harm"):
        plugin.harm("segv")
    for _ in range(2):
        with pytest.raises(CrashedError) as caught:
            plugin.count()
        assert str(caught.value).startswith(
            f"{hostile_library}: count cannot be called: the worker died before, and restart is 'never'"
        )
        assert "SIGSEGV" in str(caught.value)
        assert str(caught.value).endswith("load it again")
    assert workers(plugin) == ()


def test_restart_never_after_a_hang_is_a_timeout_still(load_hostile: LoadHostile) -> None:
    plugin = load_hostile(isolated=Isolation(timeout=2.0, restart="never"))
    for what in ("harm took longer", "harm cannot be called"):
        with pytest.raises(TimedOutError, match=what):
            plugin.harm("pause")


def test_starts_are_limited_if_every_start_crashes(
    load_hostile: LoadHostile, hostile_library: Path, tmp_path: Path
) -> None:
    trap = tmp_path / "trap"
    plugin = load_hostile(config=f"if:{trap}")
    trap.touch()
    with pytest.raises(CrashedError):
        plugin.harm("abort")
    said = []
    for _ in range(6):
        with pytest.raises(CrashedError) as caught:
            plugin.count()
        said.append(str(caught.value))
    starts = [
        each for each in said if each.startswith(f"{hostile_library}: the worker was killed by SIGABRT in loading")
    ]
    assert len(starts) == 4
    assert re.match(
        rf"{re.escape(str(hostile_library))}: count cannot be called: the plugin failed to start 4 times in a row, "
        r"the last time with: .*SIGABRT in loading(.|\n)*; fix it, and load it again$", said[-1],
    )  # fmt: skip
    trap.unlink()
    with pytest.raises(CrashedError, match="failed to start 4 times"):
        plugin.count()
    assert load_hostile().count() == 1  # loading it again works


def test_a_successful_start_resets_the_count_of_failed_ones(load_hostile: LoadHostile, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    plugin = load_hostile(config=f"if:{trap}")
    for _ in range(2):
        trap.touch()
        with pytest.raises(CrashedError):
            plugin.harm("abort")
        with pytest.raises(CrashedError):
            plugin.count()
        trap.unlink()
        assert plugin.count() == 1
