"""Which check may be made when, and one check made in this process."""

from __future__ import annotations

import time
import traceback
import warnings
from typing import TYPE_CHECKING

from ..errors import HardpointError, HardpointWarning
from .check import BAD, FailedError, Job, Outcome, SkippedError, WarnedError
from .subject import Subject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .check import Check, Status


class Schedule:
    """Checks that wait until those that they need, or want to know of, are done."""

    def __init__(self, job: Job, checks: Sequence[Check]) -> None:
        self._job = job
        self._waiting = list(checks)
        self._undone = {check.name for check in checks}
        self._outcomes: dict[str, Outcome] = {}

    def next(self) -> tuple[Check, Job] | Outcome | None:
        """A check that can be made now, or the outcome of one that need not be; None if there is none now."""
        for check in self._waiting:
            if not self._undone.isdisjoint((*check.needs, *check.after)):
                continue
            self._waiting.remove(check)
            for name in check.needs:
                status = self._outcomes[name].status if name in self._outcomes else "passed"
                if status in {*BAD, "skipped"}:
                    why = f"{name} {'was skipped' if status == 'skipped' else status}"
                    return self.done(outcome(check, self._job, "skipped", why))
            failed = tuple(name for name, each in self._outcomes.items() if each.status in BAD)
            return check, self._job._replace(failed=failed)
        return None

    def done(self, made: Outcome) -> Outcome:
        """Note how a check ended."""
        self._undone.remove(made.name)
        self._outcomes[made.name] = made
        return made


def outcome(check: Check, job: Job, status: Status, detail: str, output: str = "", seconds: float = 0.0) -> Outcome:
    """How a check ended."""
    return Outcome(str(job.contract), check.name, check.about, status, detail, output, seconds)


def run_here(job: Job, checks: Sequence[Check]) -> Iterator[Outcome]:
    """Make the checks in this process, one after the other."""
    schedule = Schedule(job, checks)
    while (found := schedule.next()) is not None:
        if isinstance(found, Outcome):
            yield found
            continue
        check, informed = found
        ends = outcome(check, job, "skipped", "it needs a process of its own") if check.ends else None
        yield schedule.done(ends or perform(check, informed))


def perform(check: Check, job: Job, tell: Callable[[str], None] = lambda _: None) -> Outcome:
    """Make a check in this process."""
    status: Status = "passed"
    start = time.monotonic()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", HardpointWarning)
            detail = check.function(Subject(job, check.name, tell)) or ""
    except SkippedError as error:
        status, detail = "skipped", str(error)
    except WarnedError as error:
        status, detail = "warning", str(error)
    except (FailedError, HardpointError) as error:
        status, detail = "failed", str(error)
    except Exception:  # noqa: BLE001 - a fault of the kit must not pass for the plugin's, nor end the other checks
        status, detail = "failed", f"the kit itself stumbled; report this to hardpoint:\n{traceback.format_exc()}"
    return outcome(check, job, status, detail, seconds=time.monotonic() - start)
