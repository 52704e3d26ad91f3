"""The log: records are well-formed, the descriptor stays as it is, and a full log blocks nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...table import counted
from ..check import FailedError, SkippedError, WarnedError, check
from ..log_host import RECORD, SOURCE, LogHost

if TYPE_CHECKING:
    from ...definition.model import Method
    from ..subject import Subject
    from ..values import Values

_AFTER = ("calls.empty", "calls.nul", "calls.extreme", "calls.huge")
_MOST_TEXT = 1024
_CUT = _MOST_TEXT - 6
"""Bytes of a text that may have been truncated: up to three of a character, and perhaps an ellipsis, are missing."""
_LEVELS = (10, 20, 30, 40, 50)
_PATIENCE = 0.05
"""Seconds for records of the plugin's own threads."""


def _live(subject: Subject, host: LogHost) -> list[bytes]:
    """Create an instance, make many calls and destroy it; return the log records."""
    _require_create(subject)
    found: list[bytes] = []

    def judge(_: Method, __: Values, ___: Any) -> None:
        found.extend(host.records())

    holders = [subject.create(host.address)]
    found += host.records()
    subject.call_each(subject.caller(holders[0]), subject.inputs(), judge)
    subject.destroy(holders)
    return found + host.records(_PATIENCE)


def _require_create(subject: Subject) -> None:
    if not subject.plugin.slots.create:
        raise SkippedError("it has no create, so it gets no host to log to")


@check("log.records", after=_AFTER)
def records(subject: Subject) -> str:
    """Every log record is well-formed: header, source, level, length, UTF-8 and no NUL at its end."""
    found = _live(subject, LogHost())
    if not found:
        raise SkippedError("it logs nothing")
    for record in found:
        if fault := _fault(record):
            raise FailedError(f"it sent a log record {fault} (hp_log is the way to log): {record[:60]!r}")
    for record in found:
        if flaw := _flaw(record):
            raise WarnedError(f"it sent a log record {flaw} (hp_log is the way to log): {record[-40:]!r}")
    return counted(len(found), "record")


def _fault(record: bytes) -> str | None:
    """The rule of the ABI that a record violates; None if it is well-formed."""
    if len(record) < RECORD.size:
        return f"of {len(record)} bytes, where its header alone has {RECORD.size}"
    source, _, reserved = RECORD.unpack_from(record)
    text = record[RECORD.size :]
    if source != SOURCE:
        return f"from the source {source:#x}, which is not hp_host.log_source"
    if reserved:
        return f"with {reserved} in the reserved field, which is 0"
    if len(text) > _MOST_TEXT:
        return f"with a text of {len(text):,} bytes, and {_MOST_TEXT:,} is the limit"
    if text.endswith(b"\0"):
        return "with a NUL at its end"
    return None if _is_utf_8(text) or len(text) >= _CUT else "that is not UTF-8"


def _flaw(record: bytes) -> str | None:
    level = RECORD.unpack_from(record)[1]
    if level not in _LEVELS:
        return f"of the level {level}, which has no name; the levels are {', '.join(map(str, _LEVELS))}"
    return None if _is_utf_8(record[RECORD.size :]) else "that was truncated within a character"


def _is_utf_8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


@check("log.descriptor", after=_AFTER)
def descriptor(subject: Subject) -> None:
    """The log's descriptor is left open and non-blocking, and is not read from."""
    host = LogHost()
    _live(subject, host)
    if damage := host.damage():
        raise FailedError(f"it was given the log's descriptor to send to, and {damage}")


@check("log.full", after=_AFTER)
def full(subject: Subject) -> str:
    """A full log blocks nothing, and the records that it has no room for are counted."""
    _require_create(subject)
    sent = 0
    # A plugin that logs once, or now and then, does so in its first life.
    for _ in range(2):
        host = LogHost()
        host.fill()
        holders = [subject.create(host.address)]
        subject.call_each(subject.caller(holders[0]), subject.inputs())
        subject.destroy(holders)
        if host.dropped:
            return f"{host.dropped:,} dropped"
        sent = len(_live(subject, LogHost()))
        if not sent:
            raise SkippedError("it logs nothing, or not again")
    raise FailedError(
        f"it logs {counted(sent, 'record')}, and counts none when the log is full; "
        "add 1 to *log_dropped for each send that fails, as hp_log does"
    )


@check("log.host", after=_AFTER)
def readonly(subject: Subject) -> None:
    """The plugin does not write to its hp_host."""
    _live(subject, LogHost(readonly=True))
