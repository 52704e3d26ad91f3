"""docs/writing-plugins.md and docs/shipping.md, followed in an empty folder with a new virtual environment."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from languages import BESIDE, LANGUAGES, OFFLINE, missing
from pages import blocks, follow
from test_shipping import Environment

if TYPE_CHECKING:
    from conftest import Compiler


@pytest.fixture
def stranger(tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an active virtual environment that has hardpoint and its own pip, offline."""
    for tool in ("make", "cmake"):
        if shutil.which(tool, path=BESIDE["PATH"]) is None:
            pytest.skip(f"there is no {tool}")
    environment = Environment(tmp_path / "folder/.venv", wheel)
    pip = environment.bin / "pip"
    pip.write_text(f'#!/bin/sh\nexec {environment.python} -m pip "$@"\n')
    pip.chmod(0o755)
    for name in [name for name in os.environ if name.startswith(("HARDPOINT_", "PYTEST_", "PYTHON", "PIP_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_NO_BUILD_ISOLATION", BESIDE["PIP_NO_BUILD_ISOLATION"])
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


@pytest.mark.long
@pytest.mark.parametrize("lang", ["c", "cpp", "rust", "zig", "go"])
def test_the_readme_of_a_new_project(stranger: Path, lang: str, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command in it, in a new folder and a new environment, one after the other."""
    if lang in LANGUAGES and (why := missing(lang)):
        pytest.skip(why)
    for name, value in {**OFFLINE, "GOCACHE": str(scratch / "go")}.items():
        monkeypatch.setenv(name, value)
    words = ["hardpoint", "new", "moin", "--contract", "greeter", "--lang", lang]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    commands, copies = re.findall(r"```sh\n(.*?)```", (stranger / "moin/README.md").read_text(), re.DOTALL)
    done = subprocess.run(
        ["bash", "-euxc", commands + copies], cwd=stranger / "moin", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "build/moin.so: fits greeter 1.0 (moin 0.1.0)\n" in done.stdout
    assert " 3 passed" in done.stdout
    [line] = [line for line in done.stdout.splitlines() if line.startswith("  moin ")]
    assert line.split()[:5] == ["moin", "greeter", "1.0", "0.1.0", "fits"]
    assert line.endswith("site-packages/hardpoint_plugins/moin/moin.so")


@pytest.mark.long
def test_a_wheel_is_built_in_isolation(stranger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pip does it for everybody: with the build's requirements from PyPI, and without hardpoint."""
    for name in ("PIP_NO_INDEX", "PIP_NO_BUILD_ISOLATION"):
        monkeypatch.delenv(name)
    subprocess.run(["hardpoint", "new", "moin", "--contract", "greeter"], check=True, stdout=subprocess.DEVNULL)
    words = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", "dist", "."]
    done = subprocess.run(words, cwd=stranger / "moin", capture_output=True, text=True, check=False)
    if "No matching distribution found for scikit-build-core" in done.stderr:
        pytest.skip("there is no PyPI")
    assert done.returncode == 0, done.stderr
    [wheel] = (stranger / "moin/dist").iterdir()
    assert wheel.name == f"moin-0.1.0-py3-none-linux_{platform.machine()}.whl"


@pytest.mark.skipif(find_spec("ziglang") is None, reason="there is no ziglang")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the page names x86-64")
def test_shipping_for_an_old_glibc(stranger: Path) -> None:
    """The block of docs/shipping.md that needs a compiler which the page does not install."""
    subprocess.run(["hardpoint", "new", "low-german", "--contract", "greeter"], check=True, stdout=subprocess.DEVNULL)
    [block] = [block for block in blocks("docs/shipping.md") if block.by]
    subprocess.run(["bash", "-euc", block.text], cwd=stranger / "low-german", check=True)
    assert b"clang" in (stranger / "low-german/build/low-german.so").read_bytes()
    assert len(list((stranger / "low-german/dist").glob("*.whl"))) == 1
