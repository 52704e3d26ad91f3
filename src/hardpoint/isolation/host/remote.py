"""Methods of an isolated plugin through cffi or ctypes: the same C functions do the calls over the channel."""

from __future__ import annotations

from functools import cache
from struct import Struct
from typing import TYPE_CHECKING, Any

from ...binding.convert import conversions, to_text, wrong_type
from ...binding.guard import guarded
from ...binding.instance import Holder
from ...binding.result import result_of
from ...ffi.libc import ffi
from .answer import AnsweredOut
from .lost import seconds_until
from .program import library, program
from .protocol import (
    HP_ANSWERED,
    HP_INTERRUPTED,
    HP_MALFORMED,
    MALFORMED_FLAGS,
    NOT_SENT,
    REPLY_NO_THREAD,
    REPLY_TOO_LONG,
)

__tracebackhide__ = True  # pytest shows the call in the test, not these frames

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...backend import Plugin
    from ...binding.guard import Arguments
    from ...definition.kinds import Kind
    from ...definition.model import Method
    from .connection import Connection
    from .session import Session

_EMPTY = ffi.new("uint8_t[1]")
_DOUBLE, _WORD = Struct("<d"), Struct("<Q")
_WORD_MASK = (1 << 64) - 1
_new_text = ffi.new_allocator(should_clear_after_alloc=False)


class _Lost(Exception):  # noqa: N818 - never seen
    """The call got no answer: the code and the detail for Session.failed."""


class _Cffi:
    """The functions of channels through cffi; see isolation/channel/_host.h."""

    def __init__(self) -> None:
        functions = library()
        self.send, self.wait, self.why = (
            functions.hp_channel_send, functions.hp_channel_wait, functions.hp_channel_why,
        )  # fmt: skip
        self.answer, self.read, self.offset = (
            functions.hp_channel_answer, functions.hp_channel_read, functions.hp_channel_offset,
        )  # fmt: skip

    @staticmethod
    def channel(connection: Connection) -> Any:
        """The channel as an argument."""
        return connection.struct

    @staticmethod
    def pointer(struct: Any) -> Any:
        """A pointer as an argument."""
        return struct


class _Ctypes:
    """The same functions through ctypes."""

    def __init__(self) -> None:
        from ctypes import CDLL, c_int, c_int64, c_uint32, c_uint64, c_void_p

        functions = CDLL(program().path)

        def function(name: str, result: Any, *types: Any) -> Any:
            made = getattr(functions, f"hp_channel_{name}")
            made.restype, made.argtypes = result, types
            return made

        self.send = function("send", c_int, c_void_p, c_uint32, c_void_p, c_uint32)
        self.wait = function("wait", c_int, c_void_p, c_int64)
        self.why = function("why", c_int, c_void_p)
        self.answer = function("answer", c_int, c_void_p, c_void_p)
        self.read = function("read", c_int, c_void_p, c_int, c_uint64, c_void_p, c_uint64)
        self.offset = function("offset", c_uint64, c_void_p, c_uint32, c_uint32)

    @staticmethod
    def channel(connection: Connection) -> Any:
        """The channel as an argument."""
        return connection.address

    @staticmethod
    def pointer(struct: Any) -> Any:
        """A pointer as an argument."""
        return int(ffi.cast("uintptr_t", struct))


class _Call:
    """A call of a session, with its end."""

    __slots__ = ("session", "until")

    def __init__(self, session: Session) -> None:
        self.session, self.until = session, session.deadline()


class Remote:
    """A binding of isolated plugins."""

    def __init__(self, make_port: Callable[[], Any]) -> None:
        self._make_port = cache(make_port)

    def methods_for(self, _timeout_ns: int) -> Remote:
        """The maker of methods, as `make_class` takes it; a call asks the session for its deadline."""
        return self

    def holder(self, session: Session, plugin: Plugin) -> Holder:
        """Make the Holder that ends the session with its last reference."""
        return Holder(session, type(session).end, serial=plugin.serial)

    def method(self, plugin: Plugin, method: Method, address: int, arguments: Arguments) -> Any:
        """Make the function for one method; `address` is its index in the contract plus one."""
        call = _caller(self._make_port(), plugin, method, address - 1)
        return guarded(method, call, arguments, begin=_Call, wait=lambda lock, call: _wait_for_turn(lock, call, method))


cffi, ctypes = Remote(_Cffi), Remote(_Ctypes)


def _wait_for_turn(lock: Any, call: _Call, method: Method) -> None:
    if not lock.acquire(timeout=-1 if not call.session.timeout_ns else seconds_until(call.until)):
        call.session.no_turn(method)


def _caller(port: Any, plugin: Plugin, method: Method, index: int) -> Callable[[_Call, tuple[Any, ...]], Any]:
    plan = conversions(method)
    writable = [at for at, (_, kind, _) in enumerate(plan) if kind.writable]

    def call(under_way: _Call, given: tuple[Any, ...]) -> Any:
        session = under_way.session
        session.require(method)
        held: list[Any] = []
        connection: Any = None
        head: Any = None
        text: Any = None
        failure: tuple[int, int] | None = None
        try:
            connection = session.take(method.name, under_way.until)
            try:
                values = [_value(*each, argument, held) for each, argument in zip(plan, given, strict=True)]
            except BaseException:
                session.give(connection)  # nothing was sent
                raise
            packed = ffi.new("hp_value[]", values)
            try:
                head, text = _exchange(port, connection, index, packed, under_way.until)
                for at in writable:
                    _read_back(port, connection, packed, at)
            except _Lost as lost:
                failure = lost.args
            except BaseException:
                session.gave_up(connection)
                raise
            if failure is not None:  # not within `except`: the traceback would show _Lost
                session.failed(connection, method, *failure)
            session.give(connection)
        finally:
            connection = None
            for buffer in held:  # a traceback may keep this frame alive
                ffi.release(buffer)
        scalar = _scalar(method, head.scalar)
        return result_of(plugin, method, head.status, AnsweredOut(head.flags, head.len, head.scalar, text), scalar)

    return call


def _value(convert: Any, kind: Kind, where: str, argument: Any, held: list[Any]) -> tuple[Any, int]:
    """One argument as an hp_value."""
    if convert is None:
        return _buffer(argument, kind, where, held)
    value = convert(argument, where, kind)
    if convert is to_text:
        return _buffer(value, kind, where, held)
    if kind.python is float:
        return ffi.NULL, _WORD.unpack(_DOUBLE.pack(value))[0]
    word = int.__and__(value, _WORD_MASK)  # not what a subclass of int makes of `&`
    return ffi.NULL, word


def _buffer(value: Any, kind: Kind, where: str, held: list[Any]) -> tuple[Any, int]:
    try:
        buffer = ffi.from_buffer("uint8_t[]", value, require_writable=kind.writable)
    except (TypeError, ValueError, BufferError) as error:
        raise wrong_type(where, kind, value) from error
    held.append(buffer)
    return (buffer, len(buffer)) if len(buffer) else (_EMPTY, 0)


def _exchange(port: Any, connection: Connection, index: int, packed: Any, deadline: int) -> tuple[Any, Any]:
    """Send a request; return the head of its answer, and its text."""
    channel = port.channel(connection)
    if number := port.send(channel, index, port.pointer(packed), len(packed)):
        raise _Lost(NOT_SENT, number)
    found = HP_INTERRUPTED
    while found == HP_INTERRUPTED:  # signal handlers run between two rounds
        found = port.wait(channel, deadline)
    if found != HP_ANSWERED:
        raise _Lost(found, port.why(channel))
    head = ffi.new("hp_answer *")
    if why := port.answer(channel, port.pointer(head)):
        raise _Lost(HP_MALFORMED, why)
    if head.flags & REPLY_NO_THREAD:
        raise _Lost(HP_MALFORMED, MALFORMED_FLAGS)
    size = 0 if head.flags & REPLY_TOO_LONG else head.len
    text = _new_text("char[]", size)
    if number := port.read(channel, 1, 0, port.pointer(text), size):
        raise _Lost(NOT_SENT, number)
    return head, ffi.buffer(text)


def _read_back(port: Any, connection: Connection, packed: Any, at: int) -> None:
    """Copy a buffer that the plugin may have changed, by its size here."""
    offset = port.offset(port.pointer(packed), len(packed), at)
    pointer = ffi.cast("void *", packed[at].data)
    if number := port.read(port.channel(connection), 0, offset, port.pointer(pointer), packed[at].value):
        raise _Lost(NOT_SENT, number)


def _scalar(method: Method, word: int) -> Any:
    """The result of a method that returns a number."""
    python = method.result.python
    if python is float:
        return _DOUBLE.unpack(_WORD.pack(word))[0]
    if python is bool:
        return bool(word & 0xFF)
    return word - (word >> 63 << 64) if python is int else None
