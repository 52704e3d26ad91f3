"""Status and hp_out after a call -> the result, or the error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import CallError, ContractBrokenError, CreateError, PluginError
from ..ffi.abi import AUTHOR, LAST_STATUS, NO_MEMORY, OK, STATUS_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from ..backend import Plugin
    from ..definition.model import Method

    class ReturnedOut(Protocol):
        """An hp_out after the call."""

        cap: int
        failed: bool
        """True if a grow was refused."""
        error: BaseException | None
        """An exception that was raised in a grow."""

        def length(self) -> int:
            """`len`, which the plugin set."""
            ...

        def is_intact(self) -> bool:
            """True if data and cap in the struct are still those that the host wrote."""
            ...

        def view(self, size: int) -> Any:
            """The first bytes of the memory as a buffer, valid until the next call that uses the hp_out."""


_SHOWN = 500
"""Characters of the plugin's reason in an error's message; the attribute `text` has all of it."""


def result_of(plugin: Plugin, method: Method, status: int, out: ReturnedOut, scalar: Any) -> Any:
    """Return the result of a call that returned `status`, or raise its error."""
    text = text_of(plugin, method.name, status, out, CallError)
    python = method.result.python
    if python is str:
        try:
            return str(text, "utf-8")
        except UnicodeDecodeError as error:
            raise broken(plugin, method.name, f"gave text that is not UTF-8 ({error})") from error
    return bytes(text) if python is bytes else scalar


def check_create(
    plugin: Plugin, status: int, out: ReturnedOut, made: int, destroy: Callable[[int], None] | None
) -> None:
    """Raise the error of a create that failed or broke the contract; an instance that it made is destroyed."""
    try:
        text_of(plugin, "create", status, out, CreateError)
    except BaseException:
        if status == OK and destroy is not None:
            destroy(made)
        raise


def text_of(plugin: Plugin, name: str, status: int, out: ReturnedOut, failure: type[PluginError]) -> Any:
    """Return the bytes that a successful call wrote; otherwise raise `failure`, with the plugin's own reason."""
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
        status=status,
        text=reason,
        **plugin.about(name),
    )


def broken(plugin: Plugin, name: str, what: str) -> ContractBrokenError:
    """The error for a violation of the ABI; `what` continues the sentence after the method's name."""
    return ContractBrokenError(
        f"{plugin.path}: {name} {what}; report it to the author of {plugin.manifest.plugin}", **plugin.about(name)
    )
