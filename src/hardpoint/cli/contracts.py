"""Which contract a command is about: one that was named, or the one that a library's manifest describes."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from ..definition import contract_of
from ..errors import IncompatibleError, Problem
from ..manifest import Manifest
from ..preflight import read_library
from ..signature import contract_from_texts
from ..system import dotted

if TYPE_CHECKING:
    from ..file import LibraryFile
    from ..signature import Contract


def named(text: str) -> Contract:
    """The contract `MODULE:CLASS`, as an argument's type; modules of the working directory can be named too."""
    module, _, name = text.partition(":")
    if not module or not name:
        raise argparse.ArgumentTypeError(
            f"a contract is named MODULE:CLASS, such as hardpoint.contracts:Greeter, not {text!r}"
        )
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return contract_of(getattr(import_module(module), name))
    except Exception as error:
        raise argparse.ArgumentTypeError(f"{text} cannot be had: {type(error).__name__}: {error}") from error


def described(file: LibraryFile) -> list[Contract]:
    """The contracts of the plugins in a library, as their manifests describe them.

    Raises as `read_library` does, and IncompatibleError for a manifest that describes none.
    """
    _, manifests = read_library(file)
    return [_described(file, manifest) for manifest in manifests]


def _described(file: LibraryFile, manifest: Manifest | Problem) -> Contract:
    if isinstance(manifest, Manifest):
        try:
            return contract_from_texts(manifest.contract, dotted(manifest.version), manifest.methods)
        except ValueError as error:
            problem = Problem(
                "manifest-malformed", "a manifest that describes its methods", str(error), "rebuild the plugin"
            )
    else:
        problem = manifest
    raise IncompatibleError(f"{file.path} does not fit: {problem}", path=file.path, problems=[problem])
