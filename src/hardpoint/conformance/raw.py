"""Calls of a vtable's functions with every pointer under control; the answers are not judged here."""

from __future__ import annotations

from ctypes import CFUNCTYPE, c_int32, c_void_p, sizeof
from typing import TYPE_CHECKING, Any

from ..binding.ctypes import argument_types, c_type
from ..ffi.abi import AUTHOR, LAST_STATUS, OK, STATUS_NAMES
from ..fields import Fields
from . import pages
from .hp_out import RoomyOut
from .input_memory import InputMemory
from .pages import PAGE, Region

if TYPE_CHECKING:
    from ..backend import Plugin
    from ..definition.model import Method

_SHOWN = 40


class Answer(Fields):
    """The results of one call."""

    status: int
    length: int
    """`len`, which the plugin set."""
    cap: int
    intact: bool
    """True if data, cap and grow are unchanged."""
    text: bytes
    """The result or the reason that it wrote; empty if `length` is larger than `cap`."""
    scalar: bytes
    """The bytes at `result`; empty without one."""
    changed: tuple[bytes, ...]
    """The bytearrays after the call."""

    def is_same(self, other: Answer) -> bool:
        """True if a caller cannot tell the answers apart."""
        return (self.status, self.text, self.scalar, self.changed) == (
            other.status, other.text, other.scalar, other.changed
        )  # fmt: skip


class Prepared:
    """A call with its arguments in memory, which can be repeated."""

    def __init__(self, caller: Caller, method: Method, values: tuple[Any, ...]) -> None:
        self._caller, self._out, self._method = caller, caller.out, method
        self._writable: list[tuple[int, bytes]] = []
        arguments: list[Any] = []
        for parameter, value in zip(method.parameters, values, strict=True):
            kind = parameter.kind
            if not kind.is_buffer:
                arguments.append(value)
                continue
            data = value.encode() if kind.is_text else value
            address = caller.memory.put(data, writable=kind.writable)
            arguments += address, len(data)
            if kind.writable:
                self._writable.append((address, data))
        self._result, self._size = 0, 0
        types = argument_types(method)
        if method.result.is_value:
            self._size = sizeof(c_type(method.result.stored))
            self._result = caller.result_of(self._size)
            arguments.append(self._result)
            types.append(c_void_p)
        self._function = CFUNCTYPE(c_int32, c_void_p, *types, c_void_p)(caller.address_of(method))
        self._arguments = (*arguments, self._out.address)

    def call(self) -> int:
        """Make the call; return its status."""
        for address, data in self._writable:
            pages.write(address, data)
        if self._size:
            pages.write(self._result, bytes(self._size))
        self._out.reset()
        return int(self._function(self._caller.pointer, *self._arguments))

    def answer(self) -> Answer:
        """Make the call; return all its results."""
        status, out = self.call(), self._out
        length = int(out.struct.len)
        matters = length <= out.cap and (status or self._method.result.is_buffer)
        return Answer(
            status, length, out.cap, out.is_intact(),
            pages.read(out.data, length) if matters else b"",
            b"" if status else pages.read(self._result, self._size),
            tuple(pages.read(address, len(data)) for address, data in self._writable),
        )  # fmt: skip


class Caller:
    """Calls the methods of the instance at `pointer`, from one thread at a time."""

    def __init__(
        self, plugin: Plugin, pointer: int, *, memory: InputMemory | None = None, out: RoomyOut | None = None,
        exact: bool = False,
    ) -> None:  # fmt: skip
        self.pointer = pointer
        self.memory = memory or InputMemory()
        self.out = out or RoomyOut()
        self._plugin = plugin
        self._result = Region(PAGE)
        self._exact = exact

    def address_of(self, method: Method) -> int:
        """The address of a method's function."""
        return self._plugin.slots.methods[method.name]

    def result_of(self, size: int) -> int:
        """The address for a scalar result of that size; if exact, directly before a guard page."""
        return self._result.end - (size if self._exact else 64)

    def prepare(self, method: Method, values: tuple[Any, ...]) -> Prepared:
        """Prepare a call of a method with these values."""
        return Prepared(self, method, values)


def is_status(number: int) -> bool:
    """True for a status that a plugin may return: others are reserved, or out of range."""
    return number == OK or number in STATUS_NAMES or AUTHOR <= number <= LAST_STATUS


def spell(method: Method, values: tuple[Any, ...]) -> str:
    """Format a call for messages, with long values shortened."""
    parts: list[str] = []
    for parameter, value in zip(method.parameters, values, strict=True):
        text = repr(value)
        if isinstance(value, (str, bytes)) and len(value) > _SHOWN:
            unit = "characters" if isinstance(value, str) else "bytes"
            text = f"{value[: _SHOWN // 2]!r}... ({len(value):,} {unit})"
        parts.append(text if parameter.positional_only else f"{parameter.name}={text}")
    return f"{method.name}({', '.join(parts)})"
