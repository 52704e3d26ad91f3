"""Methods of an isolated plugin in C: arguments go straight into a channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...binding._native import Holder, RemoteMethod, remote_holder, remote_set_up
from ...binding.native import ReturnedOut, converter
from ...binding.result import result_of
from .connection import Connection

if TYPE_CHECKING:
    from ...backend import Plugin
    from ...binding.guard import Arguments
    from ...definition.model import Method
    from .session import Session

remote_set_up(Connection)


def holder(session: Session, plugin: Plugin) -> Holder:
    """Make the Holder that ends the session with its last reference."""
    return remote_holder(session, plugin, session.free, session.is_pool, plugin.serial)


def methods_for(timeout_ns: int) -> _Methods:
    """The maker of methods, as `make_class` takes it, for calls that may take so long."""
    return _Methods(timeout_ns)


class _Methods:
    def __init__(self, timeout_ns: int) -> None:
        self._timeout_ns = timeout_ns

    def method(self, plugin: Plugin, method: Method, address: int, arguments: Arguments) -> RemoteMethod:
        """Make the descriptor for one method; `address` is its index in the contract plus one."""
        kinds = "".join([parameter.kind.letter for parameter in method.parameters])

        def conclude(status: int, *out: Any) -> Any:
            return result_of(plugin, method, status, ReturnedOut(*out), None)

        return RemoteMethod(
            address - 1, kinds, method.result.letter, method.quick, method.name, arguments, converter(method), conclude,
            method, plugin, self._timeout_ns,
        )  # fmt: skip
