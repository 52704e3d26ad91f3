"""The files of a project that are the same in all languages, without the Makefile: wheel, tests, README, contract."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..c_header import render
from ..compiler import include_folder
from .project import RELEASE

if TYPE_CHECKING:
    from ...definition.model import Method
    from .project import Project


def shipped_file(name: str) -> str:
    """Read a file that comes with hardpoint, for a language whose compilers search the project alone."""
    with open(os.path.join(include_folder(), name), encoding="utf-8") as file:
        return file.read()


def header_file(project: Project) -> dict[str, str]:
    """Render the contract's C header, for a language that compiles with it; nothing if it comes with hardpoint."""
    return {project.header: render(project.contract)} if project.header else {}


def files(project: Project, own: dict[str, str], needs: str) -> dict[str, str]:
    """Render the files that every language has; `own` are the language's, the source that the author edits first."""
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
        """As in py3-none-linux_x86_64: of the three, only the machine counts."""
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
    samples = [repr(parameter.kind.sample()).replace("'", '"') for parameter in method.parameters]
    call = f"plugin.{method.name}({', '.join(samples)})"
    line = f"assert isinstance({call}, {method.result.python.__name__})" if method.result.c.parameter else call
    return f"""\
def test_{method.name}(plugin: {project.class_name}) -> None:
    {line}  # TODO: what it has to be
"""


def _readme(project: Project, own: dict[str, str], needs: str) -> str:
    contract, source = project.contract, next(iter(own))
    released = next(path for path, text in own.items() if f'"{RELEASE}"' in text)
    methods = "\n".join(f"- `{method.text}`" for method in contract.methods)
    first = contract.methods[0]
    words = "".join(f" {_word(parameter.kind.sample())}" for parameter in first.parameters)
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
{_growing(project)}{_renewing(own)}"""


def _word(value: Any) -> str:
    """A value as an argument of `hardpoint call`."""
    return value.decode() if isinstance(value, (bytes, bytearray)) else str(value)


def _growing(project: Project) -> str:
    """The README's section on a contract that was copied."""
    if project.module_file is None:
        return ""
    path = f"contract/{os.path.basename(project.module_file)}"
    return f"""
The contract is [{path}]({path}), a copy; `make` writes what is made of it anew when it is
newer, and `touch {path}` has it do so with a newer hardpoint. A plugin fits the hosts that have the same contract.
"""


def _renewing(own: dict[str, str]) -> str:
    """The README's section on the files that were copied from hardpoint."""
    there = os.listdir(include_folder())
    names = {path: os.path.basename(path) for path in own}
    paths = [path for path, name in names.items() if name in there and own[path] == shipped_file(name)]
    if not paths:
        return ""
    links = " and ".join(f"[{path}]({path})" for path in paths)
    commands = "\n".join(f'cp "$(hardpoint include)/{names[path]}" {path}' for path in paths)
    return f"""
Copied from hardpoint, and good for later ones, too: {links}.
What a newer hardpoint brings is had by copying again:

```sh
{commands}
```
"""
