"""Run mypy and pyright on tests/typing with the installed package: uses pass, and every misuse is an error."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from conftest import TESTS

if TYPE_CHECKING:
    from pathlib import Path

FILES = ["uses.py", "misuse.py"]
PYRIGHT = {
    "typeCheckingMode": "strict",
    "enableTypeIgnoreComments": False,  # comments for mypy
    "reportUnnecessaryTypeIgnoreComment": "error",
    "reportUnknownMemberType": False,  # a second error for each missing member
}


def needs(checker: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(checker) is None
    return pytest.mark.skipif(missing, reason=f"{checker} is not installed: pip install hardpoint[lint]")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Copy the files to an empty folder, without the project's settings and sources, as for a user."""
    for name in FILES:
        shutil.copy(TESTS / "typing" / name, tmp_path)
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(PYRIGHT))
    return tmp_path


def run(folder: Path, module: str, *words: str) -> tuple[int, str]:
    """Run a checker with the packages of this Python only. Return its output and status."""
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "MYPYPATH"}}
    command = [sys.executable, "-m", module, *words]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    return done.returncode, done.stdout + done.stderr


def mypy(folder: Path, *words: str) -> tuple[int, str]:
    return run(folder, "mypy", "--strict", "--config-file=", "--cache-dir=cache", "--no-error-summary", *words)


def pyright(folder: Path) -> tuple[int, str]:
    return run(folder, "pyright", "--pythonpath", sys.executable)


@needs("mypy")
def test_mypy_accepts_every_use_and_rejects_every_misuse(folder: Path) -> None:
    assert mypy(folder, *FILES) == (0, "")


@needs("pyright")
def test_pyright_accepts_every_use_and_rejects_every_misuse(folder: Path) -> None:
    status, output = pyright(folder)
    assert (status, output.splitlines()[-1]) == (0, "0 errors, 0 warnings, 0 informations"), output


def _without_marks(folder: Path) -> set[int]:
    """Remove the marks from the misuses, and return the numbers of the marked lines."""
    file = folder / "misuse.py"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(re.sub(r"  # type: ignore.*", "", line) for line in lines))
    return {
        number for number, line in enumerate(lines, start=1) if "# type: ignore" in line and "# pyright: ignore" in line
    }


@needs("mypy")
def test_mypy_finds_errors_on_exactly_the_marked_lines(folder: Path) -> None:
    marked = _without_marks(folder)
    status, output = mypy(folder, "misuse.py")
    assert status == 1
    assert {int(number) for number in re.findall(r"^misuse\.py:(\d+): error:", output, re.MULTILINE)} == marked


@needs("pyright")
def test_pyright_finds_errors_on_exactly_the_marked_lines(folder: Path) -> None:
    marked = _without_marks(folder)
    status, output = pyright(folder)
    assert status == 1
    assert {int(number) for number in re.findall(r"misuse\.py:(\d+):\d+ - error:", output)} == marked
