"""docs/writing-plugins.md and docs/shipping.md, followed in an empty folder with a new virtual environment."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pages import blocks, follow
from test_shipping import Environment

if TYPE_CHECKING:
    from conftest import Compiler


@pytest.fixture
def stranger(tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an active virtual environment that has hardpoint and its own pip, offline."""
    if shutil.which("make") is None:
        pytest.skip("there is no make")
    environment = Environment(tmp_path / "folder/.venv", wheel)
    pip = environment.bin / "pip"
    pip.write_text(f'#!/bin/sh\nexec {environment.python} -m pip "$@"\n')
    pip.chmod(0o755)
    for name in [name for name in os.environ if name.startswith(("HARDPOINT_", "PYTEST_", "PYTHON", "PIP_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    monkeypatch.setenv("PATH", f"{environment.bin}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path / "folder")
    where = subprocess.run(["hardpoint", "include"], capture_output=True, text=True, check=True).stdout
    assert where.startswith(str(environment.packages))  # not that of this tree
    return tmp_path / "folder"


def test_the_tour(stranger: Path, compiler: Compiler) -> None:
    follow("docs/writing-plugins.md", stranger, compiler)


def test_shipping(stranger: Path, compiler: Compiler) -> None:
    for tool in ("auditwheel", "patchelf"):
        if shutil.which(tool) is None:
            pytest.skip(f"there is no {tool}")
    follow("docs/shipping.md", stranger, compiler)


@pytest.mark.skipif(find_spec("ziglang") is None, reason="there is no ziglang")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the page names x86-64")
def test_shipping_for_an_old_glibc(stranger: Path) -> None:
    """The block of docs/shipping.md that needs a compiler which the page does not install."""
    subprocess.run(["hardpoint", "new", "low-german", "--contract", "greeter"], check=True, stdout=subprocess.DEVNULL)
    [block] = [block for block in blocks("docs/shipping.md") if block.by]
    subprocess.run(["bash", "-euc", block.text], cwd=stranger / "low-german", check=True)
    assert b"clang" in (stranger / "low-german/low-german.so").read_bytes()
    assert len(list((stranger / "low-german/dist").glob("*.whl"))) == 1
