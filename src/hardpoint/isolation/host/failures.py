"""Errors of isolated plugins: a worker crashed, hung or sent a malformed answer, or the host lacks something."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # without the enum module: 2 ms
import errno
import os
from typing import TYPE_CHECKING, Any

from ...errors import CallError, CrashedError, LoadError, TimedOutError
from ...ffi.abi import NO_MEMORY, UNSUPPORTED
from .lost import LateError, MalformedError
from .protocol import EXIT_NO_MEMORY, OUT_OF_MEMORY
from .stacks import last_words

__tracebackhide__ = True  # pytest shows the call in the test, not these frames

if TYPE_CHECKING:
    from ...backend import Plugin
    from ..options import Isolation
    from .connection import Room
    from .lacking import LackingError
    from .process import Worker

_SIGKILL = 9
_SIGNALS = {
    value: name for name, value in vars(_signal).items() if name.startswith("SIG") and name.isalpha()
}  # fmt: skip
"""Names by number."""
_REMEDY = {
    errno.EAGAIN: "a limit of processes or threads is reached (ulimit -u, or pids.max of the container); end some, or raise "
    "it",
}


def shortage(plugin: Plugin, doing: str, error: OSError) -> LoadError:
    """The error for an operation for which the host has not got the resources."""
    remedy = _REMEDY.get(error.errno or 0, "end some processes, close some files or free some memory")
    return LoadError(f"{plugin.path}: {doing} is not possible now: {error.strerror}; {remedy}", **about(plugin, doing))


def too_large(plugin: Plugin, doing: str, room: Room) -> CallError:
    """The error for arguments that are larger than a channel."""
    remedy = f"pass less, or raise {room.bound}" if room.bound else "pass less"
    return CallError(
        f"{plugin.path}: {doing} needs at most {room.mebibytes} MiB of arguments, found more; {remedy}",
        status=NO_MEMORY,
        **about(plugin, doing),
    )


def unavailable(plugin: Plugin, doing: str, error: LackingError) -> LoadError:
    """The error where the system lacks something that isolation needs."""
    return LoadError(f"{plugin.path} cannot be {error.done}: {error}", **about(plugin, doing))


def nested(plugin: Plugin, doing: str) -> CallError:
    """The error for a call from within a call on the same thread; see Instance.nested."""
    return CallError(
        f"{doing} cannot be called from within a call of {plugin.manifest.plugin} on the same thread: the plugin takes one call "
        "at a time (HP_SERIAL)",
        status=UNSUPPORTED,
        **about(plugin, doing),
    )


def interrupted_start(plugin: Plugin, doing: str) -> CallError:
    """The error for a call from a signal handler that interrupted the start of the worker."""
    return CallError(
        f"{doing} cannot be called from a signal handler that interrupts the start of {plugin.manifest.plugin}; call it again "
        "once the handler has returned",
        status=UNSUPPORTED,
        **about(plugin, doing),
    )


def no_thread(plugin: Plugin, doing: str, number: int) -> LoadError:
    """The error for a call for which the worker has no thread, and never will."""
    causes = {
        errno.ENOMEM: "Isolation(memory=...) may be too little",
        errno.EPERM: "allow clone(2) in the container's seccomp profile",
    }
    cause = causes.get(number) or _REMEDY.get(number, "end some threads or processes, or raise their limits")
    return LoadError(
        f"{plugin.path}: {doing} is not possible now: the worker cannot start a thread for it ({os.strerror(number)}); "
        f"{cause}",
        **about(plugin, doing),
    )


def late(plugin: Plugin, isolation: Isolation, doing: str, why: str) -> TimedOutError:
    """The error for a call that ran out of time before it began; no worker was killed for it."""
    took = f"{plugin.path}: {doing} took longer than {isolation.timeout:g} s: {why}"
    return TimedOutError(took, **about(plugin, doing))


def why_killed(why: BaseException) -> str:
    """Why a worker is killed after an error of LOST, as other threads' calls report it; "" if it is dead already."""
    if isinstance(why, LateError):
        return "another call took too long"
    return "it sent a malformed answer" if isinstance(why, MalformedError) else ""


def lost(
    plugin: Plugin,
    isolation: Isolation,
    doing: str,
    worker: Worker,
    why: BaseException,
    rewritten: str,
    *,
    is_sent: bool = True,
) -> CrashedError | TimedOutError:
    """The error for an operation that ended with one of the errors in LOST; the worker has been killed since."""
    if isinstance(why, LateError):
        took = f"{plugin.path}: {doing} took longer than {isolation.timeout:g} s, and the worker was killed"
        return TimedOutError(took, **about(plugin, doing))
    if isinstance(why, MalformedError):
        return CrashedError(
            f"{plugin.path}: in {doing}, the worker sent a malformed answer ({why}), and was killed: the plugin wrote to a "
            f"descriptor or to memory that is not its own; report it to the author of {plugin.manifest.plugin}",
            **about(plugin, doing),
        )
    return crashed(plugin, isolation, doing, worker, rewritten, is_sent=is_sent)


def about(plugin: Plugin, doing: str) -> dict[str, Any]:
    """The arguments of an error that concerns a call, or `loading`."""
    return plugin.about(None if doing == "loading" else doing)


def crashed(
    plugin: Plugin, isolation: Isolation, doing: str, worker: Worker, rewritten: str = "", *, is_sent: bool = True
) -> CrashedError:
    """The error for a worker that ended, with the last lines that it wrote.

    `is_sent` is False if it ended before it had the call.
    """
    status, lines = worker.wait(), worker.output.lines
    ended = None if status is None else os.waitstatus_to_exitcode(status)
    when = f"{'in' if is_sent else 'before'} {doing}"
    written = "".join(f"\n  | {line}" for line in last_words(lines)) or "; it wrote nothing to stdout or stderr"
    return CrashedError(
        f"{plugin.path}: the worker {_end(worker, ended, isolation, when)}{rewritten}{written}",
        signal=None if ended is None or ended >= 0 else -ended,
        status=None if ended is None or ended < 0 else ended,
        stderr="\n".join(lines),
        **about(plugin, doing),
    )


def _end(worker: Worker, ended: int | None, isolation: Isolation, when: str) -> str:
    """How a worker ended, from its exit status, or its signal as a negative number."""
    if worker.is_orphan:
        return f"was killed, since the process that forks workers ended, {when}"
    if ended is None or (ended == -_SIGKILL and worker.was_killed):
        why = worker.killed_for or "it closed its connection to the host"
        return f"was killed {when}, since {why}"
    if ended == -_SIGKILL:
        return (
            f"was killed by SIGKILL {when}, which hardpoint did not send: the kernel or somebody else did, perhaps for "
            "lack of memory (out-of-memory killer)"
        )
    if ended < 0:
        return f"was killed by {_SIGNALS.get(-ended, f'signal {-ended}')} {when}"
    if ended == EXIT_NO_MEMORY and isolation.memory is not None and OUT_OF_MEMORY in worker.output.lines:
        return f"ran out of memory {when}: needs more than Isolation(memory={isolation.memory!r}); give it more"
    return f"exited with status {ended} {when}"
