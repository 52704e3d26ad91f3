"""pybind11, which is headers alone."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from benchmarks.peer import Greets, Peer, made, version_of
from benchmarks.workshop import PEERS

if TYPE_CHECKING:
    from benchmarks.workshop import Workshop


def build(workshop: Workshop) -> str:
    """Compile it."""
    version = version_of("pybind11")
    include = import_module("pybind11").get_include()
    workshop.extension(PEERS / "pybind11/with_pybind11.cpp", f"-I{include}")
    return version


def open_(workshop: Workshop) -> Greets:
    """Its Greeter."""
    return made("with_pybind11", workshop)


PEER = Peer("pybind11", "the same C, in a class; a failure is a C++ exception; keywords and overloads", build, open_)
