"""Create a plugin project that builds, passes its tests and makes a wheel.

It has the source with a TODO for each method of the contract, tests, a Makefile, a README, a workflow for GitHub, and
the files that build the wheel, which needs no hardpoint. The contract is one of hardpoint's own or yours; a module in
the working directory is copied into the project.

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

from .. import contracts as bundled
from ..authoring.scaffold import LANGUAGES, files
from ..authoring.scaffold.project import Project
from ..errors import HardpointError, printable
from ..preflight.manifest import is_plugin_name
from .contracts import named
from .output import UsageError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from ..definition.model import Contract

_BUNDLED = {name.lower(): f"hardpoint.contracts:{name}" for name in bundled.__all__}


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("name", type=_name, metavar="NAME", help="the plugin's name, and the folder's")
    own = "|".join(_BUNDLED)
    parser.add_argument(
        "--contract",
        required=True,
        type=_contract,
        metavar=f"{own}|MODULE:CLASS",
        help="the contract that it implements",
    )
    parser.add_argument("--lang", choices=LANGUAGES, default="c", help="the language (c)")
    parser.add_argument("--folder", metavar="DIR", help="the folder, if not NAME")


def run(arguments: Namespace) -> int:
    """Create the project, whole or not at all."""
    contract, source = arguments.contract
    project = Project(arguments.name, contract, source, _module_file(source))
    folder = arguments.folder or project.name
    _write(folder, files(project, arguments.lang), project)
    path = printable(folder)
    print(f"{path}: a plugin for {contract} in {LANGUAGES[arguments.lang]}. Next steps:\n")
    print(f"  cd {path}\n  make         # {project.library}, checked\n  make test    # your tests: pip install pytest")
    print("  make check   # the conformance kit\n  make wheel   # dist/*.whl\n")
    print("Fill in each TODO; README.md says more.")
    return 0


def _name(text: str) -> str:
    """Check a name: it must be valid in a manifest, for a wheel and in Python."""
    if not is_plugin_name(text):
        raise argparse.ArgumentTypeError(
            f"a plugin's name is like 'english': a lower-case letter, then lower-case letters, digits, - and _, at most 64 "
            f"characters; not {text!r}"
        )
    if not text[-1].isalnum():
        raise argparse.ArgumentTypeError(
            f"{text!r} would be the wheel's name too, which must end in a letter or a digit"
        )
    if text in sys.stdlib_module_names:
        raise argparse.ArgumentTypeError(
            f"Python would import {text}.so as its own module {text!r} in that folder; choose another name"
        )
    return text


def _contract(text: str) -> tuple[Contract, str]:
    """Return the contract, and the `MODULE:CLASS` to import it by."""
    text = _BUNDLED.get(text, text)
    if ":" not in text:
        raise UsageError(
            f"a contract is {', '.join(_BUNDLED)}, or MODULE:CLASS such as scorer:Scorer for the class Scorer in "
            f"scorer.py; not {text!r}"
        )
    contract = named(text)
    ours = _BUNDLED.get(contract.name, "")
    if ours and contract == named(ours):
        return contract, ours
    name = contract.source.partition(":")[2]  # not an identifier if the class is nested
    return contract, contract.source if name.isidentifier() else text


def _module_file(source: str) -> str | None:
    """Return the file to copy into the project; None if the module is installed.

    Raises HardpointError for a module in a package that is not installed: one file of it cannot be copied alone.
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
    """True if a fresh Python process can import it, with `folder` first on its path."""
    code = f"import sys; sys.path[:0] = {[folder] if folder else []!r}; import {module}"
    command = [sys.executable, "-E", "-P", "-B", "-c", code]
    return subprocess.run(command, cwd="/", capture_output=True, check=False).returncode == 0


def _write(folder: str, texts: dict[str, str], project: Project) -> None:
    """Write the folder under another name and rename it, so that it is whole or not there."""
    folder = os.path.abspath(folder)
    if os.path.lexists(folder) and not (os.path.isdir(folder) and not os.listdir(folder)):
        what = "is not empty" if os.path.isdir(folder) else "is a file"
        raise HardpointError(f"{folder} {what}; choose another with --folder", path=folder)
    if not os.path.isdir(os.path.dirname(folder)):
        raise HardpointError(
            f"{folder}: the folder {os.path.dirname(folder)} does not exist; make it or name another with --folder",
            path=folder,
        )
    try:
        _write_whole(folder, texts, project)
    except OSError as error:
        why = error.strerror or str(error)
        raise HardpointError(f"{folder} cannot be made: {why}; name another with --folder", path=folder) from error


def _write_whole(folder: str, texts: dict[str, str], project: Project) -> None:
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
