"""Every method returns, with any input. Other checks judge the answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..check import check
from ..values import random_inputs

if TYPE_CHECKING:
    from ..subject import Subject

_ROUNDS = 500
KINDS = ("tiny", "empty", "nul", "unicode", "extreme", "huge")


def _survive(subject: Subject, kind: str) -> str:
    holders = [subject.create()]
    caller = subject.caller(holders[0])
    count = subject.call_each(caller, subject.inputs(kind))
    return f"{count:,} call{'s' * (count > 1)}"


@check("calls.tiny", needs=("lifecycle.create",))
def tiny(subject: Subject) -> str:
    """Every method returns from a call with ordinary, short input."""
    return _survive(subject, "tiny")


@check("calls.empty")
def empty(subject: Subject) -> str:
    """Every method returns from a call with empty texts and buffers, and zeros."""
    return _survive(subject, "empty")


@check("calls.nul")
def nul(subject: Subject) -> str:
    """Every method returns from a call with NULs within texts and buffers."""
    return _survive(subject, "nul")


@check("calls.unicode")
def unicode(subject: Subject) -> str:
    """Every method returns from a call with all of Unicode, and with all bytes."""
    return _survive(subject, "unicode")


@check("calls.extreme")
def extreme(subject: Subject) -> str:
    """Every method returns from a call with the largest numbers, infinities and NaN."""
    return _survive(subject, "extreme")


@check("calls.huge")
def huge(subject: Subject) -> str:
    """Every method returns from a call with 4 KiB, 64 KiB, 1 MiB and 16 MiB."""
    return _survive(subject, "huge")


@check("calls.random", after=tuple(f"calls.{kind}" for kind in KINDS))
def random(subject: Subject) -> str:
    """Every method returns from calls with random input (`--seed` repeats it)."""
    without = {kind for kind in KINDS if subject.failed(f"calls.{kind}")}
    holders = [subject.create()]
    caller = subject.caller(holders[0])
    count = 0
    for _ in zip(range(_ROUNDS), subject.for_a_while(1 / 4), strict=False):
        drawn = [(method, random_inputs(method, subject.random, without)) for method in subject.methods]
        count += subject.call_each(caller, drawn)
    return f"{count:,} calls"
