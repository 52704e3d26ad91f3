"""Start a plugin: a folder that builds, passes its tests and makes a wheel at once.

It has the source with a TODO for each method of the contract, a Makefile, a pyproject.toml, tests and a README. The
contract is one that hardpoint brings, or a class of yours: one in a file of the working directory is copied along.

examples:
  hardpoint new english --contract greeter
  hardpoint new exam --contract scorer:Scorer --lang cpp
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

from .. import contracts as brought
from ..authoring.scaffold import LANGUAGES, files
from ..authoring.scaffold.project import Project
from ..errors import HardpointError
from ..preflight.manifest import is_plugin_name
from .contracts import named
from .output import UsageError, printable

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from ..definition.model import Contract

_BROUGHT = {name.lower(): f"hardpoint.contracts:{name}" for name in brought.__all__}


def configure(parser: ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("name", type=_name, metavar="NAME", help="the plugin's name, and the folder's")
    own = "|".join(_BROUGHT)
    parser.add_argument(
        "--contract", required=True, type=_contract, metavar=f"{own}|MODULE:CLASS", help="what the plugin has to do"
    )
    parser.add_argument("--lang", choices=LANGUAGES, default="c", help="the language (c)")
    parser.add_argument("--folder", metavar="DIR", help="another folder than NAME")


def run(arguments: Namespace) -> int:
    """Write the folder, whole or not at all."""
    contract, source = arguments.contract
    project = Project(arguments.name, contract, source, _module_file(source))
    folder = arguments.folder or project.name
    _write(folder, files(project, arguments.lang), project)
    path = printable(folder)
    print(f"{path}: a plugin for {contract} in {LANGUAGES[arguments.lang]}. What next:\n")
    print(f"  cd {path}\n  make         # {project.library}, checked\n  make test    # your tests: pip install pytest")
    print("  make check   # everybody's tests\n  make wheel   # dist/*.whl: pip install 'setuptools>=77'\n")
    print("Each TODO in it is yours; README.md has the rest.")
    return 0


def _name(text: str) -> str:
    """A name that the manifest, a wheel and Python can have."""
    if not is_plugin_name(text):
        raise argparse.ArgumentTypeError(
            f"a plugin's name is like 'english': a lower-case letter, then lower-case letters, digits, - and _, at most 64 "
            f"characters; not {text!r}"
        )
    if not text[-1].isalnum():
        raise argparse.ArgumentTypeError(f"{text!r} would also be the wheel's name, which ends in a letter or a digit")
    if text in sys.stdlib_module_names:
        raise argparse.ArgumentTypeError(
            f"Python would take {text}.so for its own module {text!r} wherever it runs in that folder; choose another name"
        )
    return text


def _contract(text: str) -> tuple[Contract, str]:
    """The contract, and `MODULE:CLASS` that it can be imported by."""
    text = _BROUGHT.get(text, text)
    if ":" not in text:
        raise UsageError(
            f"a contract is {', '.join(_BROUGHT)}, or MODULE:CLASS such as scorer:Scorer for the class Scorer in "
            f"scorer.py; not {text!r}"
        )
    contract = named(text)
    ours = _BROUGHT.get(contract.name, "")
    if ours and contract == named(ours):
        return contract, ours
    name = contract.source.partition(":")[2]  # where the class is defined, unless it stands in another one
    return contract, contract.source if name.isidentifier() else text


def _module_file(source: str) -> str | None:
    """The file that the project gets a copy of; None where the module is installed.

    HardpointError for one that is not installed and is no plain file: it would be cut out of its package.
    """
    module = source.partition(":")[0]
    if _imports(module):
        return None
    path = getattr(sys.modules[module], "__file__", None)
    if "." in module or path is None or os.path.basename(path) != f"{module}.py":
        raise HardpointError(
            f"{source} is in a package that is not installed, and only a module of one file can be copied into the "
            "project; install the package (pip install -e), or put the contract into a file of its own"
        )
    return str(path)


def _imports(module: str, folder: str | None = None) -> bool:
    """Whether any Python process can import it; with `folder`, one that looks there first."""
    code = f"import sys; sys.path[:0] = {[folder] if folder else []!r}; import {module}"
    command = [sys.executable, "-E", "-P", "-B", "-c", code]
    return subprocess.run(command, cwd="/", capture_output=True, check=False).returncode == 0


def _write(folder: str, texts: dict[str, str], project: Project) -> None:
    """The whole folder or nothing: it is written under another name first."""
    folder = os.path.abspath(folder)
    if os.path.lexists(folder) and not (os.path.isdir(folder) and not os.listdir(folder)):
        what = "is not empty" if os.path.isdir(folder) else "is a file"
        raise HardpointError(f"{folder} {what}; choose another with --folder", path=folder)
    if not os.path.isdir(os.path.dirname(folder)):
        raise HardpointError(f"{folder}: there is no folder {os.path.dirname(folder)} to make it in", path=folder)
    made = tempfile.mkdtemp(prefix=f".{project.name}.", dir=os.path.dirname(folder))
    try:
        for path, text in texts.items():
            os.makedirs(os.path.dirname(os.path.join(made, path)), exist_ok=True)
            with open(os.path.join(made, path), "x", encoding="utf-8") as file:
                file.write(text)
        _check_module(project, os.path.join(made, "contract"))
        os.chmod(made, 0o777 & ~_umask())
        os.rename(made, folder)
    except BaseException:
        shutil.rmtree(made)
        raise


def _check_module(project: Project, folder: str) -> None:
    if project.module_file and not _imports(project.module, folder):
        raise HardpointError(
            f"{project.module_file} cannot be imported on its own, as the project would have to; put the contract into a "
            "file that imports nothing beside it",
            path=project.module_file,
        )


def _umask() -> int:
    os.umask(mask := os.umask(0))
    return mask
