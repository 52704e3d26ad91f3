"""The binding in C, built with the package where there is a compiler. About as fast as an extension written by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import CreateError
from ..ffi.libc import ffi
from ._native import Holder, NativeMethod, set_up
from ._native import create as _create
from .convert import CONVERSIONS, wrong_type
from .instance import Instance
from .result import result_of, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..backend import Plugin
    from ..definition.model import Method
    from .guard import Arguments

set_up(Instance)


class ReturnedOut:
    """A copy of an hp_out after the call; implements result.ReturnedOut."""

    error: BaseException | None = None  # a grow in C raises nothing

    def __init__(self, data: bytes, size: int, cap: int, *flags: bool) -> None:
        self.cap = cap
        self.failed, self._intact = flags
        self._data = data
        self._size = size

    def length(self) -> int:  # noqa: D102 - the protocol's
        return self._size

    def is_intact(self) -> bool:  # noqa: D102
        return self._intact

    def view(self, size: int) -> bytes:  # noqa: D102
        return self._data[:size]


def create(plugin: Plugin, host: Any, config: bytes | None) -> Holder:
    """Call the plugin's create, if it has one, and return the Holder of the instance."""
    slots = plugin.slots

    def conclude(status: int, *out: Any) -> Any:
        return text_of(plugin, "create", status, ReturnedOut(*out), CreateError)

    address = int(ffi.cast("uintptr_t", host)) if host is not None else 0
    return _create(slots.create, slots.destroy, plugin.serial, address, config, conclude)


def method(plugin: Plugin, method: Method, address: int, arguments: Arguments) -> NativeMethod:
    """Make the descriptor for one method of a contract."""
    kinds = "".join([parameter.kind.letter for parameter in method.parameters])

    def conclude(status: int, *out: Any) -> Any:
        return result_of(plugin, method, status, ReturnedOut(*out), None)

    return NativeMethod(
        address, kinds, method.result.letter, method.quick, method.name, arguments, converter(method), conclude
    )


def converter(method: Method) -> Callable[[int, Any, BaseException | None], Any]:
    """Make the function that converts what C does not, or raises."""

    def convert(index: int, value: Any, error: BaseException | None) -> Any:
        """Slow path: convert the argument or raise; `error` is the exception of the attempt in C."""
        kind, where = method.parameters[index].kind, method.where(index)
        if kind.is_buffer and error is not None and not isinstance(error, (TypeError, ValueError, BufferError)):
            raise error  # such as MemoryError
        if kind.python in CONVERSIONS:
            return CONVERSIONS[kind.python](value, where, kind)
        raise wrong_type(where, kind, value) from error

    return convert
