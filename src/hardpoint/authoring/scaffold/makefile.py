"""The Makefile of a project, the same in every language: it builds with CMake, checks, tests and packs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .project import Project


def makefile(project: Project, *, made: str = "", rust: str | None = None) -> str:
    """Render the Makefile. `made` is what `make clean` removes besides the build.

    `rust` is the path of the contract's module in Rust, if that is generated instead of the C header.
    """
    library = project.library
    generated, rule = _generated(project, rust)
    return f"""\
# make: {library}, checked · make test · make check · make wheel: dist/*.whl · make clean
PYTHON ?= python3
CMAKE ?= cmake
# -P: nothing of this folder is imported by chance.
HARDPOINT = $(PYTHON) -P -m hardpoint
{_contract(project)}
# CMakeLists.txt builds the library, here and for the wheel. CMake may run another make, whose flags are its own.
all: build/cmake_install.cmake{generated}
\t@env -u MAKEFLAGS -u MAKELEVEL $(CMAKE) --build build
\t$(HARDPOINT) check {library}{"" if project.is_shipped else " $(CONTRACT)"}

build/cmake_install.cmake:
\t@$(CMAKE) -S . -B build -DCMAKE_BUILD_TYPE=RelWithDebInfo --log-level=WARNING
{rule}
# Each test's plugin runs isolated, so a crash fails one test. For a debugger: pytest -o hardpoint_isolated=false
test: all
\t$(PYTHON) -P -m pytest

# The conformance kit.
check: all
\t$(HARDPOINT) test {library}{"" if project.is_shipped else " $(CONTRACT)"}

wheel: all
\t$(PYTHON) -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:
\trm -rf {" ".join([*made.split(), "build", "dist", ".pytest_cache"])}

.PHONY: all test check wheel clean
"""


def _contract(project: Project) -> str:
    """Variables to find the contract's class, which has what a manifest lacks: the versions of @since."""
    if project.is_shipped:
        return ""
    folder = "export PYTHONPATH := contract$(if $(PYTHONPATH),:$(PYTHONPATH))\n" if project.module_file else ""
    return f"CONTRACT = --contract {project.source}\n{folder}"


def _generated(project: Project, rust: str | None) -> tuple[str, str]:
    """What `all` needs, and the rule that generates the contract's header or Rust module when the class has changed."""
    if project.module_file is None:
        return "", ""
    path = rust or project.header
    words = f"{project.source} --lang rust" if rust else project.source
    inside = os.path.relpath(path, "contract")
    command = f"$(HARDPOINT) header {words} >{inside}.new && mv {inside}.new {inside}"
    return f" {path}", f"\n{path}: contract/{os.path.basename(project.module_file)}\n\tcd contract && {command}\n"
