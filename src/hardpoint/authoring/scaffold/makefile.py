"""The Makefile of a project: the same in every language, except the rule for the library."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .project import Project


def makefile(project: Project, rule: str, *, made: str = "", rust: str | None = None) -> str:
    """Render the Makefile around `rule`, which makes the library; `made` is what else `make clean` removes.

    `rust` is the path of the contract's module in Rust, if that is generated instead of the C header.

    In every language, `make` makes the library, `make test` runs the tests, and `make wheel` makes dist/*.whl. A rule
    can use $(PYTHON) and $(HARDPOINT), and depends on `project.header` if there is one.
    """
    library, header = project.library, _header_rule(project, rust)
    return f"""\
# make: {library} · make test · make check · make wheel: dist/*.whl · make clean
PYTHON ?= python3
# -P: nothing of this folder is imported by chance, such as {library} for a module of that name.
HARDPOINT = $(PYTHON) -P -m hardpoint
{_contract(project)}
all: {library}

{rule.strip()}
{header}
test: all
\t$(PYTHON) -P -m pytest

# The conformance kit.
check: all
\t$(HARDPOINT) test {library}{"" if project.is_shipped else " $(CONTRACT)"}

# With what is installed here: the same hardpoint that the tests ran with; what is missing is named.
wheel:
\t$(PYTHON) -m pip wheel --quiet --no-deps --no-build-isolation --check-build-dependencies --wheel-dir dist .

clean:
\trm -rf {" ".join([library, *made.split(), "build", "dist", ".pytest_cache", "*.egg-info"])}

# A library that does not fit is not kept: the next `make` would find nothing to do.
.DELETE_ON_ERROR:
.PHONY: all test check wheel clean
"""


def _contract(project: Project) -> str:
    """Variables to find the contract's class, which has what a manifest lacks: the versions of @since."""
    if project.is_shipped:
        return ""
    folder = "export PYTHONPATH := contract$(if $(PYTHONPATH),:$(PYTHONPATH))\n" if project.module_file else ""
    return f"CONTRACT = --contract {project.source}\n{folder}"


def build_rule(project: Project, source: str) -> str:
    """The rule for a language that `hardpoint build` compiles."""
    words, needs = f"build {source} -o $@", source
    if project.header:
        words += " $(CONTRACT) -- -Icontract"
        needs += f" {project.header}"
    return f"{project.library}: {needs}\n\t$(HARDPOINT) {words}"


def _header_rule(project: Project, rust: str | None) -> str:
    """The rule that generates the contract's header, or its module in Rust, when the class has changed."""
    if project.header is None or project.module_file is None:
        return ""
    generated = rust or project.header
    words = f"{project.source} --lang rust" if rust else project.source
    path = os.path.relpath(generated, "contract")
    command = f"$(HARDPOINT) header {words} >{path}.new && mv {path}.new {path}"
    return f"\n{generated}: contract/{os.path.basename(project.module_file)}\n\tcd contract && {command}\n"
