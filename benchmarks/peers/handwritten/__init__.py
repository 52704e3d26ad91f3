"""An extension module, written by hand for this one vtable."""

from __future__ import annotations

import platform
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.peer import Peer, made
from benchmarks.workshop import PEERS as SOURCES

if TYPE_CHECKING:
    from benchmarks.workshop import Workshop


def build(workshop: Workshop) -> str:
    """Compile it."""
    workshop.extension(SOURCES / "handwritten/handwritten.c")
    return f"Python {platform.python_version()}"


PEERS = {
    "handwritten": Peer(
        "extension module by hand (METH_O)",
        "checks the status and the length; not whether the instance was closed, takes no keyword, serves this one contract",
        build,
        partial(made, "handwritten"),
    ),
    "handwritten_descriptors": Peer(
        "the same by hand, its methods of a type of their own",
        "the same; what CPython takes more for methods that it has no specialised instructions for",
        build,
        partial(made, "handwritten", name="Described"),
    ),
}
