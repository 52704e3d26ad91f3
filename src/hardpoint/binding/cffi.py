"""The binding that calls through cffi: needs no compiler, and works with every Python."""

from __future__ import annotations

import sys
from _weakref import ref
from typing import TYPE_CHECKING, Any

from ..ffi.libc import ffi, libc
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

_EMPTY = ffi.new("uint8_t[1]")


class _CffiOut:
    __slots__ = ("__weakref__", "address", "cap", "data", "error", "failed", "struct")

    def __init__(self) -> None:
        self.data = self.cap = 0
        self.failed = False
        self.error: BaseException | None = None
        self.struct = ffi.new("hp_out *")
        self.struct.grow = grow_callback
        self.address = int(ffi.cast("uintptr_t", self.struct))
        live_outs[self.address] = ref(self)

    def realloc(self, address: int, size: int) -> int:
        return int(ffi.cast("uintptr_t", libc.realloc(ffi.cast("void *", address), size)))

    def publish(self) -> None:
        self.struct.data, self.struct.cap = ffi.cast("char *", self.data), self.cap

    def length(self) -> int:
        return int(self.struct.len)

    def is_intact(self) -> bool:
        return bool(self.struct.data == ffi.cast("char *", self.data) and self.struct.cap == self.cap)

    def view(self, size: int) -> Any:
        return ffi.buffer(ffi.cast("char *", self.data), size)

    def copy(self, address: int, size: int) -> None:
        libc.memcpy(ffi.cast("void *", address), ffi.cast("void *", self.data), size)

    def free(self, address: int) -> None:
        libc.free(ffi.cast("void *", address))

    def __del__(self, finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        address = getattr(self, "address", 0)  # a signal may have interrupted __init__
        if address and not finalizing():  # at exit, `free` may be gone
            live_outs.pop(address, None)
            self.free(self.data)


_pool = Pool(_CffiOut)


def create(plugin: Plugin, host: Any, config: bytes | None) -> Holder:
    """Call the plugin's create, if it has one, and return the Holder of the instance."""
    destroy = _destroyer(plugin.slots.destroy) if plugin.slots.destroy else None
    if not plugin.slots.create:
        return Holder(0, destroy, serial=plugin.serial)
    function = ffi.cast("int32_t(*)(hp_host *, char *, size_t, void **, hp_out *)", plugin.slots.create)
    pointer, out = ffi.new("void **"), _pool.take()
    try:
        out.struct.len = 0
        given = (ffi.NULL, 0) if config is None else (config, len(config))
        status = function(host, *given, pointer, out.struct)
        made = int(ffi.cast("uintptr_t", pointer[0]))
        check_create(plugin, status, out, made, destroy)
        return Holder(made, destroy, serial=plugin.serial)
    finally:
        _pool.give(out)


def _destroyer(address: int) -> Callable[[int], None]:
    """Return a function that calls the plugin's destroy."""
    function = ffi.cast("void(*)(void *)", address)
    return lambda pointer: function(ffi.cast("void *", pointer))


def method(plugin: Plugin, method: Method, address: int, arguments: Arguments) -> Any:
    """Make the Python function for one method of a contract."""
    return guarded(method, _caller(plugin, method, address), arguments)


def _caller(plugin: Plugin, method: Method, address: int) -> Callable[[int, tuple[Any, ...]], Any]:
    """Return a function of the instance's pointer and the arguments in order, which calls the plugin's function."""
    types = ["void *"]
    for parameter in method.parameters:
        types += [parameter.kind.c.parameter, "size_t"] if parameter.kind.is_buffer else [parameter.kind.c.parameter]
    python = method.result.python
    scalar_type = f"{method.result.stored} *" if method.result.is_value else ""
    types += [scalar_type] if scalar_type else []
    function = ffi.cast(f"int32_t(*)({', '.join(types)}, hp_out *)", address)
    plan = conversions(method)

    def call(pointer: int, arguments: tuple[Any, ...]) -> Any:
        buffers: list[Any] = []
        out = None
        try:
            values = [ffi.cast("void *", pointer), *to_arguments(plan, arguments, _buffer, buffers)]
            result = ffi.new(scalar_type) if scalar_type else None
            values += [result] if result is not None else []
            out = _pool.take()
            out.struct.len = 0
            status = function(*values, out.struct)
            return result_of(plugin, method, status, out, None if result is None else python(result[0]))
        finally:
            for buffer in buffers:
                ffi.release(buffer)
            if out is not None:
                _pool.give(out)

    return call


def _buffer(value: Any, kind: Kind, where: str, buffers: list[Any]) -> tuple[Any, int]:
    """Pointer and length of a buffer; `buffers` holds it until the call is over."""
    if type(value) is bytes and not kind.writable:
        return value, len(value)
    try:
        buffer = ffi.from_buffer("uint8_t[]", value, require_writable=kind.writable)
    except (TypeError, ValueError, BufferError) as error:
        raise wrong_type(where, kind, value) from error
    buffers.append(buffer)
    return (buffer, len(buffer)) if len(buffer) else (_EMPTY, 0)
