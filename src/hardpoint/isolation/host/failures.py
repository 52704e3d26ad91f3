"""Errors of isolated plugins: a worker crashed, hung or sent a malformed frame, or the host lacks resources."""

from __future__ import annotations

import errno
import os
import signal
from typing import TYPE_CHECKING, Any

from ...errors import CrashedError, LoadError, TimedOutError
from ..wire import NO_MEMORY, FrameError
from .process import GoneError
from .stacks import last_words

__tracebackhide__ = True  # pytest shows the call in the test, not these frames

if TYPE_CHECKING:
    from ...backend import Plugin
    from ..options import Isolation
    from .process import Worker

LOST = (GoneError, FrameError, BlockingIOError, BrokenPipeError, ConnectionResetError)
"""Errors that mean the worker is lost. Others are the host's own, or a signal handler's (even TimeoutError can be)."""
_SHORTAGES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ENOSPC}


def is_shortage(error: OSError) -> bool:
    """True if the host has no descriptors, memory or the like left; that says nothing about the worker."""
    return error.errno in _SHORTAGES


def shortage(plugin: Plugin, doing: str, error: OSError) -> LoadError:
    """The error for an operation for which the host has not got the resources."""
    return LoadError(
        f"{plugin.path}: {doing} is not possible now: {error.strerror}; "
        "end some processes, close some files or free some memory",
        **_about(plugin, doing),
    )


def why_killed(why: BaseException) -> str:
    """Why a worker is killed after an error of LOST, as other threads' calls report it; "" if it is dead already."""
    if isinstance(why, BlockingIOError):
        return "another call took too long"
    return "it sent a malformed frame" if isinstance(why, FrameError) else ""


def lost(
    plugin: Plugin, isolation: Isolation, doing: str, worker: Worker, why: BaseException
) -> CrashedError | TimedOutError:
    """The error for an operation that ended with one of the errors in LOST; the worker has been killed since."""
    path = plugin.path
    if isinstance(why, BlockingIOError):
        took = f"{path}: {doing} took longer than {isolation.timeout:g} s, and the worker was killed"
        return TimedOutError(took, **_about(plugin, doing))
    if isinstance(why, FrameError):
        return CrashedError(
            f"{path}: in {doing}, the worker sent a malformed frame ({why}), and was killed: the plugin wrote to a "
            f"descriptor or to memory that is not its own; report it to the author of {plugin.manifest.plugin}",
            **_about(plugin, doing),
        )
    return crashed(plugin, isolation, doing, worker)


def _about(plugin: Plugin, doing: str) -> dict[str, Any]:
    return plugin.about(None if doing == "loading" else doing)


def crashed(plugin: Plugin, isolation: Isolation, doing: str, worker: Worker) -> CrashedError:
    """The error for a worker that ended, with the last lines that it wrote."""
    status, lines = worker.wait(), worker.output.lines
    ended = None if status is None else os.waitstatus_to_exitcode(status)
    written = "".join(f"\n  | {line}" for line in last_words(lines)) or "; it wrote nothing to stdout or stderr"
    return CrashedError(
        f"{plugin.path}: the worker {_end(worker, ended, isolation, doing)}{written}",
        signal=None if ended is None or ended >= 0 else -ended,
        status=None if ended is None or ended < 0 else ended,
        stderr="\n".join(lines),
        **_about(plugin, doing),
    )


def _end(worker: Worker, ended: int | None, isolation: Isolation, doing: str) -> str:
    """How a worker ended, from its exit status, or its signal as a negative number."""
    if worker.is_orphan:
        return f"was killed, since the process that forks workers ended, in {doing}"
    if ended is None or (ended == -signal.SIGKILL and worker.was_killed):
        if ended is not None and worker.killed_for:
            return f"was killed in {doing}, since {worker.killed_for}"
        # Either the plugin closed its descriptor, or the worker has no descriptor left for one more thread's calls.
        few = f" (Isolation(files={isolation.files}) may be too few)" if isolation.files else ""
        return f"closed its connection to the host{few}, and was killed in {doing}"
    if ended < 0:
        names = {each.value: each.name for each in signal.Signals}
        return f"was killed by {names.get(-ended, f'signal {-ended}')} in {doing}"
    if ended == NO_MEMORY and isolation.memory is not None:
        return f"ran out of memory in {doing}: needs more than Isolation(memory={isolation.memory!r}); give it more"
    return f"exited with status {ended} in {doing}"
