"""The wake protocol in a model checker: tests/channel.pml in spin, and variants of it whose faults spin has to find."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from channels import CC
from conftest import TESTS

if TYPE_CHECKING:
    from pathlib import Path

MODEL = TESTS / "channel.pml"
CLAIMS = ("host_finishes", "host_is_woken", "worker_is_woken")
SAFETY, LIVENESS = ("-DSAFETY", "-DNOCLAIM"), ("-DNFAIR=3",)

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(shutil.which("spin") is None, reason="there is no spin (Debian: spin)"),
]


def _errors(folder: Path, model: tuple[str, ...], checker: tuple[str, ...], *words: str) -> str:
    """Check the model; return the errors found, or an empty string."""
    subprocess.run(["spin", *model, "-a", str(MODEL)], cwd=folder, capture_output=True, check=True)
    subprocess.run([*CC, "-O2", *checker, "-o", "pan", "pan.c"], cwd=folder, capture_output=True, check=True)
    done = subprocess.run(["./pan", "-m1000000", *words], cwd=folder, capture_output=True, text=True, check=False)
    assert "max search depth too small" not in done.stdout
    count = re.search(r"errors: (\d+)$", done.stdout, re.MULTILINE)
    assert count, done.stdout + done.stderr
    found = re.search(r"^pan:1: (.+) \(at depth", done.stdout, re.MULTILINE)
    return found[1] if found else "" if count[1] == "0" else done.stdout


def test_no_answer_is_wrong_and_nobody_is_stuck(tmp_path: Path) -> None:
    assert not _errors(tmp_path, ("-DCALLS=6",), SAFETY)


@pytest.mark.parametrize("claim", CLAIMS)
def test_every_sleeper_is_woken(claim: str, tmp_path: Path) -> None:
    assert not _errors(tmp_path, ("-DCALLS=6",), LIVENESS, "-a", "-f", "-N", claim)


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        pytest.param(1, "invalid end state", id="published-by-a-store"),
        pytest.param(2, "invalid end state", id="asleep-without-comparing"),
        pytest.param(3, "invalid end state", id="abandoned-with-the-word-as-it-was"),
        pytest.param(4, "assertion violated (answered==sent)", id="published-before-it-is-written"),
    ],
)
def test_a_broken_protocol_is_unsafe(broken: int, error: str, tmp_path: Path) -> None:
    assert _errors(tmp_path, (f"-DBROKEN={broken}",), SAFETY) == error


@pytest.mark.parametrize(
    ("broken", "claims"),
    [
        pytest.param(1, CLAIMS, id="published-by-a-store"),
        pytest.param(2, CLAIMS, id="asleep-without-comparing"),
        pytest.param(3, ("host_finishes",), id="abandoned-with-the-word-as-it-was"),
    ],
)
def test_a_broken_protocol_leaves_sleepers(broken: int, claims: tuple[str, ...], tmp_path: Path) -> None:
    for claim in claims:
        found = _errors(tmp_path, (f"-DBROKEN={broken}",), LIVENESS, "-a", "-f", "-N", claim)
        assert found == "acceptance cycle", claim
