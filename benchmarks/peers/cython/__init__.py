"""Cython: a cdef class over the vtable."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from benchmarks.peer import Greets, Peer, made, version_of
from benchmarks.workshop import PEERS

if TYPE_CHECKING:
    from benchmarks.workshop import Workshop


def build(workshop: Workshop) -> str:
    """Translate it to C, and compile that."""
    version = version_of("Cython")
    translate = import_module("Cython.Compiler.Main").compile
    source = PEERS / "cython/with_cython.pyx"
    target = workshop.folder / "with_cython.c"
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        translate(str(source), output_file=str(target))
    workshop.extension(target)
    return version


def open_(workshop: Workshop) -> Greets:
    """Its Greeter."""
    return made("with_cython", workshop)


PEER = Peer("Cython", "the same C, in a cdef class; keywords", build, open_)
