"""Isolation wherever the package lies: a zip, a file system mounted noexec, and with or without what was compiled."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
import zipfile
from glob import glob
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import hardpoint

if TYPE_CHECKING:
    from conftest import RunPython

PACKAGE = Path(hardpoint.__file__).parent
HOST = """
import sys
sys.path[:0] = {folders!r}
import hardpoint
from hardpoint.contracts import Greeter
assert hardpoint.__file__.startswith({start!r}), hardpoint.__file__
try:
    with hardpoint.loaded({library!r}, Greeter, isolated=True) as plugin:
        print(plugin.greet("you"), hardpoint.info(plugin).binding)
        hardpoint.reload(plugin)
        print(plugin.lang())
    hardpoint.load({library!r}, Greeter, isolated=True, binding="ctypes").lang()
except hardpoint.LoadError as error:
    print(error)
"""
WORKS = "Hello, you! Nice to meet you. {}\nEnglish\n"


def host(library: Path, start: Path, *folders: str) -> str:
    return HOST.format(library=str(library), start=str(start), folders=[str(start), *folders])


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A folder with a copy of the package."""
    shutil.copytree(PACKAGE, tmp_path / "copy" / "hardpoint", ignore=shutil.ignore_patterns("__pycache__", "*.[ch]"))
    return tmp_path / "copy"


def program_of(copied: Path) -> Path:
    [program] = (copied / "hardpoint" / "isolation").glob("_channel.*.so")
    return program


def test_a_program_that_lost_its_mode(english: Path, copied: Path, run_python: RunPython) -> None:
    program_of(copied).chmod(0o644)
    assert run_python(host(english, copied)).stdout in {WORKS.format("native"), WORKS.format("cffi")}


def test_a_package_in_a_zip(english: Path, copied: Path, tmp_path: Path) -> None:
    """An application of zipapp: no file of the package can be opened or run."""
    archive = tmp_path / "application.pyz"
    with zipfile.ZipFile(archive, "w") as packed:
        for file in copied.rglob("*"):
            packed.write(file, file.relative_to(copied))
        packed.writestr("__main__.py", host(english, archive))
    shutil.rmtree(copied)
    done = subprocess.run([sys.executable, archive], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (WORKS.format("cffi"), "")


def mounted(tmp_path: Path, script: str) -> str:
    """Run a script of the shell in a mount namespace, and return its output."""
    done = subprocess.run(["unshare", "-rm", "sh", "-ec", script], capture_output=True, text=True, check=False)
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip("no mount namespaces here")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_package_that_is_mounted_noexec(english: Path, copied: Path, tmp_path: Path) -> None:
    (tmp_path / "host.py").write_text(host(english, tmp_path / "mounted"))
    (tmp_path / "mounted").mkdir()
    script = (
        f"mount -t tmpfs -o noexec none {tmp_path}/mounted; cp -r {copied}/hardpoint {tmp_path}/mounted; "
        f"{sys.executable} {tmp_path}/host.py"
    )
    assert mounted(tmp_path, script) == WORKS.format("cffi")


def test_a_system_without_proc(english: Path, tmp_path: Path) -> None:
    (tmp_path / "host.py").write_text(host(english, PACKAGE.parent))
    assert mounted(tmp_path, f"mount -t tmpfs none /proc; {sys.executable} {tmp_path}/host.py") == (
        f"{english} cannot be loaded: there is no /proc here, which tells what the dynamic linker mapped; mount it "
        "(mount -t proc proc /proc)\n"
    )


def test_without_python_h(english: Path, run_python: RunPython) -> None:
    """A compiler alone builds the program; calls go through cffi."""
    code = "import sys; sys.modules['hardpoint.binding._native'] = None\n" + host(english, PACKAGE.parent)
    assert run_python(code).stdout == WORKS.format("cffi")


def test_where_nothing_was_compiled(english: Path, copied: Path, run_python: RunPython) -> None:
    for file in copied.rglob("*.so"):
        file.unlink()
    code = host(english, copied) + f"print(hardpoint.load({str(english)!r}, Greeter).lang())\n"
    refusal, lang = run_python(code).stdout.splitlines()
    assert refusal == (
        f"{english} cannot be isolated: needs the program that isolated plugins run in, found that it was not built when "
        "hardpoint was installed, which takes a C compiler; install one (apt-get install gcc libc6-dev), and then reinstall "
        "hardpoint, or install its wheel"
    )
    assert lang == "English"


def test_a_python_without_site_and_environment(english: Path) -> None:
    folders = [each for each in sys.path if each.endswith("-packages")]
    words = [sys.executable, "-I", "-S", "-c", host(english, PACKAGE.parent, *folders)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": "/none"})
    assert done.stderr == ""
    assert done.stdout in {WORKS.format("native"), WORKS.format("cffi")}


def test_the_hook_for_pyinstaller_names_what_is_there() -> None:
    """tests/test_hosts_frozen.py makes applications with it."""
    entries = {entry.value: entry for entry in entry_points(group="pyinstaller40")}
    [folder] = entries["hardpoint._pyinstaller:get_hook_dirs"].load()()
    hook = runpy.run_path(str(Path(folder) / "hook-hardpoint.py"))
    [(program, _)] = hook["binaries"]
    assert program == str(program_of(PACKAGE.parent))
    [(headers, _)] = hook["datas"]
    assert str(PACKAGE / "contracts" / "greeter.h") in glob(headers)
    names = hook["hiddenimports"] + hook["excludedimports"]
    assert all(map(find_spec, names))
