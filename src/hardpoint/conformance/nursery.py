"""The process that forks one process for each check. It has one thread and no plugin code, so a fork is safe and cheap.

A new process for each check takes 60 ms, a fork of this one 3 ms (measured).
"""

from __future__ import annotations

import json
import os
import resource
import signal
import tempfile
import time
from typing import TYPE_CHECKING

from ..ffi.libc import libc
from ..isolation.host import program
from . import CHECKS
from .check import BAD, Job, Outcome
from .excerpt import excerpt
from .schedule import Schedule, outcome_of, perform

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

    from .check import Check

_NOTE = 1024
"""Bytes at the start of a report for the current step; the outcome follows."""
_START = 8
"""Bytes of the note that say where the output of the step starts."""
_LAST_LINES, _LAST_BYTES = 12, 4096
_EDGE = 1 << 16
"""Bytes at the start and at the end of a step's output that are read."""
_PR_SET_PDEATHSIG = 1


class _EndError(BaseException):
    """Raised to end a forked process as any program ends, for the check of that."""


class _Running:
    """One check in a process of its own."""

    def __init__(self, check: Check, job: Job) -> None:
        self.check = check
        self._job = job
        self._report = os.memfd_create("hardpoint-check", os.MFD_CLOEXEC)
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `read`
        self._start = time.monotonic()
        self.end = self._start + job.timeout
        self.pid = os.fork()
        if not self.pid:
            self._child()

    def _child(self) -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        for fd in (1, 2):
            os.dup2(self._output.fileno(), fd)
        outcome = perform(self.check, self._job, self._announce)
        os.pwrite(self._report, json.dumps(outcome._asdict()).encode(), _NOTE)
        if self.check.ends:
            raise _EndError
        os._exit(0)

    def _announce(self, text: str) -> None:
        start = os.lseek(self._output.fileno(), 0, os.SEEK_CUR).to_bytes(_START, "little")
        os.pwrite(self._report, (start + text.encode(errors="backslashreplace"))[:_NOTE].ljust(_NOTE, b"\0"), 0)

    def read(self, status: int | None) -> Outcome:
        """The outcome that the process wrote, or how it died and in which step; `status` is None for a time-out."""
        seconds = time.monotonic() - self._start
        with self._output, open(self._report, "rb") as report:
            data = report.read()
            if status == 0 and len(data) > _NOTE:
                outcome = Outcome(**json.loads(data[_NOTE:]))
                return Outcome(*outcome[:5], _tail(self._output) if outcome.status in BAD else "", seconds)
            output = excerpt(_edges(self._output, int.from_bytes(data[:_START], "little")), self._job.path)
        doing = data[_START:_NOTE].rstrip(b"\0").decode(errors="replace") or "the start"
        if status is None:
            detail = f"it did not return within {self._job.timeout:g} s from: {doing}"
            return outcome_of(self.check, self._job, "timed out", detail, output, seconds)
        how = _signal(-status) if status < 0 else f"it ended the process, with exit status {status}"
        return outcome_of(self.check, self._job, "crashed", f"{how} in: {doing}", output, seconds)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _tail(output: IO[bytes]) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(size - _LAST_BYTES, 0))
    return "\n".join(output.read().decode(errors="replace").splitlines()[-_LAST_LINES:])


def _edges(output: IO[bytes], start: int) -> str:
    """The output from `start` on; of a very long one, the start and the end."""
    size = output.seek(0, os.SEEK_END)
    output.seek(start)
    data = output.read(_EDGE)
    if size - start > 2 * _EDGE:
        data += b"\n...\n"
        output.seek(size - _EDGE)
    return (data + output.read(_EDGE)).decode(errors="replace")


def _run(job: Job, checks: list[Check], jobs: int) -> Iterator[Outcome]:
    """Run the checks, each as soon as those before it allow."""
    schedule, running = Schedule(job, checks), dict[int, _Running]()
    try:
        while True:
            while len(running) < jobs and (found := schedule.next()) is not None:
                if isinstance(found, Outcome):
                    yield found
                elif found[0].runs:
                    new = _Running(*found)
                    running[new.pid] = new
                else:
                    yield schedule.done(perform(*found))
            if not running:
                return
            for pid, status in _wait(running):
                yield schedule.done(running.pop(pid).read(status))
    except _EndError:  # in a forked process: the others are not its children
        raise
    except BaseException:
        for pid in running:
            os.kill(pid, signal.SIGKILL)
        raise


def _wait(running: dict[int, _Running]) -> Iterator[tuple[int, int | None]]:
    """Wait for processes that end or reach their time limit; the latter are killed, and have the status None."""
    end = min(each.end for each in running.values())
    signal.sigtimedwait({signal.SIGCHLD}, max(end - time.monotonic(), 0))
    for pid, each in list(running.items()):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            yield pid, os.waitstatus_to_exitcode(status)
        elif time.monotonic() > each.end:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            yield pid, None


def main(*descriptors: str) -> None:
    """Read the request from one descriptor, and write each outcome to another, as a line of JSON."""
    request, answers = map(int, descriptors)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    if program.lacks() is None:
        program.library().hp_crash_install()
    fields, names, jobs = json.loads(os.pread(request, os.fstat(request).st_size, 0))
    os.close(request)
    os.set_inheritable(answers, False)
    try:
        for outcome in _run(Job.from_json(fields), [CHECKS[name] for name in names], jobs):
            os.write(answers, json.dumps(outcome._asdict()).encode() + b"\n")
    except (_EndError, KeyboardInterrupt):
        return
