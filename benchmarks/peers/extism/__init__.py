"""extism: the greeter as WebAssembly, in wasmtime."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from benchmarks.peer import Greets, Peer, version_of
from benchmarks.workshop import PEERS

if TYPE_CHECKING:
    from benchmarks.workshop import Workshop


def build(workshop: Workshop) -> str:
    """Compile it with the clang of the package ziglang: a system's gcc has no WebAssembly."""
    version = version_of("extism")
    version_of("ziglang")
    source = PEERS / "extism/greeter.c"
    target = workshop.folder / "greeter.wasm"
    compiler = [sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-freestanding", "-O2", "-nostdlib"]
    workshop.make(target, [*compiler, "-Wl,--no-entry", source, "-o", target])
    return version


class Greeter:
    """The module's functions."""

    def __init__(self, path: str) -> None:
        self._plugin = import_module("extism").Plugin({"wasm": [{"path": path}]})

    def greet(self, name: str) -> str:
        """The greeting."""
        return str(self._plugin.call("greet", name, parse=lambda data: str(data, "utf-8")))

    def lang(self) -> str:
        """The language's name for itself."""
        return str(self._plugin.call("lang", b"", parse=lambda data: str(data, "utf-8")))


def open_(workshop: Workshop) -> Greets:
    """Its Greeter."""
    return Greeter(str(workshop.folder / "greeter.wasm"))


PEER = Peer(
    "extism (WebAssembly)",
    "another plugin, compiled to WebAssembly: cannot harm the host, and its memory is apart",
    build,
    open_,
)
