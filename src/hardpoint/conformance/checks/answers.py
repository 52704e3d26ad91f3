"""Answers: status, length, hp_out, text and bool are as the ABI requires."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...ffi.abi import AUTHOR, LAST_STATUS
from ..check import FailedError, SkippedError, WarnedError, check
from ..raw import is_status, spell
from .calls import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...definition.model import Method
    from ..raw import Answer
    from ..subject import Subject
    from ..values import Values

_LEAST = 2
"""Bytes of a reason that is compared with results."""
_AFTER = tuple(f"calls.{kind}" for kind in KINDS)


def _judge(subject: Subject, find: Callable[[Method, Answer], str | None], *more: str) -> str:
    """Make many calls, with `more` kinds of input too, and fail with the first fault that `find` returns."""

    def judge(method: Method, values: Values, answer: Any) -> None:
        if fault := find(method, answer):
            raise FailedError(f"{spell(method, values)} {fault}")

    holders = [subject.create()]
    calls = subject.inputs() + (subject.inputs(*more) if more else [])
    return f"{subject.call_each(subject.caller(holders[0]), calls, judge):,} calls"


def _judge_all(subject: Subject, is_fine: Callable[[Answer], bool], fault: str) -> str:
    """Fail with `fault` if `is_fine` is false for an answer; `{0}` in `fault` is the answer."""
    return _judge(subject, lambda _, answer: None if is_fine(answer) else fault.format(answer))


@check("answers.status", after=_AFTER)
def status(subject: Subject) -> str:
    """Every status is one of the ABI's, from 0 to 4, or of the author's own, from 256 to 65535."""
    fault = f"returned the status {{0.status}}, and a status of the author's own is from {AUTHOR} to {LAST_STATUS}"
    return _judge_all(subject, lambda answer: is_status(answer.status), fault)


@check("answers.length", after=_AFTER)
def length(subject: Subject) -> str:
    """No method sets out->len to more than out->cap."""
    fault = "says that it wrote {0.length:,} bytes where there was room for {0.cap:,}"
    return _judge_all(subject, lambda answer: answer.length <= answer.cap, fault)


@check("answers.struct", after=_AFTER)
def struct(subject: Subject) -> str:
    """No method changes data, cap or grow of its hp_out."""
    fault = "changed data, cap or grow of its hp_out, which only grow may (hp_write is the way to write)"
    return _judge_all(subject, lambda answer: answer.intact, fault)


@check("answers.text", after=_AFTER)
def text(subject: Subject) -> str:
    """Every text is UTF-8: results of str methods, and the reasons of failures."""

    def find(method: Method, answer: Answer) -> str | None:
        if not method.result.is_text and not answer.status:
            return None
        try:
            answer.text.decode()
        except UnicodeDecodeError as error:
            return f"gave {'a reason' if answer.status else 'text'} that is not UTF-8 ({error})"
        return None

    return _judge(subject, find, "unicode")


@check("answers.reason", after=_AFTER)
def reason(subject: Subject) -> str:
    """The reason of a failure is not the start of a result: a method that fails discards what it has written."""
    results: dict[str, list[bytes]] = {}
    reasons: dict[tuple[str, bytes], str] = {}

    def judge(method: Method, values: Values, answer: Any) -> None:
        if not answer.status and method.result.is_buffer:
            results.setdefault(method.name, []).append(answer.text)
        elif answer.status and len(answer.text) >= _LEAST:
            reasons.setdefault((method.name, answer.text), spell(method, values))

    holders = [subject.create()]
    subject.call_each(subject.caller(holders[0]), subject.inputs(), judge)
    for (name, text), call in reasons.items():
        if any(whole.startswith(text) and whole != text for whole in results.get(name, [])):
            raise WarnedError(
                f"{call} failed, and gives {text[:20]!r} as the reason, with which results start; "
                "if it was left of one, set out->len to 0 before such a return, as hp_fail does"
            )
    return f"{len(reasons):,} reasons"


@check("answers.bool", after=_AFTER)
def boolean(subject: Subject) -> str:
    """Every bool result is 0 or 1."""
    if all(method.result.python is not bool for method in subject.methods):
        raise SkippedError("no method returns a bool")

    def find(method: Method, answer: Answer) -> str | None:
        if method.result.python is not bool or answer.status or answer.scalar in {b"\0", b"\1"}:
            return None
        return f"stored {answer.scalar[0]} in its bool, and a bool is 0 or 1"

    return _judge(subject, find)
