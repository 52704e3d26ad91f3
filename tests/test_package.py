"""The package as installed: light to import, complete in a wheel, and built by build.sh."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import CAN_BUILD_NATIVE, make_wheel

if TYPE_CHECKING:
    from conftest import RunPython

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src/hardpoint"

HEAVY = {"pycparser", "cffi", "rich", "argparse", "dataclasses", "inspect", "logging", "json", "ctypes",
         "pathlib", "subprocess", "socket", "threading", "hashlib", "platform"}  # fmt: skip


def loaded_modules(run_python: RunPython, code: str) -> set[str]:
    # First the modules of a bare interpreter, since site may have imported any.
    done = run_python(f"import sys, typing\nbefore = set(sys.modules)\n{code}\nprint(*(set(sys.modules) - before))")
    return set(done.stdout.split())


def test_the_import_is_light(run_python: RunPython) -> None:
    modules = loaded_modules(run_python, "import hardpoint, hardpoint.contracts")
    assert "hardpoint.loading" in modules
    assert not modules & HEAVY


def test_loading_and_calling_stays_light(run_python: RunPython, english: Path) -> None:
    code = f"import hardpoint, hardpoint.contracts as c\nhardpoint.load({str(english)!r}, c.Greeter).greet('x')"
    assert not loaded_modules(run_python, code) & HEAVY


def test_a_contract_is_imported_at_first_use(run_python: RunPython) -> None:
    modules = loaded_modules(run_python, "from hardpoint.contracts import Greeter")
    assert {name for name in modules if name.startswith("hardpoint.contracts.")} == {"hardpoint.contracts.greeter"}
    code = "from hardpoint.contracts import *\nprint(Greeter.__name__, Transformer.__name__)\nimport hardpoint.contracts as c\nc.Nobody"
    done = run_python(code, check=False)
    assert done.stdout == "Greeter Transformer\n"
    assert done.stderr.endswith("AttributeError: module 'hardpoint.contracts' has no attribute 'Nobody'\n")


def test_the_wheel_is_complete(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(path.relative_to(SOURCE.parent)) for path in SOURCE.rglob("*.py")}
    contracts = {f"hardpoint/contracts/{path.name}" for path in (ROOT / "contract").glob("*.*")}
    assert modules | contracts | {"hardpoint/py.typed"} <= names
    assert not any(name.startswith(("tests", "examples", "contract/")) for name in names)
    for extension in (
        "hardpoint/binding/_native.",
        "hardpoint/benchmark/_floor.",
    ):
        assert any(name.startswith(extension) for name in names if name.endswith(".so")) == CAN_BUILD_NATIVE
    assert any(name.startswith("hardpoint/isolation/_channel.") for name in names)  # it needs no Python.h
    assert not any(name.endswith((".c", ".h")) for name in names - contracts)


def test_the_package_installs_without_a_compiler(tmp_path: Path, english: Path) -> None:
    wheel = make_wheel(tmp_path, CC="/bin/false")
    assert not any(name.endswith(".so") for name in zipfile.ZipFile(wheel).namelist())
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    code = (
        "import hardpoint, hardpoint.contracts as contracts\n"
        f"print(hardpoint.info(hardpoint.load({str(english)!r}, contracts.Greeter)).binding)\n"
        f"try: hardpoint.load({str(english)!r}, contracts.Greeter, isolated=True)\n"
        "except hardpoint.LoadError as error: print(error)"
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == (
        f"cffi\n{english} cannot be isolated: needs the program that isolated plugins run in, found that it was not built "
        "when hardpoint was installed, which takes a C compiler; install one (apt-get install gcc libc6-dev), and then "
        "reinstall hardpoint, or install its wheel\n"
    )


def test_the_wheel_works_where_it_is_installed(wheel: Path, tmp_path: Path, english: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    words = [sys.executable, "-m", "hardpoint"]
    include = subprocess.run(
        [*words, "include"], env=env, cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout.strip()
    assert include == str(tmp_path / "hardpoint/contracts")
    done = subprocess.run(
        [*words, "call", str(english), "lang"], env=env, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "English\n"


# -- build.sh ----------------------------------------------------------------------------------------------------------


def build(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ROOT / "build.sh"), *words],
        env={**os.environ, **env},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the tree whose environment counts as complete, so that build.sh only compiles."""
    copy = tmp_path / "checkout"
    ignored = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, copy, symlinks=True, ignore=ignored)
    (copy / ".venv/bin").mkdir(parents=True)
    (copy / ".venv/bin/python").symlink_to(sys.executable)
    base = os.path.realpath(sys._base_executable)  # type: ignore[attr-defined]
    version = subprocess.run([base, "-VV"], capture_output=True, text=True, check=True).stdout.strip()
    sources = [
        copy / "pyproject.toml",
        *sorted((copy / "src/hardpoint/binding").glob("_*.[ch]")),
        *sorted((copy / "src/hardpoint/benchmark").glob("_*.c")),
        *sorted((copy / "src/hardpoint/isolation/channel").glob("_*.[ch]")),
        copy / "contract/hardpoint.h",
    ]
    joined = b"".join(path.read_bytes() for path in sources)
    checksum = subprocess.run(["cksum"], input=joined, capture_output=True, check=True).stdout.decode().strip()
    (copy / ".venv/.hardpoint").write_text(f"{copy} {base} {version}\n {checksum}{CAN_BUILD_NATIVE}\n")
    return copy


def made(checkout: Path, **env: str) -> tuple[int, list[str]]:
    done = subprocess.run(
        [str(checkout / "build.sh")], env={**os.environ, "PYTHON": sys.executable, **env}, cwd="/", capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    return done.returncode, [line.split("/")[-1] for line in done.stderr.splitlines() if "compiling" in line]


ALL = ["english.so", "reverse.so", "spanish.so", "uppercase.so"]
if shutil.which("c++") or shutil.which("g++") or shutil.which("clang++") or os.environ.get("CXX"):
    ALL.append("english_cpp.so")


def test_build_rebuilds_only_changed_files(checkout: Path) -> None:
    assert made(checkout) == (0, ALL)
    assert made(checkout) == (0, [])
    (checkout / "native_plugins/spanish/spanish.c").touch()
    assert made(checkout) == (0, ["spanish.so"])
    assert made(checkout, CC="cc -DANOTHER=1") == (0, ALL)
    assert made(checkout, CC="cc -DANOTHER=1") == (0, [])
    (checkout / "contract/greeter.h").touch()
    assert made(checkout, CC="cc -DANOTHER=1") == (0, ALL)


def test_build_fails_when_the_compiler_does(checkout: Path) -> None:
    assert made(checkout)[0] == 0
    with (checkout / "native_plugins/english/english.c").open("a") as source:
        source.write("oops\n")
    assert made(checkout)[0] != 0
    assert made(checkout)[0] != 0  # and fails again until it is repaired


def test_build_fails_when_pip_does(checkout: Path) -> None:
    shutil.rmtree(checkout / ".venv")
    status, compiled = made(checkout, PIP_NO_INDEX="1", PIP_CONFIG_FILE=os.devnull)
    assert (status != 0, compiled) == (True, [])
    assert len((checkout / ".venv/.hardpoint").read_text().splitlines()) == 1  # nothing counts as installed


def test_build_names_an_unknown_command() -> None:
    done = build("frob")
    assert done.returncode == 1
    assert "build.sh: unknown command 'frob'" in done.stderr


def test_build_without_a_python(tmp_path: Path) -> None:
    done = build(PYTHON=str(tmp_path / "python9"))
    assert done.returncode == 1
    assert f"build.sh: {tmp_path}/python9 was not found, and Python 3.11 or newer is needed." in done.stderr
    assert "    apt-get install python3 python3-venv\n" in done.stderr


@pytest.mark.parametrize(
    ("refuses", "sentence"),
    [
        ("version_info", "is too old: Python 3.11 or newer is needed"),
        ("ensurepip", "Python's venv module is missing.\nbuild.sh:     apt-get install python3-venv\n"),
    ],
)
def test_build_with_an_unsuitable_python(tmp_path: Path, refuses: str, sentence: str) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\ncase "$*" in *{refuses}*) exit 1 ;; esac\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    done = build(PYTHON=str(python))
    assert done.returncode == 1
    assert sentence in done.stderr


@pytest.mark.parametrize(
    ("compiler", "sentence"),
    [
        ("no-such-cc", "The C compiler CC=no-such-cc was not found.\nbuild.sh:     apt-get install gcc libc6-dev\n"),
        ("false", "false finds no headers of the C library.\nbuild.sh:     apt-get install libc6-dev\n"),
    ],
)
def test_build_without_a_compiler(compiler: str, sentence: str) -> None:
    done = build(CC=compiler, PYTHON=sys.executable)
    assert done.returncode == 1
    assert sentence in done.stderr
