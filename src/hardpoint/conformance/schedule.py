"""The order of the checks, and running one check in this process."""

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
    """Yields checks once those that they depend on are done."""

    def __init__(self, job: Job, checks: Sequence[Check]) -> None:
        self._job = job
        self._waiting = list(checks)
        self._undone = {check.name for check in checks}
        self._outcomes: dict[str, Outcome] = {}

    def next(self) -> tuple[Check, Job] | Outcome | None:
        """The next check that can run, or the outcome of one that is skipped; None if all others have to wait."""
        for check in self._waiting:
            if not self._undone.isdisjoint((*check.needs, *check.after)):
                continue
            self._waiting.remove(check)
            for name in check.needs:
                status = self._outcomes[name].status if name in self._outcomes else "passed"
                if status in {*BAD, "skipped"}:
                    why = f"{name} {'was skipped' if status == 'skipped' else status}"
                    return self.done(outcome_of(check, self._job, "skipped", why))
            failed = tuple(name for name, each in self._outcomes.items() if each.status in BAD)
            return check, self._job._replace(failed=failed)
        return None

    def done(self, outcome: Outcome) -> Outcome:
        """Record the outcome of a check."""
        self._undone.remove(outcome.name)
        self._outcomes[outcome.name] = outcome
        return outcome


def outcome_of(check: Check, job: Job, status: Status, detail: str, output: str = "", seconds: float = 0.0) -> Outcome:
    """The outcome of a check for the job's contract."""
    return Outcome(str(job.contract), check.name, check.about, status, detail, output, seconds)


def run_here(job: Job, checks: Sequence[Check]) -> Iterator[Outcome]:
    """Run the checks in this process, one after the other."""
    schedule = Schedule(job, checks)
    while (found := schedule.next()) is not None:
        if isinstance(found, Outcome):
            yield found
            continue
        check, job_now = found
        skipped = outcome_of(check, job, "skipped", "it needs a process of its own") if check.ends else None
        yield schedule.done(skipped or perform(check, job_now))


def perform(check: Check, job: Job, announce: Callable[[str], None] = lambda _: None) -> Outcome:
    """Run a check in this process. `announce` is called with each step before it."""
    status: Status = "passed"
    start = time.monotonic()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", HardpointWarning)
            detail = check.function(Subject(job, check.name, announce)) or ""
    except SkippedError as error:
        status, detail = "skipped", str(error)
    except WarnedError as error:
        status, detail = "warning", str(error)
    except (FailedError, HardpointError) as error:
        status, detail = "failed", str(error)
    except Exception:  # noqa: BLE001 - an error in the kit must not look like one of the plugin, nor end other checks
        status, detail = "failed", f"internal error of the kit; report it to hardpoint:\n{traceback.format_exc()}"
    return outcome_of(check, job, status, detail, seconds=time.monotonic() - start)
