"""Channels where the system gives less: the right step and errno, and nothing is left behind."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import channels
import pytest

if TYPE_CHECKING:
    from pathlib import Path

ROWS = (
    "descriptors one-descriptor file-size file-size-that-is-enough memory memory-for-one-half memory-that-is-enough "
    "memory-used-up memfd-refused memfd-not-permitted seals-refused"
).split()
"""Of tests/plugins/channel_limits.c."""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return channels.build("channel_limits.c", tmp_path_factory.mktemp("limits") / "limits", "-O2")


def _run(program: Path, name: str) -> str:
    done = subprocess.run([str(program), name], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_every_row_is_run(program: Path) -> None:
    assert _run(program, "list").split() == list(ROWS)


@pytest.mark.parametrize("row", ROWS)
def test_opening_says_what_failed(row: str, program: Path) -> None:
    _run(program, row)


def test_a_request_that_is_too_large_changes_nothing(program: Path) -> None:
    _run(program, "sends")


def test_ten_thousand_channels_leave_nothing(program: Path) -> None:
    _run(program, "loop")
