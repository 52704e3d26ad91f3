"""What a call left behind -> its result, or the error that says what went wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import CallError, ContractBrokenError, CreateError, PluginError
from ..ffi.abi import AUTHOR, LAST_STATUS, NO_MEMORY, OK, STATUS_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from ..backend import Plugin
    from ..definition.model import Method

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


_SHOWN = 500
"""Characters of a reason in an error's message; `text` has all of it."""


def result_of(plugin: Plugin, method: Method, status: int, out: Left, scalar: Any) -> Any:
    """The result of a call that returned `status`, or the error that it means."""
    text = text_of(plugin, method.name, status, out, CallError)
    python = method.result.python
    if python is str:
        try:
            return str(text, "utf-8")
        except UnicodeDecodeError as error:
            raise broken(plugin, method.name, f"gave text that is not UTF-8 ({error})") from error
    return bytes(text) if python is bytes else scalar


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
        raise broken(
            plugin, name, "changed data or cap of its hp_out, which only grow may (hp_write is the way to write)"
        )
    length = out.length()
    if length > out.cap:
        raise broken(plugin, name, f"says that it wrote {length} bytes where there was room for {out.cap}")
    if not 0 <= status <= LAST_STATUS:
        raise broken(plugin, name, f"returned the status {status}, and a status is from 0 to {LAST_STATUS}")
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


def broken(plugin: Plugin, name: str, what: str) -> ContractBrokenError:
    """The error for what the ABI forbids; `what` goes on after the name of the method."""
    return ContractBrokenError(
        f"{plugin.path}: {name} {what}; report it to the author of {plugin.manifest.plugin}", path=plugin.path
    )
