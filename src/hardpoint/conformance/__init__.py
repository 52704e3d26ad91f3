"""The conformance kit: checks that a plugin for any contract has to pass. `hardpoint test` runs them."""

from __future__ import annotations

import os
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ..definition.decorators import contract_of
from ..definition.model import Contract
from ..fields import Fields
from . import checks as checks  # which registers them
from .check import BAD, CHECKS, Check, Job, Outcome, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["BAD", "CHECKS", "Check", "Outcome", "Report", "Status", "UnknownCheckError", "run"]

TIMEOUT = 30.0
"""Time limit of each check in seconds."""


class UnknownCheckError(ValueError):
    """A name, topic or pattern that matches no check."""

    def __init__(self, name: str) -> None:
        import difflib  # 1 ms, for the error

        near = difflib.get_close_matches(name, {*CHECKS, *(each.partition(".")[0] for each in CHECKS)}, 3, 0.5)
        hint = f"did you mean {' or '.join(near)}" if near else "--list shows them all"
        super().__init__(f"there is no check {name!r}; {hint}")


class Report(Fields):
    """The outcomes of one plugin."""

    path: str
    contract: str
    seed: int
    """Seed of the random input; the same seed repeats the input."""
    outcomes: tuple[Outcome, ...]

    @property
    def bad(self) -> list[Outcome]:
        """The checks that failed, crashed or timed out."""
        return [outcome for outcome in self.outcomes if outcome.status in BAD]


def run(
    path: str | os.PathLike[str],
    contract: Contract | Callable[..., object],
    *,
    config: str | None = None,
    only: Iterable[str] = (),
    skip: Iterable[str] = (),
    seed: int | None = None,
    timeout: float = TIMEOUT,
    jobs: int | None = None,
    in_process: bool = False,
    on_outcome: Callable[[Outcome], object] = lambda _: None,
) -> Report:
    """Check the plugin for `contract` (its class) in the library at `path`.

    `only` and `skip` choose checks by name, by topic (`calls`) or by pattern (`*.bounds`); UnknownCheckError, a
    ValueError, if one of them matches no check. Each check runs in a process of its own, `jobs` of them at once (by
    default one a CPU), for `timeout` seconds at most. With `in_process` all run in this process, and a crash of the
    plugin ends it. `config` is passed to the plugin's create. `on_outcome` is called with each outcome, in the order of
    the report, as soon as it is known.
    """
    import secrets  # 14 ms, like the rest

    from .runner import run_apart  # these take 20 ms, and the process that runs the checks does not need them
    from .schedule import run_here

    job = Job(
        os.path.abspath(os.fspath(path)),
        contract if isinstance(contract, Contract) else contract_of(contract),
        config,
        secrets.randbits(32) if seed is None else seed,
        timeout,
    )
    chosen = choose(only, skip)
    made = run_here(job, chosen) if in_process else run_apart(job, chosen, jobs or len(os.sched_getaffinity(0)))
    outcomes: list[Outcome] = []
    early: dict[str, Outcome] = {}
    for outcome in made:
        early[outcome.name] = outcome
        while len(outcomes) < len(chosen) and (name := chosen[len(outcomes)].name) in early:
            outcomes.append(early[name])
            on_outcome(early[name])
    return Report(os.fspath(path), str(job.contract), job.seed, tuple(outcomes))


def choose(only: Iterable[str], skip: Iterable[str]) -> list[Check]:
    """The chosen checks, in the order of the report."""
    wanted = {name for pattern in only for name in _match(pattern)} or set(CHECKS)
    unwanted = {name for pattern in skip for name in _match(pattern)}
    return [check for name, check in CHECKS.items() if name in wanted - unwanted]


def _match(pattern: str) -> list[str]:
    found = [name for name in CHECKS if pattern == name.partition(".")[0] or fnmatchcase(name, pattern)]
    if not found:
        raise UnknownCheckError(pattern)
    return found
