"""What the projects of all languages share: the wheel, the tests, the README, and how the Makefile goes."""

from __future__ import annotations

import os
from textwrap import fill
from typing import TYPE_CHECKING

from ..compiler import include_folder
from .project import RELEASE

if TYPE_CHECKING:
    from ..signature import Method
    from .project import Project

_WORDS = {"str": "text", "bytes": "bytes", "bytearray": "buffer", "int": "1", "float": "1.5", "bool": "True"}
_QUOTED = {"str": '"{}"', "bytes": 'b"{}"', "bytearray": 'bytearray(b"{}")'}
SAMPLES = {kind: _QUOTED.get(kind, "{}").format(word) for kind, word in _WORDS.items()}
"""An argument of each kind, as Python has it."""


def makefile(project: Project, rule: str, *, made: str = "", module: str | None = None) -> str:
    """The Makefile around `rule`, which makes the library; `made` is what else `make clean` removes.

    `module` is the path of what the language has instead of the C header, which is then not part of the project.

    In every language: `make` makes the library, `make test` runs the tests, `make wheel` makes dist/*.whl. A rule has
    $(PYTHON) and $(HARDPOINT), and depends on `project.header` where there is one.
    """
    library, header = project.library, _header_rule(project, module)
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
\t$(HARDPOINT) test {library}{"" if project.is_brought else " $(CONTRACT)"}

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
    """How hardpoint finds the contract's class, which knows what no manifest tells: which methods came @since a version."""
    if project.is_brought:
        return ""
    folder = "export PYTHONPATH := contract$(if $(PYTHONPATH),:$(PYTHONPATH))\n" if project.module_file else ""
    return f"CONTRACT = --contract {project.source}\n{folder}"


def wrapped(start: str, arguments: str) -> str:
    """A function's head in C or C++, in lines of 120 characters that end behind a comma."""
    glued = arguments.replace(" ", "\xa0").replace(",\xa0", ", ")
    text = fill(f"{start}{glued}", 120, subsequent_indent=" " * len(start), break_long_words=False)
    return text.replace("\xa0", " ")


def build_rule(project: Project, source: str) -> str:
    """The rule of a language that `hardpoint build` compiles."""
    words, needs = f"build {source} -o $@", source
    if project.header:
        words += " $(CONTRACT) -- -Icontract"
        needs += f" {project.header}"
    return f"{project.library}: {needs}\n\t$(HARDPOINT) {words}"


def _header_rule(project: Project, module: str | None) -> str:
    """How the contract's header is made again, once its class has changed; or what the language has instead."""
    if project.header is None or project.module_file is None:
        return ""
    made = module or project.header
    words = f"{project.source} --lang rust" if module else project.source
    path = os.path.relpath(made, "contract")
    command = f"$(HARDPOINT) header {words} >{path}.new && mv {path}.new {path}"
    return f"\n{made}: contract/{os.path.basename(project.module_file)}\n\tcd contract && {command}\n"


def copied(name: str) -> str:
    """A file that comes with hardpoint, for a language whose compilers look nowhere but in the project."""
    with open(os.path.join(include_folder(), name), encoding="utf-8") as file:
        return file.read()


def files(project: Project, own: dict[str, str], needs: str) -> dict[str, str]:
    """What is the same in every language; `own` is what is the language's, the source that the author goes on with first."""
    found = {
        "pyproject.toml": _pyproject(project),
        "setup.py": _SETUP.replace("@name@", project.name),
        "MANIFEST.in": _MANIFEST,
        f"tests/test_{project.identifier}.py": _tests(project),
        "README.md": _readme(project, own, needs),
        ".gitignore": _IGNORED,
    }
    if project.module_file:
        with open(project.module_file, encoding="utf-8") as file:
            found[f"contract/{os.path.basename(project.module_file)}"] = file.read()
    if project.header:
        from ..header import render

        found[project.header] = render(project.contract)
    return found


def _pyproject(project: Project) -> str:
    paths = '\npythonpath = ["contract"]' if project.module_file else ""
    return f"""\
[build-system]
requires = ["setuptools>=77", "hardpoint"]
build-backend = "setuptools.build_meta"

[project]
name = "{project.name}"
version = "{RELEASE}" # also the plugin's release; a test sees to it that they are the same
description = "A plugin for {project.contract}"
readme = "README.md"
requires-python = ">=3.11"

[tool.setuptools]
packages = [] # the library is all there is: see setup.py

[tool.pytest.ini_options]
testpaths = ["tests"]{paths}
hardpoint_plugin = "{project.library}" # what the tests' fixture `plugin` loads, or `pytest --plugin FILE`
hardpoint_contract = "{project.source}"
"""


_SETUP = '''\
"""Builds the wheel (`make wheel`). It carries hardpoint_plugins/@name@/@name@.so, where hosts look, and no Python."""

import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build import build


class Build(build):
    """Makes the library, and puts it where the wheel takes it from."""

    def run(self):
        """What `make` does, with this Python."""
        subprocess.run(["make", "@name@.so", f"PYTHON={sys.executable}"], check=True)
        folder = Path(self.build_lib, "hardpoint_plugins", "@name@")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy("@name@.so", folder)


class Wheel(bdist_wheel):
    """A wheel for this kind of machine and every Python."""

    def get_tag(self):
        """As in @name@-0.1.0-py3-none-linux_x86_64.whl."""
        return "py3", "none", super().get_tag()[2]


class Binary(Distribution):
    """Without this, setuptools takes it for a project of nothing."""

    def has_ext_modules(self):
        """Almost: it is a library that Python does not import."""
        return True


setup(distclass=Binary, cmdclass={"build": Build, "bdist_wheel": Wheel})
'''

_MANIFEST = """\
graft .
prune .git
prune .venv
prune build
prune dist
prune target
global-exclude *.so *.o *.py[co]
"""

_IGNORED = """\
*.so
__pycache__/
.pytest_cache/
.venv/
*.egg-info/
build/
dist/
target/
.zig-cache/
zig-out/
"""


def _tests(project: Project) -> str:
    tests = "\n\n".join(_test(project, method) for method in project.contract.methods)
    return f'''\
"""What the plugin does: `make test`."""

import tomllib
from pathlib import Path

import hardpoint
from {project.module} import {project.class_name}


{tests}

def test_the_release_is_the_wheels(plugin: {project.class_name}) -> None:
    project = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text())["project"]
    assert hardpoint.info(plugin).manifest.release == project["version"]
'''


def _test(project: Project, method: Method) -> str:
    call = f"plugin.{method.name}({', '.join(SAMPLES[parameter.kind] for parameter in method.parameters)})"
    line = call if method.result == "None" else f"assert isinstance({call}, {method.result})"
    return f"""\
def test_{method.name}(plugin: {project.class_name}) -> None:
    {line}  # TODO: what it has to be
"""


def _readme(project: Project, own: dict[str, str], needs: str) -> str:
    contract, source = project.contract, next(iter(own))
    released = next(path for path, text in own.items() if f'"{RELEASE}"' in text)
    methods = "\n".join(f"- `{method.text}`" for method in contract.methods)
    growing = ""
    if project.module_file:
        module = os.path.basename(project.module_file)
        growing = (
            f"\nThe contract is [contract/{module}](contract/{module}), a copy; `make` writes what is made of it anew "
            "when it is\nnewer. A plugin fits the hosts that have the same one.\n"
        )
    first = contract.methods[0]
    words = "".join(f" {_WORDS[parameter.kind]}" for parameter in first.parameters)
    return f"""\
# {project.name}

A native plugin for the contract {contract}, which any Python program that uses
hardpoint can load:

{methods}

It needs:

- {needs}
- In the Python that `make` finds (`python3`; or `make PYTHON=...`): `pip install hardpoint pytest 'setuptools>=77'`.

```sh
make            # {project.library}, checked
make test
make check      # the conformance kit of `hardpoint test`
hardpoint call ./{project.library} {first.name}{words}
make wheel      # dist/*.whl
```

What next:

1. Each TODO in [{source}]({source}) is a method.
2. Each TODO in [tests/](tests) is what the method has to do.
3. The release stands in [{released}]({released}) and in [pyproject.toml](pyproject.toml), and a test compares them.
4. `pip install dist/*.whl` puts the plugin where hosts find it.
{growing}"""
