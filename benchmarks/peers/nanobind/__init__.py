"""nanobind, as its nb_combined.cpp says to build it without CMake."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from benchmarks.peer import Greets, Peer, made, version_of
from benchmarks.workshop import PEERS

if TYPE_CHECKING:
    from benchmarks.workshop import Workshop


def build(workshop: Workshop) -> str:
    """Compile the module and nanobind's own part."""
    version = version_of("nanobind")
    nanobind = import_module("nanobind")
    source, include = nanobind.source_dir(), nanobind.include_dir()
    workshop.extension(
        PEERS / "nanobind/with_nanobind.cpp",
        f"{source}/nb_combined.cpp",
        f"-I{include}",
        f"-I{source}/../ext/robin_map/include",
        "-DNB_COMPACT_ASSERTIONS",
        "-fno-strict-aliasing",
        "-ffunction-sections",
        "-fdata-sections",
        "-Wl,--gc-sections",
    )
    return version


def open_(workshop: Workshop) -> Greets:
    """Its Greeter."""
    return made("with_nanobind", workshop)


PEER = Peer("nanobind", "the same C, in a class; a failure is a C++ exception; keywords and overloads", build, open_)
