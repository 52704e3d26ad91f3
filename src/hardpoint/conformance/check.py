"""A check: a name, a sentence, and a function that returns or raises; and its outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from ..definition.model import Contract
from ..fields import Fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from .subject import Subject

Status = Literal["passed", "failed", "crashed", "timed out", "skipped", "warning"]
BAD: tuple[Status, ...] = ("failed", "crashed", "timed out")
"""The statuses that fail a plugin."""


class FailedError(Exception):
    """The plugin violates the rule; the message says how, and what to do."""


class SkippedError(Exception):
    """The check does not apply to the plugin; the message says why."""


class WarnedError(Exception):
    """The plugin is correct, but could be better."""


class Check(Fields):
    """One check of the kit."""

    name: str
    """`topic.what`."""
    about: str
    """The rule, in a sentence."""
    function: Callable[[Subject], str | None]
    """Returns a remark on a plugin that passes, or None; raises one of the errors above otherwise."""
    needs: tuple[str, ...]
    """The checks that it depends on: if one of them failed or was skipped, it is skipped."""
    after: tuple[str, ...]
    """The checks that run before it because it uses their outcome: inputs that kill the plugin are used once."""
    runs: bool
    """True if it runs code of the plugin, and so needs a process of its own."""
    ends: bool
    """True if it checks the end of that process."""


class Outcome(Fields):
    """The result of one check for one plugin."""

    contract: str
    """The contract, such as `greeter 1.0`."""
    name: str
    about: str
    status: Status
    detail: str
    """The reason, or a remark; may be empty, or have several lines."""
    output: str
    """The last lines that the process wrote to stdout and stderr, if the status is one of BAD."""
    seconds: float


class Job(Fields):
    """The input of a check's process."""

    path: str
    contract: Contract
    config: str | None
    seed: int
    timeout: float
    """Time limit of a check in seconds."""
    failed: tuple[str, ...] = ()
    """The earlier checks with a status in BAD."""

    def to_json(self) -> dict[str, Any]:
        """The job as values for JSON. The contract's class is left out: no check needs it."""
        return {**self._asdict(), "contract": self.contract.to_wire()}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Job:
        """Read the output of `to_json`."""
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
    """Register a function as a check; the first line of its docstring is the check's sentence."""

    def register(function: Callable[[Subject], str | None]) -> Callable[[Subject], str | None]:
        about = (function.__doc__ or "").partition("\n")[0]
        CHECKS[name] = Check(name, about, function, needs, after, runs, ends)
        return function

    return register
