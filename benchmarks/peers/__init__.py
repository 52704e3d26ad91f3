"""All peers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.peers import cffi, ctypes, cython, extism, go, handwritten, hardpoint, nanobind, pybind11, python

if TYPE_CHECKING:
    from benchmarks.peer import Peer

PEERS: dict[str, Peer] = {
    **hardpoint.PEERS,
    **handwritten.PEERS,
    "python": python.PEER,
    "nanobind": nanobind.PEER,
    "pybind11": pybind11.PEER,
    "cython": cython.PEER,
    **cffi.PEERS,
    "ctypes": ctypes.PEER,
    "extism": extism.PEER,
    **go.PEERS,
}
