"""The plugin under test, opened once through the stages of `hardpoint.load`, and calls of its methods."""

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
    from .hp_out import RoomyOut
    from .input_memory import InputMemory
    from .values import Values

_COMMON = ("tiny", "empty", "nul", "extreme", "long")
_PROVED_BY = {"long": "huge"}
"""The check that tries a kind of input first, where it is not `calls.` and the kind."""


class Subject:
    """The plugin under test, for one check."""

    def __init__(self, job: Job, check: str, announce: Callable[[str], None] = lambda _: None) -> None:
        self.job = job
        self.path = job.path
        self.contract: Contract = job.contract
        self.announce = announce
        """Records the next step, for the report of a crash or a time-out in it."""
        self.random = Random(f"{job.seed} {check}")  # noqa: S311 - repeatable on purpose

    @cached_property
    def opened(self) -> InProcess:
        """The plugin, with its library open for the rest of the process."""
        self.announce("loading the library")
        with open_library(self.path) as file:
            request = Request(file.absolute, self.contract, binding="ctypes")
            return open_in_process(file, require_fit(file, self.contract), request)

    @property
    def plugin(self) -> Plugin:
        """Its slots and its manifest."""
        return self.opened.plugin

    @property
    def vtable(self) -> Any:
        """The head of the live vtable, an hp_vtable."""
        return ffi.cast("hp_vtable *", libc.dlsym(self.opened.library.handle, self.contract.symbol.encode()))

    def vtable_words(self) -> dict[str, int]:
        """The words of the live vtable by name, from the head to the last of the plugin's methods that we know."""
        methods = self.contract.methods[: len(self.plugin.manifest.methods)]
        names = ["head", "head.manifest", "flags", "create", "destroy", "query", *(each.name for each in methods)]
        words = ffi.cast("uint64_t *", self.vtable)
        return {name: words[index] for index, name in enumerate(names)}

    @property
    def methods(self) -> list[Method]:
        """The contract's methods that the plugin has: an older plugin, or one with empty slots, lacks some."""
        return [method for method in self.contract.methods if self.plugin.slots.methods.get(method.name)]

    # -- instances -----------------------------------------------------------------------------------------------------

    def create(self, host: int = 0) -> Holder:
        """Create an instance with the job's config. It is destroyed with the Holder's last reference."""
        config = self.job.config
        try:
            return self.create_with(None if config is None else config.encode(), host)
        except CreateError as error:
            advice = "give it another --config" if config is not None else "if it needs a config, give it with --config"
            raise FailedError(f"create failed: {error}; {advice}") from error

    def create_with(self, config: bytes | None, host: int = 0) -> Holder:
        """Create an instance. CreateError if the plugin refuses, ContractBrokenError if it violates the ABI.

        `host` is the address of an hp_host; 0 for this process's, whose log records reach `logging`.
        """
        self.announce(
            f"create with {'no config' if config is None else f'the config {config[:40]!r} ({len(config):,} bytes)'}"
        )
        check_config(self.plugin, config)
        given: Any = host
        if self.plugin.slots.create and not host:
            from ..inprocess.host_log import host_for  # starts a thread and two sockets, which most checks do without

            given = host_for(self.plugin.manifest.plugin)
        return binding.create(self.plugin, given, config)

    def destroy(self, holders: list[Holder]) -> None:
        """Destroy the instances, from the last to the first. The caller's references must be in the list only."""
        self.announce("destroy")
        while holders:
            holders.pop()

    def caller(
        self, holder: Holder, *, memory: InputMemory | None = None, out: RoomyOut | None = None, exact: bool = False
    ) -> Caller:
        """Make a Caller for an instance; each thread needs its own."""
        return Caller(self.plugin, holder.pointer, memory=memory, out=out, exact=exact)

    # -- inputs --------------------------------------------------------------------------------------------------------

    def failed(self, *names: str) -> bool:
        """True if one of these checks ran before and failed, crashed or timed out."""
        return any(name in self.job.failed for name in names)

    def inputs(self, *kinds: str) -> list[tuple[Method, Values]]:
        """Calls of every method with these kinds of inputs, except kinds with which an earlier check failed."""
        good = [kind for kind in kinds or _COMMON if not self.failed(f"calls.{_PROVED_BY.get(kind, kind)}")]
        return [(method, values) for kind in good for method in self.methods for values in inputs(method, kind)]

    def call_each(
        self,
        caller: Caller,
        calls: list[tuple[Method, Values]],
        judge: Callable[[Method, Values, Any], None] | None = None,
    ) -> int:
        """Make the calls, and pass each answer to `judge`; return their number."""
        if not calls:
            raise SkippedError("no method takes such input")
        for method, values in calls:
            self.announce(spell(method, values))
            prepared = caller.prepare(method, values)
            if judge:
                judge(method, values, prepared.answer())
            else:
                prepared.call()
        return len(calls)

    def for_a_while(self, share: float) -> Iterator[int]:
        """Count until that share of the check's time limit is over."""
        end, count = time.monotonic() + share * self.job.timeout, 0
        while time.monotonic() < end:
            yield count
            count += 1
