"""Which contract a command is about: one that was named, or the one that a library's manifest describes."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from ..definition import contract_of
from ..described import described, known

if TYPE_CHECKING:
    from ..signature import Contract

__all__ = ["described", "known", "named"]


def named(text: str) -> Contract:
    """The contract `MODULE:CLASS`, as an argument's type; modules of the working directory can be named too."""
    module, _, name = text.partition(":")
    if not module or not name:
        raise argparse.ArgumentTypeError(
            f"a contract is named MODULE:CLASS, such as hardpoint.contracts:Greeter, not {text!r}"
        )
    try:
        if os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())  # last: a plugin there is no module, and would be taken for one of its name
        return contract_of(getattr(import_module(module), name))
    except (Exception, SystemExit) as error:
        why = f"{type(error).__name__}: {error}"
        if isinstance(error, ImportError) and (error.path or "").endswith(f"/{module}.so"):
            why = f"Python takes the library {error.path} for that module; give the library another name or folder"
        elif isinstance(error, ModuleNotFoundError) and error.name == module:
            why = f"there is no module {module} here or among what is installed; name its folder in PYTHONPATH"
        raise argparse.ArgumentTypeError(f"{text} cannot be had: {why}") from error
