"""Shell completion, by argcomplete, an extra."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from argcomplete import autocomplete
from argcomplete.completers import BaseCompleter

from .. import contracts as bundled
from ..authoring.compiler import SUFFIXES
from ..errors import HardpointError
from ..file import read_small
from .arguments import contracts_in

if TYPE_CHECKING:
    from argparse import Action, ArgumentParser, Namespace
    from collections.abc import Iterator

    from ..registry.registry import Registry

_LIBRARIES = re.compile(r".+\.so(\.[0-9]+)*")
_CONTRACT = re.compile(rb"^@(?:hardpoint\.)?contract\(.*?^class (\w+)", re.MULTILINE | re.DOTALL)

_LARGEST = 1 << 20
"""Bytes of the largest module that is searched for contracts."""


def complete(parser: ArgumentParser) -> None:
    """Answer the shell's request, which is in the environment, and exit."""
    autocomplete(parser, always_complete_options=False, default_completer=_Completer())


class _Completer(BaseCompleter):
    """Suggests values of an argument by its name in the help. Without suggestions, the shell offers files."""

    def __call__(self, *, prefix: str, action: Action, parsed_args: Namespace, **_: object) -> list[str]:
        metavar = str(action.metavar)
        if metavar.endswith("MODULE:CLASS"):
            return [*metavar.split("|")[:-1], *_contracts()]
        if metavar == "CHECK":
            from ..conformance import choose  # 10 ms

            return [check.name for check in choose([], [])]
        if metavar == "SRC":
            return list(_files(prefix, SUFFIXES))
        if action.dest in {"file", "files"} and metavar == "FILE":
            return _libraries(prefix)
        if action.dest == "words":
            return _call(prefix, getattr(parsed_args, "words", None) or [], by_name="NAME" in metavar)
        return []


def _call(prefix: str, words: list[str], *, by_name: bool) -> list[str]:
    """Complete `FILE... METHOD ARG...`, or NAME in place of FILE...; suggest nothing for ARG."""
    if all(_is_file(word) for word in words):
        methods = _methods(words[0]) if words else []
        names = [found.name for found in _installed() if found.name] if by_name and not words else []
        return [*_libraries(prefix), *methods, *dict.fromkeys(names)]
    if by_name and len(words) == 1:
        manifests = [found.manifest for found in _installed() if found.name == words[0]]
        return [text.partition("(")[0] for manifest in manifests if manifest for text in manifest.methods]
    return []


def _installed() -> Registry:
    from ..registry.registry import Registry  # 3 ms

    return Registry.discover()


def _is_file(word: str) -> bool:
    return "/" in word or _LIBRARIES.fullmatch(word) is not None


def _libraries(prefix: str) -> list[str]:
    return [path for path in _files(prefix, "") if path.endswith("/") or _LIBRARIES.fullmatch(path)]


def _methods(path: str) -> list[str]:
    try:
        return [method.name for contract in contracts_in(path) for method in contract.methods]
    except (HardpointError, OSError):
        return []


def _files(prefix: str, suffixes: str | tuple[str, ...]) -> Iterator[str]:
    """Yield the files with one of these suffixes, and the folders, in the folder that the word begins with."""
    folder = os.path.dirname(prefix)
    try:
        entries = sorted(os.scandir(os.path.expanduser(folder) or "."), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(".") and not os.path.basename(prefix).startswith("."):
            continue
        path = os.path.join(folder, entry.name)
        if entry.is_dir():
            yield f"{path}/"
        elif path.endswith(suffixes):
            yield path


def _contracts() -> Iterator[str]:
    """Yield the bundled contracts, and those in modules of the working directory, which are read but not imported."""
    for name in bundled.__all__:
        yield f"{bundled.__name__}:{name}"
    for path in _files("", ".py"):
        if path.removesuffix(".py").isidentifier():
            try:
                content = read_small(path, _LARGEST)
            except OSError:  # a FIFO, say, for which the shell would wait
                continue
            for name in _CONTRACT.findall(content):
                yield f"{path.removesuffix('.py')}:{name.decode()}"
