"""Import the contract that an argument names as MODULE:CLASS."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING

from ..definition.decorators import contract_of
from ..errors import HardpointError
from .output import UsageError
from .parser import did_you_mean

if TYPE_CHECKING:
    from ..definition.model import Contract


def named(text: str) -> Contract:
    """Import the contract `MODULE:CLASS`, also from a module in the working directory. Used as an argument's type.

    Raises UsageError, not one of the errors that argparse would print the usage before.
    """
    module, _, name = text.partition(":")
    if not module or not name:
        raise UsageError(f"a contract is named MODULE:CLASS, such as hardpoint.contracts:Greeter, not {text!r}")
    if "/" in module or module.endswith(".py"):
        folder, file = os.path.split(module)
        where = f", and cd to {folder} or set PYTHONPATH={folder}" if folder else ""
        raise UsageError(
            f"{text} names a file: MODULE:CLASS is a module, not a path; write {file.removesuffix('.py')}:{name}{where}"
        )
    try:
        _search_here()
        found = import_module(module)
    except (Exception, SystemExit) as error:
        raise UsageError(f"{text} cannot be imported: {_why(module, error)}") from error
    if not hasattr(found, name):
        hint = did_you_mean(name, [*vars(found), *getattr(found, "__all__", ())]) or "; check the name"
        raise UsageError(f"{text} not found: {module} has no {name}{hint}")
    try:
        return contract_of(getattr(found, name))
    except TypeError:
        raise UsageError(f"{text} is not a contract: decorate a Protocol class with @hardpoint.contract") from None


def _search_here() -> None:
    """Import from the working directory last: a plugin there (NAME.so) would be taken for the module NAME."""
    with suppress(FileNotFoundError):  # the directory was removed
        if os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())


def _why(module: str, error: BaseException) -> str:
    """Say why a module could not be imported."""
    if isinstance(error, ImportError) and (error.path or "").endswith(f"/{module}.so"):
        return f"Python takes the library {error.path} for that module; give the library another name or folder"
    if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
        return f"no module named {error.name} in this folder or installed; add its folder to PYTHONPATH"
    if isinstance(error, HardpointError):
        return str(error)
    return f"importing {module} raised {type(error).__name__}: {error}"
