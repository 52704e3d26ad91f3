"""Isolation in applications that PyInstaller made, where sys.executable is the application itself."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from processes import children, gone, zygotes_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.long

APPLICATION = """
import os, sys
import hardpoint
from hardpoint.contracts import Greeter

path, *options = sys.argv[1:]
plugin = hardpoint.load(path, Greeter, isolated=True, binding=options[0] if options else None)
print(plugin.greet("you"), os.getpid(), *hardpoint.info(plugin).isolation.workers, flush=True)
sys.stdin.read()
"""
SPEC = """
analysis = Analysis(["application.py"])
archive = PYZ(analysis.pure)
EXE(archive, analysis.scripts, analysis.binaries, analysis.datas, name="file")
program = EXE(archive, analysis.scripts, exclude_binaries=True, name="program")
COLLECT(program, analysis.binaries, analysis.datas, name="folder")
"""


@pytest.fixture(scope="module")
def applications(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an application in one file, and one in a folder."""
    made = tmp_path_factory.mktemp("frozen")
    (made / "application.py").write_text(APPLICATION)
    (made / "application.spec").write_text(SPEC)
    command = [sys.executable, "-m", "PyInstaller", "--log-level", "WARN", "application.spec"]
    subprocess.run(command, cwd=made, env={**os.environ, "PYINSTALLER_CONFIG_DIR": str(made)}, check=True)
    return made / "dist"


def descendants(pid: int) -> list[int]:
    return [each for child in children(pid) for each in (child, *descendants(child))]


@pytest.mark.parametrize("binding", ["", "cffi", "ctypes"])
@pytest.mark.parametrize("name", ["file", "folder/program"])
def test_one_zygote_and_one_worker(applications: Path, english: Path, tmp_path: Path, name: str, binding: str) -> None:
    words = [str(applications / name), str(english), *filter(None, [binding])]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, env=env, text=True) as process:
        assert process.stdin
        assert process.stdout
        greeting, _, last = process.stdout.readline().partition("! Nice to meet you. ")
        host, worker = last.split()
        [zygote] = zygotes_of(host)
        started = descendants(process.pid)
        process.stdin.close()
        assert process.wait(20) == 0
    assert greeting == "Hello, you"
    unpacked = [int(host)] if name == "file" else []  # the application's first process unpacks it and starts it again
    assert sorted(started) == sorted([*unpacked, int(zygote), int(worker)])
    assert gone(*started)
    assert list(tmp_path.iterdir()) == []


def test_what_the_hook_collects(applications: Path) -> None:
    package = applications / "folder" / "_internal" / "hardpoint"
    assert (package / "contracts" / "greeter.h").exists()
    [program] = package.glob("isolation/_channel.*.so")
    assert os.access(program, os.X_OK)
    assert {each.name for each in package.parent.iterdir()}.isdisjoint({"gevent", "numpy", "PIL"})  # through rich
