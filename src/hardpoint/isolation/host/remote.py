"""The methods of an isolated plugin, made like those of a binding: a call is a frame to a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...binding.convert import conversions, to_text, wrong_type
from ...binding.guard import guarded
from ...binding.result import broken
from .. import wire

__tracebackhide__ = True  # pytest shows the call in the test, not these frames

if TYPE_CHECKING:
    from ...backend import Plugin
    from ...binding.guard import Arguments
    from ...definition.kinds import Kind
    from ...definition.model import Method
    from .session import Session


def method(plugin: Plugin, method: Method, address: int, arguments: Arguments) -> Any:
    """Make the function for one method; `address` is its index in the contract plus one, since 0 is an empty slot."""
    plan = conversions(method)
    is_text, index = method.result.is_text, address - 1

    def call(session: Session, given: tuple[Any, ...]) -> Any:
        frame: list[Any] = [index]
        buffers: list[memoryview] = []
        views: list[memoryview] = []
        try:
            for (convert, kind, where), argument in zip(plan, given, strict=True):
                data: Any = _view(argument, kind, where) if convert is None else convert(argument, where, kind)
                frame.append(data)
                if type(data) is memoryview:
                    views.append(data)
                if convert is not None and convert is not to_text:
                    continue
                if kind.writable:
                    buffers.append(data)
                if len(data) > wire.INLINE or kind.writable:
                    frame[0] = ~index
            result = session.call(method, frame, buffers)
        finally:
            for view in views:  # a traceback may keep this frame alive
                view.release()
        if is_text:
            try:
                return str(result, "utf-8")
            except UnicodeDecodeError as error:
                raise broken(plugin, method.name, f"gave text that is not UTF-8 ({error})") from error
        return result

    return guarded(method, call, arguments)


def _view(value: Any, kind: Kind, where: str) -> Any:
    if type(value) is bytes and not kind.writable:
        return value
    try:
        view = memoryview(value)
        if kind.writable and view.readonly:
            raise BufferError("read-only")
        contiguous = view.c_contiguous
        if contiguous and view.format == "B" and view.ndim == 1:
            return view
        if not view.nbytes:  # whatever its strides
            return memoryview(bytearray())
        if not contiguous:
            raise BufferError("not contiguous")
        return view.cast("B")
    except (TypeError, ValueError, BufferError) as error:
        raise wrong_type(where, kind, value) from error
