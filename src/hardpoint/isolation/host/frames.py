"""Frames of calls, on the host's side: large payloads go to shared memory, and replies are checked before use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ... import errors
from ...errors import HardpointError, PluginError, one_line
from ...fields import Fields
from .. import wire
from ..wire import FrameError

if TYPE_CHECKING:
    from ...backend import Plugin
    from ...definition.model import Method
    from .process import Connection


def share_payloads(frame: list[Any], connection: Connection) -> None:
    """Move the large payloads of a call to shared memory."""
    connection.shared.begin()
    for at, value in enumerate(frame):
        if isinstance(value, (bytes, memoryview)) and len(value) > wire.INLINE:
            frame[at] = connection.shared.put(value)


def _payload(content: Any, connection: Connection) -> Any:
    """The bytes of a payload, from the frame or from shared memory; there, the worker can still change them."""
    if type(content) is wire.ExtType:
        if content.code != wire.PAYLOAD or len(content.data) != wire.EXTENT.size:
            raise FrameError("an unknown msgpack extension")
        return connection.shared.view(*wire.EXTENT.unpack(content.data))
    if type(content) is not bytes:
        raise FrameError(f"{type(content).__name__} in the place of bytes")
    return content


def check_reply(reply: Any, method: Method, plugin: Plugin, connection: Connection, buffers: list[memoryview]) -> Any:
    """Return the result in a reply, or the error to raise. Raises FrameError if the reply is malformed."""
    if type(reply) is not list or len(reply) != 2 + len(buffers) or type(reply[0]) is not int or reply[0] not in (0, 1):
        raise FrameError("a malformed reply")
    for buffer, content in zip(buffers, reply[2:], strict=True):
        data = _payload(content, connection)
        if len(data) != len(buffer):
            raise FrameError("a bytearray of another size")
        buffer[:] = data
    result: Any = reply[1]
    if reply[0]:
        return _error(result, plugin, method.name, connection)
    if method.result.is_buffer:
        return bytes(_payload(result, connection))  # a copy first: the worker could change what is being decoded
    if not method.result.allows(result):
        raise FrameError(f"{type(result).__name__} in the place of {method.result}")
    return result


class Loaded(Fields):
    """A worker's report that it has loaded the plugin."""

    present: list[bool]
    """Which of the contract's methods the plugin has."""
    sandbox: list[str]
    """What the worker gave up, and what this kernel lacks for that, a line each."""
    binding: str


def check_loaded(reply: Any, plugin: Plugin) -> Loaded | HardpointError:
    """Check the reply to a load request. Raises FrameError if it is malformed."""
    if type(reply) is not list or [type(each) for each in reply] != [int, list, list, str]:
        raise FrameError("a malformed reply")
    failed, content, sandbox, binding = reply
    if failed:
        return _error(content, plugin)
    if [*map(type, content)] != [bool] * len(plugin.contract.methods) or {*map(type, sandbox)} - {str}:
        raise FrameError("a malformed reply")
    return Loaded(content, [*map(one_line, sandbox)], one_line(binding))


_ERRORS = {
    name: error
    for name, error in vars(errors).items()
    if isinstance(error, type) and issubclass(error, HardpointError) and not name.startswith("_")
}


def _error(
    content: Any, plugin: Plugin, method: str | None = None, connection: Connection | None = None
) -> HardpointError:
    """The error in a reply; a long text of it is in the connection's shared memory."""
    if type(content) is list and len(content) == 4 and type(content[3]) is wire.ExtType and connection is not None:
        content[3] = str(bytes(_payload(content[3], connection)), "utf-8", "replace")
    shape = [type(each) for each in content] if type(content) is list else []
    if shape != [str, str, int, str] or content[0] not in _ERRORS:
        raise FrameError("a malformed error")
    name, message, status, text = content
    message = one_line(message)
    error = _ERRORS[name]
    if issubclass(error, PluginError):
        return error(message, status=status, text=text, **plugin.about(method or "create"))
    return error(message, **plugin.about(method))
