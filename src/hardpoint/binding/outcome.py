"""What a call left behind -> its result, or the error that says what went wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ..abi import AUTHOR, LAST_STATUS, NO_MEMORY, OK, OUT_SIZE, STATUS_NAMES
from ..errors import CallError, ContractBrokenError, CreateError, PluginError
from ..libc import ffi
from ..record import Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..library import Slots
    from ..manifest import Manifest
    from ..signature import Contract, Method

_KEPT = 1 << 16
"""Bytes above which the memory of an Out is given back after the call."""
_POOLED = 16
_SHOWN = 500
"""Characters of a reason in an error's message; `text` has all of it."""


class Plugin(Record):
    """A plugin in a library, ready to be bound."""

    path: str
    contract: Contract
    manifest: Manifest
    slots: Slots
    serial: bool


class Left(Protocol):
    """What a call left in its hp_out."""

    cap: int
    failed: bool
    """A grow was refused."""
    error: BaseException | None
    """What was raised in a grow."""

    def length(self) -> int:
        """`len` as the plugin left it."""
        ...

    def is_intact(self) -> bool:
        """Whether data and cap in the struct are still the host's."""
        ...

    def view(self, size: int) -> Any:
        """The first bytes of the memory as a buffer, good until the Out is used again."""


class Out(Left, Protocol):
    """The host's side of one hp_out: its own copy of where the memory is, since a plugin can write to the struct."""

    data: int

    def realloc(self, address: int, size: int) -> int:
        """Resize memory, or get some for the address 0; 0 if there is none."""
        ...

    def copy(self, address: int, size: int) -> None:
        """Copy the first bytes of the memory to another address."""

    def free(self, address: int) -> None:
        """Give memory back."""

    def publish(self) -> None:
        """Write data and cap into the struct."""


def grow(out: Out, need: int) -> int:
    """What hp_out.grow does. A refusal is remembered; so is an error, which could not cross the plugin.

    A signal's handler can raise between any two steps here, so the old memory goes last: the plugin may still use it.
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
    except BaseException as error:  # noqa: BLE001 - a KeyboardInterrupt, say: it goes on once the plugin has returned
        out.error = error
        return NO_MEMORY
    return OK


outs: dict[int, Callable[[], Out | None]] = {}
"""A weak reference to every Out by the address of its struct; what a call lost to an exception frees itself."""


def _keep_error(_: object, error: BaseException, trace: Any) -> None:
    """What was raised before `grow` had hold of it, as by a signal's handler at the very start of the callback."""
    struct = trace.tb_frame.f_locals.get("struct") if trace else None
    if struct is not None and (out := _out_of(struct)):
        out.error = error


@ffi.callback("int32_t(hp_out *, size_t)", error=NO_MEMORY, onerror=_keep_error)  # type: ignore[untyped-decorator]
def grow_callback(struct: Any, need: int) -> int:
    """The function that hp_out.grow points to, in every binding: ctypes could not pass on all errors."""
    out = _out_of(struct)
    return NO_MEMORY if out is None else grow(out, need)


def _out_of(struct: Any) -> Out | None:
    known = outs.get(int(ffi.cast("uintptr_t", struct)))
    return known() if known else None


class Pool:
    """Outs that are not in use. Taking one out of a list is atomic, so that threads and signal handlers can."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._free: list[Any] = []

    def take(self) -> Any:
        """An Out with nothing in it."""
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
        """Take it back, and the memory of a large result with it."""
        if len(self._free) >= _POOLED:
            return
        if out.cap > _KEPT and (data := out.realloc(out.data, OUT_SIZE)):
            out.data, out.cap = data, OUT_SIZE
        self._free.append(out)


def result_of(plugin: Plugin, method: Method, status: int, out: Left, scalar: Any) -> Any:
    """The result of a call that returned `status`, or the error that it means."""
    text = text_of(plugin, method.name, status, out, CallError)
    if method.result == "str":
        try:
            return str(text, "utf-8")
        except UnicodeDecodeError as error:
            raise _broken(plugin, method.name, f"gave text that is not UTF-8 ({error})") from error
    return bytes(text) if method.result == "bytes" else scalar


def check_create(plugin: Plugin, status: int, out: Left, made: int, destroy: Callable[[int], None] | None) -> None:
    """Raise what a create means that did not make an instance; one that it made in vain is destroyed."""
    try:
        text_of(plugin, "create", status, out, CreateError)
    except BaseException:
        if status == OK and destroy is not None:
            destroy(made)
        raise


def text_of(plugin: Plugin, name: str, status: int, out: Left, failure: type[PluginError]) -> Any:
    """The bytes that a successful call wrote; raises `failure` with the plugin's own reason otherwise."""
    if out.error is not None:
        raise out.error
    if not out.is_intact():
        raise _broken(
            plugin, name, "changed data or cap of its hp_out, which only grow may (hp_write is the way to write)"
        )
    length = out.length()
    if length > out.cap:
        raise _broken(plugin, name, f"says that it wrote {length} bytes where there was room for {out.cap}")
    if not 0 <= status <= LAST_STATUS:
        raise _broken(plugin, name, f"returned the status {status}, and a status is from 0 to {LAST_STATUS}")
    if status == OK and not out.failed:
        return out.view(length)
    reason = str(out.view(length), "utf-8", "replace") if status else "it needed more memory than there is"
    status = status or NO_MEMORY
    spelt = STATUS_NAMES.get(status, "its own" if status >= AUTHOR else "reserved")
    shown = reason if len(reason) <= _SHOWN else f"{reason[:_SHOWN]}..."
    raise failure(
        f"{plugin.path}: {name} failed with status {status} ({spelt}): {shown or 'the plugin gave no reason'}",
        path=plugin.path,
        status=status,
        text=reason,
    )


def _broken(plugin: Plugin, name: str, what: str) -> ContractBrokenError:
    return ContractBrokenError(
        f"{plugin.path}: {name} {what}; report it to the author of {plugin.manifest.plugin}", path=plugin.path
    )
