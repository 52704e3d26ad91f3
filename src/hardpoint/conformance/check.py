"""A check: a name, a sentence, and a function that returns or raises; and how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from ..definition.model import Contract
from ..fields import Fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from .subject import Subject

Status = Literal["passed", "failed", "crashed", "timed out", "skipped", "warning"]
BAD: tuple[Status, ...] = ("failed", "crashed", "timed out")
"""The statuses of a check that did not go well."""


class FailedError(Exception):
    """The plugin does what it should not; the message says what, and what to do."""


class SkippedError(Exception):
    """There is nothing to check here; the message says why."""


class WarnedError(Exception):
    """Nothing is wrong, and something could be better."""


class Check(Fields):
    """One check of the kit."""

    name: str
    """`topic.what`."""
    about: str
    """What is so if it passes, in a sentence."""
    function: Callable[[Subject], str | None]
    """Gives what there is to tell of a plugin that passes; raises one of the errors above otherwise."""
    needs: tuple[str, ...]
    """The checks without which it makes no sense: if one of them went badly or was skipped, it is skipped."""
    after: tuple[str, ...]
    """The checks whose outcome it wants to know: inputs that kill the plugin are used once."""
    runs: bool
    """Whether code of the plugin runs, so that it needs a process of its own."""
    ends: bool
    """Whether the end of that process is what is checked."""


class Outcome(Fields):
    """How a check ended for one plugin."""

    contract: str
    """The contract, such as `greeter 1.0`."""
    name: str
    about: str
    status: Status
    detail: str
    """Why, or what there is to tell; may be empty, and have several lines."""
    output: str
    """The last lines that the process wrote to stdout and stderr, if the check went badly."""
    seconds: float


class Job(Fields):
    """What the process of a check is told."""

    path: str
    contract: Contract
    config: str | None
    seed: int
    timeout: float
    """Seconds that a check may take."""
    failed: tuple[str, ...] = ()
    """The checks before it that went badly."""

    def to_json(self) -> dict[str, Any]:
        """The job as JSON has it; a contract's class is not needed for any check."""
        return {**self._asdict(), "contract": self.contract.to_wire()}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Job:
        """The job that `to_json` wrote."""
        contract = Contract.from_wire(fields["contract"])
        return cls(**{**fields, "contract": contract, "failed": tuple(fields["failed"])})


CHECKS: dict[str, Check] = {}
"""Every check by its name, in the order of the report."""


def check(
    name: str,
    *,
    needs: tuple[str, ...] = ("calls.tiny",),
    after: tuple[str, ...] = (),
    runs: bool = True,
    ends: bool = False,
) -> Callable[[Callable[[Subject], str | None]], Callable[[Subject], str | None]]:
    """Make a function a check of that name; the first line of its docstring is its sentence."""

    def register(function: Callable[[Subject], str | None]) -> Callable[[Subject], str | None]:
        about = (function.__doc__ or "").partition("\n")[0]
        CHECKS[name] = Check(name, about, function, needs, after, runs, ends)
        return function

    return register
