"""Shared fixtures: a compiler that builds each library once a session, and a copy of it for each binding."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any, Literal, Protocol

import hostile
import pytest
from hostile import Hostile
from probe import Probe
from sample import is_long

import hardpoint
from hardpoint.authoring.c_header import render
from hardpoint.definition.decorators import contract_of

pytest.register_assert_rewrite("alike", "languages")

os.environ.pop("COLUMNS", None)  # pytest-xdist sets it, and tables would follow it
os.unsetenv("COLUMNS")  # as readline does behind os.environ's back, for child processes

# A shell's `&` may ignore SIGINT, and processes that a test interrupts would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

TESTS = Path(__file__).parent
SUPPORT = TESTS / "support"
IMPORTABLE = [str(TESTS), str(SUPPORT)]
"""For sys.path of processes that tests start."""
ROOT = TESTS.parent
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")
LIBRARY = ("-std=gnu11", "-O2", "-fPIC", "-fvisibility=hidden", "-shared", "-Wl,-z,defs,-z,noexecstack", *WARNINGS)


def pytest_collection_finish(session: pytest.Session) -> None:
    """On a busy machine drawing values is slow, and so is a single example: neither is a failure."""
    if hypothesis := sys.modules.get("hypothesis"):  # tests that don't use it do without its import, 0.4 s
        slow = [hypothesis.HealthCheck.too_slow]
        hypothesis.settings.register_profile("suite", deadline=None, print_blob=True, suppress_health_check=slow)
        hypothesis.settings.load_profile("suite")


Binding = Literal["native", "cffi", "ctypes"]
Way = Literal["native", "cffi", "ctypes", "isolated"]
CAN_BUILD_NATIVE = Path(sysconfig.get_path("include"), "Python.h").exists()
BINDINGS: tuple[Binding, ...] = ("native", "cffi", "ctypes") if CAN_BUILD_NATIVE else ("cffi", "ctypes")
"""Those that there are here, for tests that don't use the fixture `binding`."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if is_long(item.nodeid):
            item.add_marker("long")


class Compiler:
    """Compiles C; the same arguments give the same file, which is compiled once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.command = shlex.split(os.environ.get("CC") or "cc")
        self._made: dict[tuple[str, ...], Path] = {}

    def header(self, cls: type) -> None:
        """Write the header of a contract to the include directory."""
        contract = contract_of(cls)
        (self.folder / f"{contract.name}.h").write_text(render(contract))

    def run(self, *words: str) -> None:
        subprocess.run([*self.command, f"-I{self.folder}", f"-I{ROOT / 'contract'}", *words], check=True)

    def library(self, source: str, *words: str, name: str | None = None) -> Path:
        """Compile a file in tests/plugins or native_plugins, with additional arguments for the compiler."""
        key = (source, name or "", *words)
        if key not in self._made:
            target = Path(tempfile.mkdtemp(dir=self.folder)) / f"{name or Path(source).stem}.so"
            found = TESTS / "plugins" / source
            self.run(
                *LIBRARY, "-o", str(target), str(found if found.exists() else ROOT / "native_plugins" / source), *words
            )
            self._made[key] = target
        return self._made[key]

    def text(self, name: str, code: str, *words: str) -> Path:
        """Compile C in a string; `name` is the name of the file."""
        source = self.folder / hashlib.sha256(code.encode()).hexdigest()[:16] / f"{name}.c"
        source.parent.mkdir(exist_ok=True)
        source.write_text(code)
        return self.library(str(source), *words)


@pytest.fixture(scope="session")
def compiler(tmp_path_factory: pytest.TempPathFactory) -> Compiler:
    return Compiler(tmp_path_factory.mktemp("libraries"))


@pytest.fixture(scope="session")
def english(compiler: Compiler) -> Path:
    return compiler.library("english/english.c")


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder for the output of other languages' compilers, once a session."""
    return tmp_path_factory.mktemp("languages")


def open_parents(folder: Path) -> None:
    """Let other users reach a temporary folder: pytest makes those above it for its own user."""
    while folder != Path(tempfile.gettempdir()):
        folder.chmod(0o755)
        folder = folder.parent


class Fresh(Protocol):
    def __call__(self, library: Path, name: str | None = None) -> Path: ...


class RunPython(Protocol):
    def __call__(self, code: str, *, check: bool = True) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture
def fresh(tmp_path: Path) -> Fresh:
    """Copy a library to a file that no test has loaded yet, since libraries are never unloaded."""

    def copy(library: Path, name: str | None = None) -> Path:
        target = tmp_path / (name or library.name)
        assert not target.exists()  # it may be mapped, and rewriting it would kill this process
        shutil.copy(library, target)
        return target

    return copy


def make_wheel(folder: Path, tree: Path = ROOT, **env: str) -> Path:
    """Build the wheel of a tree (this one or an unpacked sdist) from a copy, offline, with the installed setuptools."""
    ignored = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__", "*.so")
    shutil.copytree(tree, folder / "source", symlinks=True, ignore=ignored)
    words = [
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(folder),
        str(folder / "source"),
    ]
    subprocess.run([sys.executable, "-m", "pip", *words], env={**os.environ, **env}, check=True)
    [made] = folder.glob("*.whl")
    return made


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree."""
    return make_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(params=["native", "cffi", "ctypes"])
def binding(request: pytest.FixtureRequest) -> Binding:
    """Every binding; the native one is required wherever it can be built."""
    chosen: Binding = request.param
    if chosen == "native" and not CAN_BUILD_NATIVE:
        pytest.skip("the native binding is built with Python.h, and there is none")
    return chosen


@pytest.fixture(params=["native", "cffi", "ctypes", "isolated"])
def way(request: pytest.FixtureRequest) -> Way:
    """Every way to call a plugin: through each binding, and isolated."""
    chosen: Way = request.param
    if chosen == "native" and not CAN_BUILD_NATIVE:
        pytest.skip("the native binding is built with Python.h, and there is none")
    return chosen


def how(way: Way) -> dict[str, Any]:
    """Return the arguments of load for a way to call."""
    return {"isolated": True} if way == "isolated" else {"binding": way}


@pytest.fixture(scope="session")
def run_python() -> RunPython:
    """Run Python code in a separate process, for code that may kill it or must not run in this one."""

    def run(code: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        forks = "ignore:This process:DeprecationWarning"  # Python 3.12 and later warn of a fork while there are threads
        done = subprocess.run(
            [sys.executable, "-W", forks, "-uc", code], capture_output=True, text=True, check=False, timeout=120
        )
        if check:
            assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done

    return run


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without plugins: the user's and the system's folder are in tmp_path, and do not exist yet."""
    monkeypatch.delenv("HARDPOINT_PATH", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("hardpoint.registry.discovery.SYSTEM", [str(tmp_path / "system")])


class LoadHostile(Protocol):
    def __call__(
        self, path: Path | None = None, isolated: hardpoint.Isolation | bool = hostile.ENOUGH, **options: Any
    ) -> Hostile: ...


@pytest.fixture(scope="session")
def probe_library(compiler: Compiler) -> Path:
    compiler.header(Probe)
    return compiler.library("probe.c", "-pthread")


@pytest.fixture(scope="session")
def hostile_library(compiler: Compiler) -> Path:
    return hostile.build(compiler)


@pytest.fixture
def load_hostile(hostile_library: Path, request: pytest.FixtureRequest) -> LoadHostile:
    """Load the hostile plugin isolated, and close it after the test."""

    def load(
        path: Path | None = None, isolated: hardpoint.Isolation | bool = hostile.ENOUGH, **options: Any
    ) -> Hostile:
        plugin = hardpoint.load(path or hostile_library, Hostile, isolated=isolated, **options)
        request.addfinalizer(lambda: hardpoint.close(plugin))
        return plugin

    return load
