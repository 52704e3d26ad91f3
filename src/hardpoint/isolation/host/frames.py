"""The frames of calls on the host's side: payloads are placed in shared memory, and nothing in an answer is believed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ... import errors
from ...errors import HardpointError, PluginError
from .. import wire
from ..wire import FrameError

if TYPE_CHECKING:
    from ...definition.model import Method
    from .process import Connection


def place(frame: list[Any], connection: Connection) -> None:
    """Put what is large into the memory that both map."""
    connection.shared.begin()
    for at, value in enumerate(frame):
        if isinstance(value, (bytes, memoryview)) and len(value) > wire.INLINE:
            frame[at] = connection.shared.put(value)


def _bytes(content: Any, connection: Connection) -> Any:
    if type(content) is wire.ExtType:
        if content.code != wire.PLACE or len(content.data) != wire.PLACED.size:
            raise FrameError("an extension that nobody knows")
        return connection.shared.view(*wire.PLACED.unpack(content.data))
    if type(content) is not bytes:
        raise FrameError(f"{type(content).__name__} where bytes belong")
    return content


def checked(reply: Any, method: Method, path: str, connection: Connection, buffers: list[memoryview]) -> Any:
    """The result in a reply, or the error to be raised; FrameError if the reply cannot be."""
    if type(reply) is not list or len(reply) != 2 + len(buffers) or type(reply[0]) is not int or reply[0] not in (0, 1):
        raise FrameError("a reply of another shape")
    for buffer, content in zip(buffers, reply[2:], strict=True):
        data = _bytes(content, connection)
        if len(data) != len(buffer):
            raise FrameError("a buffer of another size")
        buffer[:] = data
    result: Any = reply[1]
    if reply[0]:
        return error_of(result, path, connection)
    if method.result.is_buffer:
        return bytes(_bytes(result, connection))  # a copy first: the worker could change what is being decoded
    if not method.result.allows(result):
        raise FrameError(f"{type(result).__name__} where {method.result} belongs")
    return result


_ERRORS = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, HardpointError) and not name.startswith("_")
}


def error_of(told: Any, path: str, connection: Connection | None = None) -> HardpointError:
    """An error that a worker told of; a long text of it is in the memory of the connection."""
    if type(told) is list and len(told) == 4 and type(told[3]) is wire.ExtType and connection is not None:
        told[3] = str(bytes(_bytes(told[3], connection)), "utf-8", "replace")
    shape = [type(each) for each in told] if type(told) is list else []
    if shape != [str, str, int, str] or told[0] not in _ERRORS:
        raise FrameError("an error of another shape")
    name, message, status, text = told
    kind = _ERRORS[name]
    if issubclass(kind, PluginError):
        return kind(message, path=path, status=status, text=text)
    return kind(message, path=path)
