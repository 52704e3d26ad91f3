"""Hostile memory for results: of minimal size, moved by every grow, refused by grow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..check import FailedError, SkippedError, WarnedError, check
from ..hp_out import MovingOut, RefusingOut, TightOut
from ..raw import spell

if TYPE_CHECKING:
    from ...definition.model import Method
    from ..raw import Answer
    from ..subject import Subject
    from ..values import Values

_AFTER = ("calls.empty", "calls.nul", "calls.extreme", "calls.huge")
_NEVER_ASKED = "no method asked for more than 512 bytes"
_STEPS = 4
"""Calls of grow of which each is refused in turn."""


@check("out.bounds", after=_AFTER)
def bounds(subject: Subject) -> str:
    """No method writes outside the memory of its hp_out."""
    holders, out = [subject.create()], TightOut()

    def judge(method: Method, values: Values, _: Any) -> None:
        if fault := out.trespass():
            raise FailedError(f"{spell(method, values)} {fault}")

    return f"{subject.call_each(subject.caller(holders[0], out=out), subject.inputs(), judge):,} calls"


@check("out.moved", after=_AFTER)
def moved(subject: Subject) -> str:
    """Every method reads out->data again after grow, which may move it."""
    holders, out = [subject.create()], MovingOut()
    subject.call_each(subject.caller(holders[0], out=out), subject.inputs())
    if not out.asked:
        raise SkippedError(_NEVER_ASKED)
    return f"grown {out.asked:,} times"


@check("out.refused", after=_AFTER)
def refused(subject: Subject) -> str:
    """Every method returns an error when grow refuses memory."""
    holders, out = [subject.create()], RefusingOut()
    asked: list[str] = []
    silent: list[str] = []

    def judge(method: Method, values: Values, answer: Answer) -> None:
        call = spell(method, values)
        if fault := out.trespass():
            raise FailedError(f"{call} {fault}")
        if out.refused:
            asked.append(call)
            if answer.length > answer.cap:
                raise FailedError(f"{call} says that it wrote {answer.length:,} bytes, though grow had refused")
            if not answer.status:
                silent.append(call)

    subject.call_each(subject.caller(holders[0], out=out), subject.inputs(), judge)
    if not asked:
        raise SkippedError(_NEVER_ASKED)
    if silent:
        raise WarnedError(
            f"{silent[0]} returned 0 though grow had refused; return HP_NO_MEMORY, as hosts will say anyway"
        )
    return f"memory refused to {len(asked):,} of the calls"


@check("out.reason", after=_AFTER)
def reason(subject: Subject) -> str:
    """No method leaves a part of its result, or of a character, as the reason when grow refuses memory."""
    holders, asked, calls = [subject.create()], 0, subject.inputs()
    roomy = subject.caller(holders[0])
    for successes in range(_STEPS):
        out, before = RefusingOut(successes), asked
        caller = subject.caller(holders[0], out=out)
        for method, values in calls:
            subject.announce(spell(method, values))
            answer = caller.prepare(method, values).answer()
            asked += out.refused
            if out.refused and answer.status and answer.text:
                _check_reason(method, values, answer, roomy.prepare(method, values).answer())
        if asked == before:
            break
    if not asked:
        raise SkippedError(_NEVER_ASKED)
    return f"memory refused {asked:,} times"


def _check_reason(method: Method, values: Values, answer: Answer, whole: Answer) -> None:
    try:
        answer.text.decode()
    except UnicodeDecodeError as error:
        raise FailedError(
            f"{spell(method, values)} failed for lack of memory, with a reason that is not UTF-8 ({error}); cut a long one "
            "at the end of a character, as hp_fail does"
        ) from error
    if method.result.is_buffer and not whole.status and whole.text.startswith(answer.text):
        raise FailedError(
            f"{spell(method, values)} failed for lack of memory, and gives {answer.text[:20]!r}... as the reason, which is the "
            "start of its result; set out->len to 0 before such a return, as hp_write and hp_fail do"
        )


@check("out.thread", needs=("calls.tiny", "out.moved"), after=_AFTER)
def thread(subject: Subject) -> str:
    """No method calls grow on another thread than its own."""
    holders, out = [subject.create()], MovingOut()

    def judge(method: Method, values: Values, _: Any) -> None:
        if out.strayed:
            raise FailedError(
                f"{spell(method, values)} called grow on another thread; only the calling thread may use out"
            )

    subject.call_each(subject.caller(holders[0], out=out), subject.inputs(), judge)
    if not out.asked:
        raise SkippedError(_NEVER_ASKED)
    return f"grown {out.asked:,} times"


@check("out.scalar", after=_AFTER)
def scalar(subject: Subject) -> str:
    """No method stores more than 8 bytes for a number, or 1 byte for a bool."""
    calls = [pair for pair in subject.inputs() if pair[0].result.is_value]
    if not calls:
        raise SkippedError("no method returns a number or a bool")
    holders = [subject.create()]
    return f"{subject.call_each(subject.caller(holders[0], exact=True), calls):,} calls"
