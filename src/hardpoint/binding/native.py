"""The binding in C, built with the package where there is a compiler: what a hand-written extension module costs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..errors import CreateError
from ..ffi.libc import ffi
from ._native import Holder, Method, count_fork, set_up
from ._native import create as _create
from ._native import floor as _floor
from .convert import CONVERSIONS, wrong_type
from .instance import Instance
from .result import result_of, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..backend import Plugin
    from ..definition.model import Method as Signature
    from .guard import Arguments

set_up(Instance)
os.register_at_fork(after_in_child=count_fork)


class _Left:
    """What a call left in its hp_out, as outcome.Left has it."""

    error: BaseException | None = None  # no Python runs in a grow

    def __init__(self, data: bytes, size: int, cap: int, *flags: bool) -> None:
        self.cap = cap
        self.failed, self._intact = flags
        self._data = data
        self._size = size

    def length(self) -> int:
        return self._size

    def is_intact(self) -> bool:
        return self._intact

    def view(self, size: int) -> bytes:
        return self._data[:size]


def create(plugin: Plugin, host: Any, config: bytes | None) -> Holder:
    """Make an instance, if the plugin has such, and give what holds it."""
    slots = plugin.slots

    def conclude(status: int, *left: Any) -> Any:
        return text_of(plugin, "create", status, _Left(*left), CreateError)

    address = int(ffi.cast("uintptr_t", host)) if host is not None else 0
    return _create(slots.create, slots.destroy, plugin.serial, address, config, conclude)


def method(plugin: Plugin, method: Signature, address: int, arguments: Arguments) -> Method:
    """What is called for one method."""
    kinds = "".join([parameter.kind.letter for parameter in method.parameters])

    def conclude(status: int, *left: Any) -> Any:
        return result_of(plugin, method, status, _Left(*left), None)

    return Method(
        address, kinds, method.result.letter, method.quick, method.name, arguments, _converter(method), conclude
    )


def _converter(method: Signature) -> Callable[[int, Any, BaseException | None], Any]:
    def convert(index: int, value: Any, error: BaseException | None) -> Any:
        """What an argument means that is not plainly of its kind, or the error that it is; `error` is what Python said."""
        kind, where = method.parameters[index].kind, method.where(index)
        if kind.is_buffer and error is not None and not isinstance(error, (TypeError, ValueError, BufferError)):
            raise error  # memory ran out, say
        if kind.python in CONVERSIONS:
            return CONVERSIONS[kind.python](value, where, kind)
        raise wrong_type(where, kind, value) from error

    return convert


def floor(bound: Any, arguments: tuple[Any, ...], count: int) -> int:
    """The nanoseconds that `count` calls of a plugin object's method take in a loop in C, conversions left out.

    It is what benchmarks hold a call against. Raises what the call raises.
    """
    return _floor(bound.__func__, (bound.__self__, *arguments), count)
