"""Workers that break each rule of a channel: the host refuses, ends the call in time, and leaves nothing behind.

The cases, and what the host may make of each, are rows of tests/plugins/channel_hostile.c.
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import channels
import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

WORDS = (
    "word-garbage word-all-ones word-stale word-ahead word-far-ahead word-of-the-answer-with-waiting "
    "word-of-the-answer-before word-waiting-by-the-worker word-zero-again answer-twice answer-before-asked "
    "answer-without-wake silent silent-under-signals deadline-in-the-past wake-storm wake-storm-with-deadline "
    "wake-slowly waiting-toggled waiting-cleared"
).split()
HEADS = (
    "flags-next-bit flags-highest-bit flags-all flags-known status-negative status-lowest status-highest "
    "status-one-too-high status-just-in-range status-free length-all-ones length-that-overflows "
    "length-one-beyond-the-half length-one-beyond-the-room length-of-the-room length-too-long-and-not length-too-long "
    "times-that-steer-the-spin"
).split()
MEMORY = (
    "holes holes-in-what-is-mapped length-changed flags-changed status-changed all-changed text-changed "
    "large-text-changed size-changed holes-punched-everywhere holes-punched-under-the-reader request-scribbled"
).split()
KILLED = (
    "killed-when-asked killed-when-writing killed-when-written killed-when-answered killed-when-woken "
    "killed-at-any-moment"
).split()
ABANDONED = (
    "hang-up-ignored abandoned-at-any-moment abandoned-before abandoned-asleep abandoned-in-a-storm "
    "abandoned-and-overwritten"
).split()
CASES = (*WORDS, *HEADS, *MEMORY, *KILLED, *ABANDONED)
TOO_SLOW, TRIES = 3, 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def plain(folder: Path) -> Path:
    return channels.build("channel_hostile.c", folder / "plain", "-O2")


def _sanitized(folder: Path, name: str, options: tuple[str, ...]) -> Path:
    if why := channels.lacks(folder, *options):
        pytest.skip(why)
    return channels.build("channel_hostile.c", folder / name, "-O1", *options)


@pytest.fixture(scope="module")
def address(folder: Path) -> Path:
    return _sanitized(folder, "address", channels.ADDRESS)


@pytest.fixture(scope="module")
def thread(folder: Path) -> Path:
    return _sanitized(folder, "thread", channels.THREAD)


def _check(program: Path, case: str, worker: str, **env: str) -> None:
    """Run a case; one that only took too long is tried again, since the machine may be busy."""
    words = [str(program), case, worker]
    tries = TRIES
    while True:
        done = subprocess.run(words, env={**os.environ, **env}, capture_output=True, text=True, check=False, timeout=90)
        tries -= 1
        if done.returncode != TOO_SLOW or not tries:
            break
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_case_is_run(plain: Path) -> None:
    listed = subprocess.run([str(plain), "list"], capture_output=True, text=True, check=True).stdout.splitlines()
    assert sorted(listed) == sorted([*(set(CASES) - set(KILLED)), *(f"{case} kills" for case in KILLED)])


def _sampled(*quick: str, without: Sequence[str] = ()) -> list[object]:
    """All cases; those that are not named here are long."""
    rest = [case for case in CASES if case not in {*quick, *without}]
    return [*quick, *(pytest.param(case, marks=pytest.mark.long) for case in rest)]


@pytest.mark.parametrize("case", _sampled(*MEMORY, *KILLED, *ABANDONED))
def test_the_host_survives_it(case: str, plain: Path) -> None:
    _check(plain, case, "process")


@pytest.mark.parametrize("case", CASES)
def test_it_is_clean_under_address_sanitizer(case: str, address: Path, folder: Path) -> None:
    _check(address, case, "process", ASAN_OPTIONS=f"detect_leaks={channels.finds_leaks(folder):d}")


# A thread that kills itself kills the host, so those cases need processes, which ThreadSanitizer does not follow.
@pytest.mark.parametrize("case", _sampled(*ABANDONED, without=KILLED))
def test_it_is_clean_under_thread_sanitizer(case: str, thread: Path) -> None:
    _check(thread, case, "thread", TSAN_OPTIONS="halt_on_error=1")
