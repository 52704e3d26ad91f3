"""The floor under a call: a loop in C over the vtable, with the arguments converted once."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

from ..errors import HardpointError
from ..ffi.libc import ffi
from ._floor import run

if TYPE_CHECKING:
    from ..definition.kinds import Kind
    from ..definition.model import Method


class Floor:
    """One call of a plugin object of the native binding, made again and again in C.

    An ordinary call comes first: it raises the error for bad arguments, a closed plugin or a method that fails. The
    lock of a serial plugin is not taken, so use it from one thread.
    """

    def __init__(self, plugin: Any, method: Method, values: tuple[Any, ...]) -> None:
        self._call, self._values = getattr(plugin, method.name), values
        self._call(*values)
        self._address = self._call.__func__.address
        self._holder = plugin._instance.hold(method.name)  # noqa: SLF001 - the pointer that the native binding passes
        self._has_scalar = method.result.is_value
        self._words, self._doubles, self._buffers = array("Q", [self._holder.pointer]), array("d"), list[Any]()
        for parameter, value in zip(method.parameters, values, strict=True):
            self._add(parameter.kind, value)

    def _add(self, kind: Kind, value: Any) -> None:
        """Convert one argument."""
        if kind.python is float:
            self._doubles.append(value)
        elif kind.is_buffer:
            buffer = ffi.from_buffer(value.encode() if kind.is_text else value)
            self._buffers.append(buffer)
            self._words.extend((int(ffi.cast("uintptr_t", buffer)), len(buffer)))
        else:
            self._words.append(value % (1 << 64))

    def __call__(self, count: int) -> int:
        """Make so many calls; return the nanoseconds that they took. Raises what an ordinary call raises."""
        words, doubles = self._words.tobytes(), self._doubles.tobytes()
        status, taken = run(self._address, words, doubles, self._has_scalar, count)
        if status:
            self._call(*self._values)  # raises the error, with the plugin's own reason
            name = self._call.__name__
            raise HardpointError(f"{name} failed with status {status} in a loop, and not when it was called once more")
        return taken
