"""The wake protocol under random delays and signals: no answer is wrong, and no wake-up is lost.

tests/plugins/channel_stress.c says how a lost one shows.
"""

from __future__ import annotations

import shutil
import subprocess
from importlib.util import find_spec
from typing import TYPE_CHECKING

import channels
import pytest
from languages import zig

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

QUICK, LONG = 50_000, 2_500_000
"""Rounds on one or two cores, with or without signals: 200,000 together, and 10 million."""
PLACES = pytest.mark.parametrize("cores", ["one", "two"])
SIGNALS = pytest.mark.parametrize("signals", ["quiet", "signals"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stress")


@pytest.fixture(scope="module")
def program(folder: Path) -> Path:
    return channels.build("channel_stress.c", folder / "stress", "-O2", host=False)


def _run(program: Path, *words: str, rounds: int, seconds: int = 3600, under: Sequence[str] = ()) -> dict[str, int]:
    """Run a stress test; return what it counted."""
    command = [*under, str(program), *words, str(rounds), str(seconds), "7"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = done.stdout.split()
    return dict(zip(found[::2], map(int, found[1::2]), strict=True))


def _check(counts: dict[str, int], rounds: int) -> None:
    assert (counts["wrong"], counts["lost"]) == (0, 0)
    assert counts["rounds"] >= rounds
    assert counts["sleeps"] > counts["rounds"] // 10, "too few rounds came to the protocol"


@PLACES
@SIGNALS
def test_no_wake_up_is_lost(program: Path, cores: str, signals: str) -> None:
    counts = _run(program, cores, signals, rounds=QUICK)
    _check(counts, QUICK)
    assert (counts["signals"] > 0) == (signals == "signals")


@pytest.mark.long
@PLACES
@SIGNALS
def test_none_is_lost_in_ten_million_rounds(program: Path, cores: str, signals: str) -> None:
    _check(_run(program, cores, signals, rounds=LONG), LONG)


@PLACES
@pytest.mark.parametrize("rounds", [2_000, pytest.param(100_000, marks=pytest.mark.long)])
def test_a_host_is_woken_when_its_channel_is_abandoned(program: Path, cores: str, rounds: int) -> None:
    _check(_run(program, cores, "abandon", rounds=rounds), rounds)


@PLACES
def test_a_lost_one_is_found(folder: Path, cores: str) -> None:
    """A publisher that reads the word and then stores it, instead of exchanging it."""
    program = channels.build("channel_stress.c", folder / f"broken-{cores}", "-O2", "-DBROKEN", host=False)
    assert _run(program, cores, "quiet", rounds=QUICK)["lost"] > 0


# -- AArch64 ---------------------------------------------------------------------------------------------------------


def _aarch64() -> list[str]:
    if shutil.which("aarch64-linux-gnu-gcc"):
        return ["aarch64-linux-gnu-gcc"]
    if find_spec("ziglang") is None:
        pytest.skip("there is neither aarch64-linux-gnu-gcc nor ziglang")
    return [*zig("cc", "aarch64-linux-musl"), "-fno-sanitize=all"]


@pytest.mark.long
@PLACES
@pytest.mark.parametrize(
    "atomics",
    [
        pytest.param(("-mcpu=generic", "-mno-outline-atomics"), id="load-linked"),
        pytest.param(("-mcpu=generic+lse",), id="lse"),
    ],
)
def test_none_is_lost_on_aarch64(folder: Path, cores: str, atomics: tuple[str, ...]) -> None:
    """As many rounds as are done in 45 s: three minutes for all four."""
    emulator = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
    if emulator is None:
        pytest.skip("there is no qemu-aarch64 to run it (Debian: qemu-user-static)")
    words = ["-O2", "-static", *atomics]
    program = channels.build("channel_stress.c", folder / f"aarch64-{cores}", *words, host=False, compiler=_aarch64())
    _check(_run(program, cores, "quiet", rounds=LONG, seconds=45, under=[emulator]), 10_000)
