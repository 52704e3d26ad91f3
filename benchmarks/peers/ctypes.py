"""ctypes, from the standard library: the vtable declared as a structure."""

from __future__ import annotations

import ctypes
import platform
from ctypes import CFUNCTYPE, POINTER, Structure, addressof, byref, c_char, c_char_p, c_int32, c_size_t, c_void_p
from typing import TYPE_CHECKING, ClassVar

from benchmarks.peer import Greets, Peer

if TYPE_CHECKING:
    from benchmarks.workshop import Workshop

ROOM = 1024


class Out(Structure):
    """hp_out."""


GROW = CFUNCTYPE(c_int32, POINTER(Out), c_size_t)
Out._fields_ = [("data", c_void_p), ("len", c_size_t), ("cap", c_size_t), ("grow", GROW)]


class Vtable(Structure):
    """greeter_v1."""

    _fields_: ClassVar = [
        ("before", c_char * 48),
        ("greet", CFUNCTYPE(c_int32, c_void_p, c_char_p, c_size_t, POINTER(Out))),
        ("lang", CFUNCTYPE(c_int32, c_void_p, POINTER(Out))),
    ]


Buffer = c_char * ROOM
_grown: dict[int, ctypes.Array[c_char]] = {}
"""The memory of results longer than ROOM, by the address of their hp_out."""


@GROW  # type: ignore[untyped-decorator]
def _grow(pointer: ctypes._Pointer[Out], need: int) -> int:
    out = pointer.contents
    cap = max(need, 2 * out.cap)
    data = (c_char * cap)()
    ctypes.memmove(data, out.data, out.len)
    _grown[addressof(out)] = data
    out.data, out.cap = addressof(data), cap
    return 0


class Greeter:
    """The vtable's methods."""

    def __init__(self, path: str) -> None:
        self._library = ctypes.CDLL(path)
        vtable = Vtable.in_dll(self._library, "hardpoint_greeter_v1")
        self._greet, self._lang = vtable.greet, vtable.lang

    def greet(self, name: str) -> str:
        """The greeting."""
        text, buffer = name.encode(), Buffer()
        out = Out(addressof(buffer), 0, ROOM, _grow)
        return self._result(self._greet(None, text, len(text), byref(out)), out)

    def lang(self) -> str:
        """The language's name for itself."""
        buffer = Buffer()
        out = Out(addressof(buffer), 0, ROOM, _grow)
        return self._result(self._lang(None, byref(out)), out)

    @staticmethod
    def _result(status: int, out: Out) -> str:
        memory = _grown.pop(addressof(out), None) if out.cap > ROOM else None
        if status or out.len > (ROOM if memory is None else len(memory)):
            raise RuntimeError(f"the plugin failed with status {status}")
        return ctypes.string_at(out.data, out.len).decode()


def open_(workshop: Workshop) -> Greets:
    """Its Greeter."""
    return Greeter(str(workshop.greeter))


PEER = Peer(
    "ctypes",
    "calls the vtable; encodes and decodes in Python",
    lambda _: f"Python {platform.python_version()}",
    open_,
)
