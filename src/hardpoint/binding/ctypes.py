"""The binding that calls through ctypes. `hp_out.grow` is the callback of cffi, as in the cffi binding.

A ctypes callback loses an exception that a signal handler raises as it starts; cffi's `onerror` gets it.
"""

from __future__ import annotations

import ctypes
import sys
from _weakref import ref
from ctypes import (
    CFUNCTYPE,
    byref,
    c_char_p,
    c_int,
    c_int32,
    c_size_t,
    c_ssize_t,
    c_void_p,
)
from typing import TYPE_CHECKING, Any

from ..ffi.libc import ffi
from .convert import conversions, to_arguments, wrong_type
from .guard import guarded
from .instance import Holder
from .out import Pool, grow_callback, live_outs
from .result import check_create, result_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..backend import Plugin
    from ..definition.kinds import Kind
    from ..definition.model import Method
    from .guard import Arguments

_PyBUF_SIMPLE, _PyBUF_WRITABLE, _PyBUF_READ = 0, 1, 0x100


def argument_types(method: Method) -> list[Any]:
    """The ctypes types of a method's parameters in C."""
    types: list[Any] = []
    for parameter in method.parameters:
        types += [c_void_p, c_size_t] if parameter.kind.is_buffer else [c_type(parameter.kind.c.parameter)]
    return types


def c_type(name: str) -> Any:
    """The ctypes type of a C number: `int64_t` is c_int64, `double` is c_double."""
    return getattr(ctypes, f"c_{name.removesuffix('_t')}")


class OutStruct(ctypes.Structure):
    """hp_out."""

    _fields_ = (("data", c_void_p), ("len", c_size_t), ("cap", c_size_t), ("grow", c_void_p))


class _PyBuffer(ctypes.Structure):
    _fields_ = (
        ("buf", c_void_p), ("obj", c_void_p), ("len", c_ssize_t), ("itemsize", c_ssize_t), ("readonly", c_int),
        ("ndim", c_int), ("format", c_char_p), ("shape", c_void_p), ("strides", c_void_p), ("suboffsets", c_void_p),
        ("internal", c_void_p),
    )  # fmt: skip


_libc = ctypes.CDLL(None)
_realloc = CFUNCTYPE(c_void_p, c_void_p, c_size_t)(("realloc", _libc))
_free = CFUNCTYPE(None, c_void_p)(("free", _libc))
_get_buffer = ctypes.PYFUNCTYPE(c_int, ctypes.py_object, ctypes.POINTER(_PyBuffer), c_int)(
    ("PyObject_GetBuffer", ctypes.pythonapi)
)
_release_buffer = ctypes.PYFUNCTYPE(None, ctypes.POINTER(_PyBuffer))(("PyBuffer_Release", ctypes.pythonapi))
_view = ctypes.PYFUNCTYPE(ctypes.py_object, c_void_p, c_ssize_t, c_int)(("PyMemoryView_FromMemory", ctypes.pythonapi))


class _CtypesOut:
    __slots__ = ("__weakref__", "address", "cap", "data", "error", "failed", "struct")

    def __init__(self) -> None:
        self.data = self.cap = 0
        self.failed = False
        self.error: BaseException | None = None
        self.struct = OutStruct(grow=int(ffi.cast("uintptr_t", grow_callback)))
        self.address = ctypes.addressof(self.struct)
        live_outs[self.address] = ref(self)

    def realloc(self, address: int, size: int) -> int:
        return _realloc(address, size) or 0

    def publish(self) -> None:
        self.struct.data, self.struct.cap = self.data, self.cap

    def length(self) -> int:
        return int(self.struct.len)

    def is_intact(self) -> bool:
        return bool(self.struct.data == self.data and self.struct.cap == self.cap)

    def view(self, size: int) -> Any:
        return _view(self.data, size, _PyBUF_READ)

    def copy(self, address: int, size: int) -> None:
        ctypes.memmove(address, self.data, size)

    def free(self, address: int) -> None:
        _free(address)

    def __del__(self, finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        address = getattr(self, "address", 0)  # a signal may have interrupted __init__
        if address and not finalizing():  # at exit, `free` may be gone
            live_outs.pop(address, None)
            self.free(self.data)


_pool = Pool(_CtypesOut)


def create(plugin: Plugin, host: Any, config: bytes | None) -> Holder:
    """Call the plugin's create, if it has one, and return the Holder of the instance."""
    destroy = _destroyer(plugin.slots.destroy) if plugin.slots.destroy else None
    if not plugin.slots.create:
        return Holder(0, destroy, serial=plugin.serial)
    function = CFUNCTYPE(c_int32, c_void_p, c_char_p, c_size_t, c_void_p, c_void_p)(plugin.slots.create)
    pointer, out = c_void_p(), _pool.take()
    try:
        out.struct.len = 0
        size = 0 if config is None else len(config)
        status = function(int(ffi.cast("uintptr_t", host)), config, size, byref(pointer), byref(out.struct))
        made = pointer.value or 0
        check_create(plugin, status, out, made, destroy)
        return Holder(made, destroy, serial=plugin.serial)
    finally:
        _pool.give(out)


def _destroyer(address: int) -> Callable[[int], None]:
    """Return a function that calls the plugin's destroy."""
    return CFUNCTYPE(None, c_void_p)(address)


def method(plugin: Plugin, method: Method, address: int, arguments: Arguments) -> Any:
    """Make the Python function for one method of a contract."""
    return guarded(method, _caller(plugin, method, address), arguments)


def _caller(plugin: Plugin, method: Method, address: int) -> Callable[[int, tuple[Any, ...]], Any]:
    """Return a function of the instance's pointer and the arguments in order, which calls the plugin's function."""
    python = method.result.python
    scalar_type = c_type(method.result.stored) if method.result.is_value else None
    types = argument_types(method) + ([c_void_p] if scalar_type else [])
    function = CFUNCTYPE(c_int32, c_void_p, *types, c_void_p)(address)
    plan = conversions(method)

    def call(pointer: int, arguments: tuple[Any, ...]) -> Any:
        buffers: list[_PyBuffer] = []
        out = None
        try:
            values = to_arguments(plan, arguments, _buffer, buffers)
            result = scalar_type() if scalar_type else None
            values += [byref(result)] if result is not None else []
            out = _pool.take()
            out.struct.len = 0
            status = function(pointer, *values, byref(out.struct))
            scalar = None if result is None else python(result.value)
            return result_of(plugin, method, status, out, scalar)
        finally:
            for buffer in buffers:
                _release_buffer(buffer)
            if out is not None:
                _pool.give(out)

    return call


def _buffer(value: Any, kind: Kind, where: str, buffers: list[_PyBuffer]) -> tuple[Any, int]:
    """Address and length of a buffer; `buffers` holds it until the call is over."""
    buffer = _PyBuffer()
    try:
        _get_buffer(value, buffer, _PyBUF_WRITABLE if kind.writable else _PyBUF_SIMPLE)
    except (TypeError, ValueError, BufferError) as error:
        raise wrong_type(where, kind, value) from error
    buffers.append(buffer)
    return (buffer.buf, buffer.len) if buffer.len else (b"", 0)
