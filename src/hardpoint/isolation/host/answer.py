"""The answer of a worker, as it came, and in the place of an hp_out for binding/result.py."""

from __future__ import annotations

from typing import Any

from ...fields import Fields
from .protocol import REPLY_GROW_REFUSED, REPLY_TAMPERED, REPLY_TOO_LONG


class Answer(Fields):
    """The head of an answer, and its text."""

    status: int
    flags: int
    length: int
    scalar: int
    text: bytes


class AnsweredOut:
    """An hp_out after the call, as the worker describes it; implements result.ReturnedOut."""

    error: BaseException | None = None  # a grow in C raises nothing

    def __init__(self, flags: int, length: int, scalar: int, text: Any) -> None:
        self._length = length
        self.cap = scalar if flags & REPLY_TOO_LONG else length
        self.failed = bool(flags & REPLY_GROW_REFUSED)
        self._is_intact = not flags & REPLY_TAMPERED
        self._text = memoryview(text)

    def length(self) -> int:
        """`len`, which the plugin set."""
        return self._length

    def is_intact(self) -> bool:
        """True unless the plugin changed data or cap."""
        return self._is_intact

    def view(self, size: int) -> memoryview:
        """The first bytes of the text."""
        return self._text[:size]
