"""A measured process, seen from the process that sends it requests."""

from __future__ import annotations

import marshal
import os
import subprocess
import tempfile
from signal import Signals
from typing import TYPE_CHECKING, Any

from .. import errors, launcher
from ..errors import HardpointError
from .workload import pack

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from .workload import Row, Workload

_LAST_WORDS = 500
_SECONDS_TO_END = 2


class WrongArgumentsError(HardpointError):
    """A method cannot be called with these values."""


class DiedError(HardpointError):
    """A measured process died: the plugin crashed, or ended it."""


class Process:
    """A measured process, from its first load to its end."""

    def __init__(self, row: Row, workload: Workload) -> None:
        self.row = row
        self._workload = workload
        # Output of a plugin is not part of a result; the last lines before a crash may tell the reason.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        ours, theirs = os.pipe()
        try:
            self._process = subprocess.Popen(
                launcher.command("hardpoint.benchmark.worker", theirs, setup=launcher.TIMED),
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._stderr, pass_fds=[theirs],
                start_new_session=True,  # Ctrl-C goes to the parent only
            )  # fmt: skip
        finally:
            os.close(theirs)
        self._replies = os.fdopen(ours, "rb")
        self.import_ns = self.load_ns = 0

    def load(self) -> None:
        """Wait until the library is loaded. Raises the error of loading it."""
        request = (self.row.name, self.row.binding, pack(self._workload))
        self.import_ns, self.load_ns = self._exchange(request, "it was being loaded")

    def ask(self, request: str, case: int, *arguments: Any) -> Any:
        """Send a request about a case, and return the answer. Raises the error of the plugin's method."""
        label = self._workload.cases[case].label
        return self._exchange((request, case, *arguments), f"{label} was being called")

    def control(self, seconds: float) -> float:
        """The time of the fixed work now, in nanoseconds."""
        taken: float = self._exchange(("control", seconds), "nothing of it was being called")
        return taken

    def _exchange(self, request: tuple[Any, ...], doing: str) -> Any:
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        try:
            self._process.stdin.write(marshal.dumps(request))
            self._process.stdin.flush()
            word, answer = marshal.load(self._replies)  # noqa: S302 - from a process of ours
        except (EOFError, BrokenPipeError) as error:
            raise self._died(doing) from error
        if word == "ok":
            return answer
        kind: type[HardpointError] = WrongArgumentsError if word == "ValueError" else getattr(errors, word)
        raise kind(answer, path=self._workload.path)

    def _died(self, doing: str) -> DiedError:
        status = self._process.wait()
        how = f"ended with status {status}"
        if status < 0:
            how = f"was killed by {Signals(-status).name}"
        self._stderr.seek(0)
        words = self._stderr.read().decode(errors="replace").strip()[-_LAST_WORDS:]
        last = f"; it last wrote: {words}" if words else ""
        through = f" through {self.row.binding}" if self.row.binding else ""
        return DiedError(
            f"{self._workload.path}: the process that measures {self.row.name} {how} while {doing}{through}{last}",
            path=self._workload.path,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None  # noqa: S101
        try:
            self._process.stdin.close()
            self._process.wait(0 if kind else _SECONDS_TO_END)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            self._process.kill()
            self._process.wait()
        finally:
            self._replies.close()
            self._stderr.close()
