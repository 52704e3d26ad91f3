"""From `hardpoint new` to an installed plugin in `hardpoint list`, as authors and users do it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from languages import BESIDE

BIN = Path(sys.executable).parent
MOIN = "Moin, World!"


class Environment:
    """A virtual environment with hardpoint from its wheel, and all other packages from this one."""

    def __init__(self, folder: Path, hardpoint: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
        self.python = folder / "bin/python"
        self.bin = folder / "bin"
        self.packages = Path(
            self.run(self.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
        )
        # Added to sys.path without reading .pth files, so that an editable install there stays hidden.
        borrowed = [path for path in sys.path if path.endswith("site-packages")]
        (self.packages / "borrowed.pth").write_text("\n".join(borrowed))
        self.pip("install", hardpoint)

    def run(self, *words: str | Path, cwd: Path | str = "/", status: int = 0, **env: str) -> str:
        """Run a command with the environment's commands first. Return its stdout, or its stderr if it should fail."""
        path = f"{self.bin}{os.pathsep}{BIN}{os.pathsep}{os.environ['PATH']}"
        own = {
            key: value for key, value in os.environ.items() if not key.startswith(("HARDPOINT_", "PYTEST_", "PYTHON"))
        }
        done = subprocess.run(
            [*map(str, words)], cwd=cwd, env={**own, **BESIDE, "PATH": path, **env}, capture_output=True, text=True, check=False,
            timeout=300,
        )  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr
        return done.stderr if status else done.stdout

    def hardpoint(self, *words: str | Path, status: int = 0) -> str:
        return self.run(self.bin / "hardpoint", *words, status=status)

    def pip(self, command: str, *words: str | Path) -> None:
        options = ["--no-index", "--no-deps"] if command == "install" else ["--yes"]
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--python", str(self.python)]
        self.run(*pip, command, *options, *words)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Environment:
    return Environment(tmp_path_factory.mktemp("environment") / "venv", wheel)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, environment: Environment) -> Path:
    """Create a project with `hardpoint new`, and complete one of its TODOs."""
    for tool in ("make", "cmake"):
        if shutil.which(tool, path=BESIDE["PATH"]) is None:
            pytest.skip(f"there is no {tool}")
    folder = tmp_path_factory.mktemp("project")
    environment.run(environment.bin / "hardpoint", "new", "low-german", "--contract", "greeter", cwd=folder)
    return greeting(folder / "low-german", 'hp_printf(out, "Moin, %.*s!", (int)name_len, name)')


def greeting(project: Path, expression: str, before: str = "") -> Path:
    source = project / "low-german.c"
    text = source.read_text().replace('return hp_puts(out, "");', f"return {expression};", 1)
    source.write_text(text.replace('#include "greeter.h"', f'#include "greeter.h"\n{before}'))
    return project


@pytest.fixture(scope="module")
def plugin_wheel(project: Path, environment: Environment) -> Path:
    environment.run("make", "wheel", cwd=project)
    [made] = (project / "dist").glob("*.whl")
    return made


def repair(wheel: Path, environment: Environment, search: str = "") -> Path:
    """Run `auditwheel repair` as in docs/shipping.md; `search` is its search path for other libraries."""
    for tool in ("auditwheel", "patchelf"):
        if shutil.which(tool, path=f"{BIN}{os.pathsep}{os.environ['PATH']}") is None:
            pytest.skip(f"there is no {tool}")
    folder = wheel.parent.parent / "wheelhouse"
    environment.run("auditwheel", "repair", "--wheel-dir", folder, wheel, LD_LIBRARY_PATH=search)
    [made] = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def repaired(plugin_wheel: Path, environment: Environment) -> Path:
    return repair(plugin_wheel, environment)


def contents(wheel: Path) -> list[str]:
    """Return the files in a wheel, without its metadata."""
    names = zipfile.ZipFile(wheel).namelist()
    return [name for name in names if ".dist-info/" not in name and not name.endswith("/")]


def test_the_projects_own_tests_pass_where_hardpoint_is_installed(project: Path, environment: Environment) -> None:
    assert "3 passed" in environment.run("make", "test", cwd=project)


def test_the_pytest_plugin_comes_with_the_package(project: Path, environment: Environment, tmp_path: Path) -> None:
    environment.run("make", cwd=project)
    (tmp_path / "test_it.py").write_text(f"def test_it(plugin):\n    assert plugin.greet('World') == '{MOIN}'\n")
    words = ["-m", "pytest", "-p", "no:cacheprovider", f"--plugin={project}/build/low-german.so"]
    assert "1 passed" in environment.run(environment.python, *words, cwd=tmp_path)


def test_installed_it_is_listed_and_called_and_gone_when_it_is_uninstalled(
    plugin_wheel: Path, environment: Environment
) -> None:
    library = environment.packages / "hardpoint_plugins/low-german/low-german.so"
    environment.pip("install", plugin_wheel)
    listed = environment.hardpoint("list")
    [line] = [line for line in listed.splitlines() if "low-german" in line]
    assert line.split() == ["low-german", "greeter", "1.0", "0.1.0", "fits", str(library)]
    assert environment.hardpoint("call", "low-german", "greet", "World") == f"{MOIN}\n"
    environment.pip("uninstall", "low-german")
    assert "low-german" not in environment.hardpoint("list")
    said = environment.hardpoint("call", "low-german", "greet", "World", status=3)
    assert said.startswith("hardpoint: no plugin named 'low-german' found\n")
    assert not library.exists()


def test_auditwheel_takes_it_for_every_linux_that_it_runs_on(repaired: Path, environment: Environment) -> None:
    assert repaired.name.startswith("low_german-0.1.0-py3-none-manylinux")
    assert contents(repaired) == ["hardpoint_plugins/low-german/low-german.so"]
    environment.pip("install", repaired)
    assert environment.hardpoint("call", "low-german", "greet", "World") == f"{MOIN}\n"
    environment.pip("uninstall", "low-german")


# -- a plugin that needs a library of its own --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vendored(project: Path, environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with a plugin whose wheel contains a needed library, which was deleted where it was built."""
    folder = tmp_path_factory.mktemp("vendored")
    (folder / "moin.c").write_text('const char *moin(void);\nconst char *moin(void) { return "Moin"; }\n')
    environment.run("cc", "-shared", "-fPIC", "-Wl,-soname,libmoin.so.1", "-o", "libmoin.so.1", "moin.c", cwd=folder)
    (folder / "libmoin.so").symlink_to("libmoin.so.1")
    copy = folder / "project"
    environment.run(environment.bin / "hardpoint", "new", "low-german", "--contract", "greeter", "--folder", copy)
    greeting(copy, 'hp_printf(out, "%s, %.*s!", moin(), (int)name_len, name)', "const char *moin(void);")
    with (copy / "CMakeLists.txt").open("a") as file:
        file.write(f"target_link_libraries(plugin PRIVATE {folder}/libmoin.so)\n")
    environment.run("make", "wheel", cwd=copy, LD_LIBRARY_PATH=str(folder))
    [made] = (copy / "dist").glob("*.whl")
    wheel = repair(made, environment, str(folder))
    shutil.move(wheel, folder.parent)
    shutil.rmtree(folder)
    environment.pip("install", folder.parent / wheel.name)
    return environment


def test_auditwheel_brings_the_other_library_along(vendored: Environment) -> None:
    [library] = (vendored.packages / "low_german.libs").iterdir()
    assert library.name.startswith("libmoin-")
    facts = vendored.hardpoint("inspect", vendored.packages / "hardpoint_plugins/low-german/low-german.so")
    assert "  plugin    low-german 0.1.0\n" in facts  # the note survived patchelf
    assert f"  needs     {library.name}\n" in facts
    assert "  runpath   $ORIGIN/../../low_german.libs\n" in facts


@pytest.mark.parametrize("options", [[], ["--isolated"], ["--binding", "cffi"]], ids=" ".join)
def test_it_is_found_where_the_plugin_is_called(vendored: Environment, options: list[str]) -> None:
    assert vendored.hardpoint("call", *options, "low-german", "greet", "World") == f"{MOIN}\n"


def test_a_digest_does_not_cover_the_other_library(vendored: Environment, tmp_path: Path) -> None:
    lock = tmp_path / "hardpoint.lock"
    assert "needs a pinned library that needs nothing beside it" in vendored.hardpoint("lock", "-o", lock, status=1)
    vendored.run(vendored.bin / "hardpoint", "list", "--allow", lock, status=1)
    said = vendored.run("sh", "-c", f"{vendored.bin}/hardpoint list --allow {lock} || true")
    assert "needs  a pinned library that needs nothing beside it\n" in said
