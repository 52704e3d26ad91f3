"""Inputs where they hurt: at the edge of memory, read-only, unaligned, shared, gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..check import SkippedError, check
from ..outs import Out
from ..pages import NONE
from ..places import Places
from ..raw import spell

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..subject import Subject

_AFTER = ("calls.empty", "calls.nul", "calls.extreme", "calls.huge")
_OFFSETS = (1, 2, 3, 4, 5, 8, 15, 63)


def _call(subject: Subject, several: Iterable[Places], *kinds: str) -> str:
    """Call every method that takes a buffer with inputs that lie in each of these places."""
    holders = [subject.create()]
    calls = [pair for pair in subject.inputs(*kinds) if any(each.kind.is_buffer for each in pair[0].parameters)]
    count = sum(subject.call_each(subject.caller(holders[0], places=places), calls) for places in several)
    return f"{count:,} calls"


@check("buffers.bounds", after=_AFTER)
def bounds(subject: Subject) -> str:
    """No method reads or writes before or behind an input; there is no NUL behind a text."""
    return _call(subject, [Places(edge="end"), Places(edge="start")])


@check("buffers.readonly", after=_AFTER)
def readonly(subject: Subject) -> str:
    """No method writes into a str or bytes input, which is const."""
    return _call(subject, [Places(readonly=True)])


@check("buffers.unaligned", after=_AFTER)
def unaligned(subject: Subject) -> str:
    """Every method takes buffers at any address, aligned or not."""
    return _call(subject, [Places(offset=offset) for offset in _OFFSETS], "tiny", "long")


@check("buffers.shared", after=_AFTER)
def shared(subject: Subject) -> str:
    """Every method takes two buffers that are the same memory."""
    if all(sum(each.kind.is_buffer for each in method.parameters) < 2 for method in subject.methods):
        raise SkippedError("no method takes two buffers")
    return _call(subject, [Places(shared=True)], "tiny", "long")


@check("buffers.kept", after=_AFTER)
def kept(subject: Subject) -> str:
    """No method uses what an earlier call was given: that ends with the call."""
    holders = [subject.create()]
    calls = subject.inputs() * 2
    for method, values in calls:
        places, out = Places(), Out()
        subject.tell(spell(method, values))
        subject.caller(holders[0], places=places, out=out).prepare(method, values).call()
        places.take_away()
        out.region.protect(NONE)
    subject.destroy(holders)
    return f"{len(calls):,} calls"
