"""The files of a project that are the same in all languages: wheel, workflow, tests, README, contract."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..c_header import render
from ..compiler import include_folder
from .project import RELEASE

if TYPE_CHECKING:
    from ...definition.model import Method
    from .project import Needs, Project


def shipped_file(name: str) -> str:
    """Read a file that comes with hardpoint."""
    with open(os.path.join(include_folder(), name), encoding="utf-8") as file:
        return file.read()


def shipped_files(folder: str, *names: str) -> dict[str, str]:
    """Copy files into a folder of the project, so that its wheel is built where hardpoint is not installed."""
    return {f"{folder}/{name}": shipped_file(name) for name in names}


def header_file(project: Project) -> dict[str, str]:
    """Render the contract's C header, for a language that compiles with it."""
    return {project.header: render(project.contract)}


def files(project: Project, own: dict[str, str], needs: Needs) -> dict[str, str]:
    """Render the files that every language has; `own` are the language's, the source that the author edits first."""
    found = {
        "pyproject.toml": _pyproject(project, needs),
        ".github/workflows/wheels.yml": _WORKFLOW,
        f"tests/test_{project.identifier}.py": _tests(project),
        "README.md": _readme(project, own, needs),
        ".gitignore": _IGNORED,
    }
    if project.module_file:
        with open(project.module_file, encoding="utf-8") as file:
            found[f"contract/{os.path.basename(project.module_file)}"] = file.read()
    return found


def _pyproject(project: Project, needs: Needs) -> str:
    paths = '\npythonpath = ["contract"]' if project.module_file else ""
    requires = ", ".join(f'"{package}"' for package in ("scikit-build-core>=0.10", *needs.packages))
    return f"""\
[build-system]
requires = [{requires}]
build-backend = "scikit_build_core.build" # runs CMakeLists.txt

[project]
name = "{project.name}"
version = "{RELEASE}" # also the plugin's release; a test sees to it that they are the same
description = "A plugin for {project.contract}"
readme = "README.md"
requires-python = ">=3.11"

[tool.scikit-build]
minimum-version = "build-system.requires"
wheel.packages = [] # the library is all there is
wheel.install-dir = "hardpoint_plugins/{project.name}" # where hosts look
wheel.py-api = "py3" # as in py3-none-linux_x86_64: of the three, only the machine counts

[tool.pytest.ini_options]
testpaths = ["tests"]{paths}
hardpoint_plugin = "{project.library}" # what the tests' fixture `plugin` loads, or `pytest --plugin FILE`
hardpoint_contract = "{project.source}"
hardpoint_isolated = true # a crash fails one test

# For .github/workflows/wheels.yml. With one Python, since the wheel serves all; glibc only, as hardpoint.
[tool.cibuildwheel]
build = "cp313-manylinux_*"
archs = "native"
{needs.in_container}"""


# Without the tests, which need hardpoint.
_WORKFLOW = """\
# Wheels for every Linux. cibuildwheel builds in a container with an old glibc, where auditwheel then repairs the wheel.
# `make test` is not here yet: it needs hardpoint, which is not on PyPI.
name: wheels
on:
  push:
  pull_request:
  workflow_dispatch:

permissions:
  contents: read

jobs:
  wheels:
    strategy:
      matrix:
        machine: [ubuntu-latest, ubuntu-24.04-arm]
    runs-on: ${{ matrix.machine }}
    steps:
      - uses: actions/checkout@v5
      - uses: pypa/cibuildwheel@v4.3.5 # pyproject.toml, [tool.cibuildwheel], says what is built
      - uses: actions/upload-artifact@v5
        with:
          name: wheels-${{ matrix.machine }}
          path: wheelhouse/*.whl
"""

_IGNORED = """\
*.so
__pycache__/
.pytest_cache/
.venv/
build/
dist/
wheelhouse/
target/
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
    samples = [repr(parameter.kind.new_sample()).replace("'", '"') for parameter in method.parameters]
    call = f"plugin.{method.name}({', '.join(samples)})"
    line = f"assert isinstance({call}, {method.result.python.__name__})" if method.result.c.parameter else call
    return f"""\
def test_{method.name}(plugin: {project.class_name}) -> None:
    {line}  # TODO: what it has to be
"""


def _readme(project: Project, own: dict[str, str], needs: Needs) -> str:
    contract, source = project.contract, next(iter(own))
    released = next(path for path, text in own.items() if f'"{RELEASE}"' in text)
    methods = "\n".join(f"- `{method.text}`" for method in contract.methods)
    first = contract.methods[0]
    words = "".join(f" {_word(parameter.kind.new_sample())}" for parameter in first.parameters)
    return f"""\
# {project.name}

A native plugin for the contract {contract}, which any Python program that uses
hardpoint can load:

{methods}

It needs:

- {needs.text}
- In the Python that `make` finds (`python3`; or `make PYTHON=...`), for `make` and the tests: pytest and hardpoint,
  which is not on PyPI yet: `pip install pytest PATH`, with the path of hardpoint's checkout or wheel.{_package(project)}

```sh
make            # {project.library}, checked
make test       # each test's plugin runs isolated: a crash fails one test
make check      # the conformance kit of `hardpoint test`
hardpoint call {project.library} {first.name}{words}
make wheel      # dist/*.whl: the same as `pip wheel --no-deps --wheel-dir dist .`, which does not need hardpoint
pip install dist/*.whl
hardpoint list  # finds it
```

What next:

1. Each TODO in [{source}]({source}) is a method.
2. Each TODO in [tests/](tests) is what the method has to do.
3. The release stands in [{released}]({released}) and in [pyproject.toml](pyproject.toml), and a test compares them.
4. [CMakeLists.txt](CMakeLists.txt) builds the library, for `make` and for the wheel. `make clean` before another
   compiler or other flags: `make clean && CFLAGS=-O3 make`.
5. [The workflow](.github/workflows/wheels.yml) builds wheels for every Linux on GitHub.
{_growing(project)}{_renewing(own)}"""


def _package(project: Project) -> str:
    """The README's word on a contract that is in an installed package."""
    if project.is_shipped or project.module_file:
        return ""
    return f"\n- There, too: the package with the module `{project.module}`, which has the contract."


def _word(value: Any) -> str:
    """A value as an argument of `hardpoint call`."""
    return value.decode() if isinstance(value, (bytes, bytearray)) else str(value)


def _growing(project: Project) -> str:
    """The README's section on a contract that was copied."""
    if project.module_file is None:
        return ""
    path = f"contract/{os.path.basename(project.module_file)}"
    return f"""
The contract is [{path}]({path}), a copy: the plugin fits the hosts that have the same.
When it changes, `make` generates its code again; `touch {path}` makes it do so with a newer hardpoint.
"""


def _renewing(own: dict[str, str]) -> str:
    """The README's section on the files that were copied from hardpoint."""
    folder = include_folder()
    names = {path: path.removeprefix("contract/").removeprefix("src/") for path in own}
    paths = [
        path
        for path, name in names.items()
        if os.path.isfile(os.path.join(folder, name)) and own[path] == shipped_file(name)
    ]
    commands = "\n".join(f'cp "$(hardpoint include)/{names[path]}" {path}' for path in paths)
    return f"""
These files are copies of hardpoint's, so that the wheel is built without it. They are good for later hosts, too; copy
them again for what a newer hardpoint brings:

```sh
{commands}
```
"""
