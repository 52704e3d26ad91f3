"""Hostile memory for inputs: next to guard pages, read-only, unaligned, shared, revoked after the call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..check import SkippedError, check
from ..hp_out import RoomyOut
from ..input_memory import InputMemory
from ..pages import NONE
from ..raw import spell

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..subject import Subject

_AFTER = ("calls.empty", "calls.nul", "calls.extreme", "calls.huge")
_OFFSETS = (1, 2, 3, 4, 5, 8, 15, 63)


def _call(subject: Subject, memories: Iterable[InputMemory], *kinds: str) -> str:
    """Call every method that takes a buffer, once with each kind of memory."""
    holders = [subject.create()]
    calls = [pair for pair in subject.inputs(*kinds) if any(each.kind.is_buffer for each in pair[0].parameters)]
    count = sum(subject.call_each(subject.caller(holders[0], memory=memory), calls) for memory in memories)
    return f"{count:,} calls"


@check("buffers.bounds", after=_AFTER)
def bounds(subject: Subject) -> str:
    """No method reads or writes outside its inputs; a text has no terminating NUL."""
    return _call(subject, [InputMemory(edge="end"), InputMemory(edge="start")])


@check("buffers.readonly", after=_AFTER)
def readonly(subject: Subject) -> str:
    """No method writes into a str or bytes input, which is const."""
    return _call(subject, [InputMemory(readonly=True)])


@check("buffers.unaligned", after=_AFTER)
def unaligned(subject: Subject) -> str:
    """Every method accepts buffers at any address, aligned or not."""
    return _call(subject, [InputMemory(offset=offset) for offset in _OFFSETS], "tiny", "long")


@check("buffers.shared", after=_AFTER)
def shared(subject: Subject) -> str:
    """Every method accepts two buffers that are the same memory."""
    if all(sum(each.kind.is_buffer for each in method.parameters) < 2 for method in subject.methods):
        raise SkippedError("no method takes two buffers")
    return _call(subject, [InputMemory(shared=True)], "tiny", "long")


@check("buffers.kept", after=_AFTER)
def kept(subject: Subject) -> str:
    """No method uses the inputs of an earlier call: they are valid only during the call."""
    holders = [subject.create()]
    calls = subject.inputs() * 2
    for method, values in calls:
        memory, out = InputMemory(), RoomyOut()
        subject.announce(spell(method, values))
        subject.caller(holders[0], memory=memory, out=out).prepare(method, values).call()
        memory.revoke()
        out.region.protect(NONE)
    subject.destroy(holders)
    return f"{len(calls):,} calls"
