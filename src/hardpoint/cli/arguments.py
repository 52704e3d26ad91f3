"""A command's arguments -> a plugin, one of its methods, and the values to call it with."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from ..errors import IncompatibleError, reasons
from ..file import open_library
from ..preflight.checks import read_library
from ..registry.manifest_contracts import contracts_from_manifests
from ..table import counted
from .output import UsageError
from .parser import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..definition.model import Contract, Method
    from ..registry.found import FoundPlugin

_BOOLS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def contracts_in(path: str) -> list[Contract]:
    """The contracts that a library's manifests describe. Raises IncompatibleError if there are none."""
    with open_library(path) as file:
        contracts, problems = contracts_from_manifests(read_library(file)[1])
    if not contracts:
        raise IncompatibleError(f"{path} does not fit{reasons(problems)}", path=path, problems=problems)
    return contracts


def find_plugin(name: str, method: str, wanted: Contract | None) -> tuple[str, Contract]:
    """Find a plugin by name: its file, and the contract, which is `wanted` or the one that has the method."""
    from ..registry.registry import Registry, not_found  # needed only for plugins that are called by name

    registry = Registry.discover()
    founds = [found for found in registry if found.name == name and found.shadowed_by is None]
    if wanted is not None:
        founds = [found for found in founds if found.key[:2] == (wanted.name, str(wanted.major))]
    if not founds:
        raise not_found(registry, name, wanted)
    files = {contract: found.path or "" for found in founds for contract in _contracts(found)}
    having = [contract for contract in files if any(each.name == method for each in contract.methods)]
    if len({contract.name for contract in having}) > 1:
        choice = " and ".join(f"{contract} ({files[contract]})" for contract in having)
        raise UsageError(f"{name} has {method} for {choice}; choose with --contract MODULE:CLASS, or give the file")
    contract = max(having or files, key=lambda each: each.major)
    return files[contract], wanted or contract


def _contracts(found: FoundPlugin) -> list[Contract]:
    """The contract that the plugin's manifest describes. Raises IncompatibleError if it describes none."""
    contracts, problems = contracts_from_manifests([found.manifest] if found.manifest else [])
    if problems:
        message = f"{found.path} does not fit{reasons(problems)}"
        raise IncompatibleError(message, path=found.path, problems=problems)
    return contracts


def find_method(path: str, contracts: list[Contract], name: str) -> tuple[Contract, Method]:
    """Find a method by name, in the newest contract that has it. Raise UsageError if none has."""
    found = [(contract, method) for contract in contracts for method in contract.methods if method.name == name]
    if not found:
        methods = ", ".join(method.text for contract in contracts for method in contract.methods)
        hint = did_you_mean(name, [method.name for contract in contracts for method in contract.methods])
        raise UsageError(f"{path} has no method {name!r}{hint or ';'} it has {methods}", path=path)
    return max(found, key=lambda pair: pair[0].major)


def convert(path: str, method: Method, words: list[str]) -> list[Any]:
    """Convert words to values, by the method's signature. Raise UsageError if that is not possible."""
    if len(words) != len(method.parameters):
        given = f"{len(words)} {'was' if len(words) == 1 else 'were'} given"
        wanted = counted(len(method.parameters), "argument")
        raise UsageError(f"{path}: {method.text} takes {wanted}, and {given}", path=path)
    values: list[Any] = []
    for index, (word, parameter) in enumerate(zip(words, method.parameters, strict=True)):
        if (
            parameter.kind.python is str
            and not _is_text(word)
            and _is_text(os.fsencode(word).decode(errors="surrogateescape"))
        ):
            raise UsageError(
                f"{path}: {method.where(index)} cannot be read in this locale, whose encoding is "
                f"{sys.getfilesystemencoding()}; set LC_ALL=C.UTF-8, or PYTHONUTF8=1",
                path=path,
            )
        try:
            values.append(_PARSE[parameter.kind.python](word))
        except (ValueError, KeyError):
            message = f"{path}: {method.where(index)} must be {parameter.kind}, not {word!r}"
            raise UsageError(message, path=path) from None
    return values


def _is_text(word: str) -> bool:
    """True if every byte of it could be decoded."""
    return not any("\udc80" <= char <= "\udcff" for char in word)


_PARSE: dict[type, Callable[[str], Any]] = {
    str: str,
    bytes: os.fsencode,
    bytearray: lambda word: bytearray(os.fsencode(word)),
    int: lambda word: int(word, 0),
    float: float,
    bool: lambda word: _BOOLS[word.lower()],
}
"""By the class of a kind's values."""
