"""The plugin that is being checked, as the checks see it: opened once, through the loader's own stages."""

from __future__ import annotations

import time
from functools import cached_property
from random import Random
from typing import TYPE_CHECKING, Any

from ..backend import Request
from ..binding import ctypes as binding
from ..errors import CreateError
from ..ffi.libc import ffi, libc
from ..file import open_library
from ..inprocess.plugin import check_config, open_in_process
from ..preflight.checks import require_fit
from .check import FailedError, SkippedError
from .raw import Caller, spell
from .values import inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..backend import Plugin
    from ..binding.instance import Holder
    from ..definition.model import Contract, Method
    from ..inprocess.plugin import InProcess
    from .check import Job
    from .outs import Out
    from .places import Places
    from .values import Values

_COMMON = ("tiny", "empty", "nul", "extreme", "long")
_PROVED_BY = {"long": "huge"}
"""The check that a kind of input belongs to, if it is not the one of its name."""


class Subject:
    """One plugin, for one check."""

    def __init__(self, job: Job, check: str, tell: Callable[[str], None] = lambda _: None) -> None:
        self.job = job
        self.path = job.path
        self.contract: Contract = job.contract
        self.tell = tell
        """Says what is about to be done, for the case that it is the last thing."""
        self.random = Random(f"{job.seed} {check}")  # noqa: S311 - to be repeated, not to be secret

    @cached_property
    def opened(self) -> InProcess:
        """The plugin, with its library open for good."""
        self.tell("loading the library")
        with open_library(self.path) as file:
            request = Request(file.absolute, self.contract, binding="ctypes")
            return open_in_process(file, require_fit(file, self.contract), request)

    @property
    def plugin(self) -> Plugin:
        """Its slots and who it is."""
        return self.opened.plugin

    @property
    def vtable(self) -> Any:
        """The live vtable's head, an hp_vtable."""
        return ffi.cast("hp_vtable *", libc.dlsym(self.opened.library.handle, self.contract.symbol.encode()))

    @property
    def methods(self) -> list[Method]:
        """The methods that it has: an older plugin, or one with empty slots, lacks some."""
        return [method for method in self.contract.methods if self.plugin.slots.methods.get(method.name)]

    # -- instances -----------------------------------------------------------------------------------------------------

    def create(self) -> Holder:
        """An instance, with the config that there is for it. It is destroyed when nobody holds it any more."""
        config = self.job.config
        try:
            return self.create_with(None if config is None else config.encode())
        except CreateError as error:
            advice = "give it another --config" if config is not None else "if it needs a config, give it with --config"
            raise FailedError(f"create said no: {error}; {advice}") from error

    def create_with(self, config: bytes | None) -> Holder:
        """An instance with that config. CreateError if the plugin refuses, ContractBrokenError if it does so wrongly."""
        self.tell(
            f"create with {'no config' if config is None else f'the config {config[:40]!r} ({len(config):,} bytes)'}"
        )
        check_config(self.plugin, config)
        host: Any = None
        if self.plugin.slots.create:
            from ..inprocess.host_log import host_for  # a thread and two sockets, which not every check should have

            host = host_for(self.plugin.manifest.plugin)
        return binding.create(self.plugin, host, config)

    def destroy(self, holders: list[Holder]) -> None:
        """Destroy what is held in the list, from the last to the first."""
        self.tell("destroy")
        while holders:
            holders.pop()

    def caller(
        self, holder: Holder, *, places: Places | None = None, out: Out | None = None, exact: bool = False
    ) -> Caller:
        """What calls the methods of an instance; each thread needs its own."""
        return Caller(self.plugin, holder.pointer, places=places, out=out, exact=exact)

    # -- inputs --------------------------------------------------------------------------------------------------------

    def failed(self, *names: str) -> bool:
        """Whether one of these checks was made before, and went badly."""
        return any(name in self.job.failed for name in names)

    def inputs(self, *kinds: str) -> list[tuple[Method, Values]]:
        """Calls of every method with these kinds of inputs, without those that a check found to kill the plugin."""
        good = [kind for kind in kinds or _COMMON if not self.failed(f"calls.{_PROVED_BY.get(kind, kind)}")]
        return [(method, values) for kind in good for method in self.methods for values in inputs(method, kind)]

    def call_each(
        self,
        caller: Caller,
        calls: list[tuple[Method, Values]],
        judge: Callable[[Method, Values, Any], None] | None = None,
    ) -> int:
        """Make the calls, and have `judge` look at each answer; how many there were."""
        if not calls:
            raise SkippedError("no method takes such input")
        for method, values in calls:
            self.tell(spell(method, values))
            prepared = caller.prepare(method, values)
            if judge:
                judge(method, values, prepared.answer())
            else:
                prepared.call()
        return len(calls)

    def for_a_while(self, share: float) -> Iterator[int]:
        """Count, until that share of the time that the check may take is over."""
        end, count = time.monotonic() + share * self.job.timeout, 0
        while time.monotonic() < end:
            yield count
            count += 1
