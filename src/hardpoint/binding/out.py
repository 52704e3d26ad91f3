"""The host's side of hp_out, for the bindings that are written in Python: its memory, and grow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..ffi.abi import NO_MEMORY, OK, OUT_SIZE
from ..ffi.libc import ffi

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from .result import ReturnedOut

    class Out(ReturnedOut, Protocol):
        """The host's side of one hp_out. It has a copy of data and cap, since a plugin can write to the struct."""

        data: int

        def realloc(self, address: int, size: int) -> int:
            """Resize memory, or allocate it for the address 0, as realloc does; 0 if out of memory."""
            ...

        def copy(self, address: int, size: int) -> None:
            """Copy the first bytes of the memory to another address."""

        def free(self, address: int) -> None:
            """Free memory."""

        def publish(self) -> None:
            """Write data and cap into the struct."""


_KEPT = 1 << 16
"""Bytes above which the memory of an Out is freed after the call."""
_POOLED = 16
"""Outs in a pool at most."""


def grow(out: Out, need: int) -> int:
    """Implement hp_out.grow. An exception cannot cross the plugin: it is stored, and raised after the call.

    A signal handler can raise between any two steps here, so the old memory is freed last: the plugin may still use it.
    """
    try:
        if need > out.cap:
            size = max(need, 2 * out.cap)
            data, old = out.realloc(0, size), out.data
            if not data:
                out.failed = True
                return NO_MEMORY
            out.copy(data, min(out.length(), out.cap))
            out.data = data
            out.cap = size
            out.publish()
            out.free(old)
    except BaseException as error:  # noqa: BLE001 - such as KeyboardInterrupt; raised once the plugin has returned
        out.error = error
        return NO_MEMORY
    return OK


live_outs: dict[int, Callable[[], Out | None]] = {}
"""A weak reference to every Out, by the address of its struct. An Out that a call lost to an exception frees itself."""


def _keep_error(_: object, error: BaseException, trace: Any) -> None:
    """Store an exception raised outside of `grow`'s try, such as by a signal handler as the callback starts."""
    struct = trace.tb_frame.f_locals.get("struct") if trace else None
    if struct is not None and (out := _out_of(struct)):
        out.error = error


@ffi.callback("int32_t(hp_out *, size_t)", error=NO_MEMORY, onerror=_keep_error)  # type: ignore[untyped-decorator]
def grow_callback(struct: Any, need: int) -> int:
    """The function that hp_out.grow points to in both bindings. A ctypes callback would lose some exceptions."""
    out = _out_of(struct)
    return NO_MEMORY if out is None else grow(out, need)


def _out_of(struct: Any) -> Out | None:
    known = live_outs.get(int(ffi.cast("uintptr_t", struct)))
    return known() if known else None


class Pool:
    """Outs that are not in use. list.pop is atomic, so threads and signal handlers can share a pool."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._free: list[Any] = []

    def take(self) -> Any:
        """Return an Out whose error flags are clear. MemoryError if there is no memory for a new one."""
        try:
            out = self._free.pop()
        except IndexError:
            out = self._make()
            out.data, out.cap = out.realloc(0, OUT_SIZE), OUT_SIZE
            if not out.data:
                raise MemoryError from None
        out.failed, out.error = False, None
        out.publish()
        return out

    def give(self, out: Any) -> None:
        """Put an Out back, and free the memory of a large result."""
        if len(self._free) >= _POOLED:
            return
        if out.cap > _KEPT:
            large, out.data, out.cap = out.data, 0, 0  # before the free: a signal handler may raise right after it
            out.free(large)
            out.data = out.realloc(0, OUT_SIZE)
            if not out.data:
                return
            out.cap = OUT_SIZE
        self._free.append(out)
