"""Which contract a command is about: one that was named, or the one that a library's manifest describes."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from ..definition.decorators import contract_of
from ..errors import HardpointError
from ..registry.known_contracts import described, known
from .output import UsageError

if TYPE_CHECKING:
    from ..definition.model import Contract

__all__ = ["described", "known", "named"]


def named(text: str) -> Contract:
    """The contract `MODULE:CLASS`, as an argument's type; modules of the working directory can be named too.

    UsageError if it cannot be had, and no error that argparse would put the usage before.
    """
    module, _, name = text.partition(":")
    if not module or not name:
        raise UsageError(f"a contract is named MODULE:CLASS, such as hardpoint.contracts:Greeter, not {text!r}")
    try:
        if os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())  # last: a plugin there is no module, and would be taken for one of its name
        found = import_module(module)
    except (Exception, SystemExit) as error:
        raise UsageError(f"{text} cannot be had: {_why(module, error)}") from error
    if not hasattr(found, name):
        raise UsageError(f"{text} cannot be had: there is no {name} in {module}; check the name")
    try:
        return contract_of(getattr(found, name))
    except TypeError:
        raise UsageError(f"{text} is no contract: decorate a Protocol class with @hardpoint.contract") from None


def _why(module: str, error: BaseException) -> str:
    """Why a module could not be imported."""
    if isinstance(error, ImportError) and (error.path or "").endswith(f"/{module}.so"):
        return f"Python takes the library {error.path} for that module; give the library another name or folder"
    if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
        return f"there is no module {error.name} here or among what is installed; name its folder in PYTHONPATH"
    if isinstance(error, HardpointError):
        return str(error)
    return f"to import {module} raised {type(error).__name__}: {error}"
