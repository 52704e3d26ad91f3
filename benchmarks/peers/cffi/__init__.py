"""cffi both ways: compiled (API mode), and with nothing compiled (ABI mode)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.peer import Greets, Peer, version_of
from benchmarks.peers.cffi import abi, compiled

if TYPE_CHECKING:
    from benchmarks.workshop import Workshop


def build(workshop: Workshop) -> str:
    """Have cffi write C, and compile it."""
    version = version_of("cffi")
    target = workshop.folder / "_with_cffi.c"
    compiled.write(target)
    workshop.extension(target)
    return version


def open_compiled(workshop: Workshop) -> Greets:
    """Its Greeter."""
    return compiled.Greeter(str(workshop.greeter))


def open_abi(workshop: Workshop) -> Greets:
    """Its Greeter."""
    return abi.Greeter(str(workshop.greeter))


PEERS = {
    "cffi_compiled": Peer(
        "cffi, compiled (API mode)",
        "calls a C function of its own module that calls the vtable; encodes and decodes in Python",
        build,
        open_compiled,
    ),
    "cffi_abi": Peer(
        "cffi, ABI mode", "calls the vtable; encodes and decodes in Python", lambda _: version_of("cffi"), open_abi
    ),
}
