"""An extension module, written by hand for this one vtable."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from benchmarks.peer import Greets, Peer, made
from benchmarks.workshop import PEERS

if TYPE_CHECKING:
    from benchmarks.workshop import Workshop


def build(workshop: Workshop) -> str:
    """Compile it."""
    workshop.extension(PEERS / "handwritten/handwritten.c")
    return f"Python {platform.python_version()}"


def open_(workshop: Workshop) -> Greets:
    """Its Greeter."""
    return made("handwritten", workshop)


PEER = Peer(
    "extension module by hand (METH_O)",
    "checks the status and the length; not whether the instance was closed, takes no keyword, serves this one contract",
    build,
    open_,
)
