"""Creating and destroying instances."""

from __future__ import annotations

import threading
from ctypes import CFUNCTYPE, c_char_p, c_void_p
from typing import TYPE_CHECKING, Any

from ...definition.kinds import find_kind
from ...errors import ContractBrokenError, CreateError
from ...ffi.libc import ffi
from ...inprocess import process_state as process
from ..check import FailedError, SkippedError, check
from ..raw import is_status
from ..values import special

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

    from ..subject import Subject

_CYCLES, _MANY = 1000, 100


@check("lifecycle.create", needs=("load.opens",))
def create(subject: Subject) -> str | None:
    """An instance can be created and destroyed."""
    subject.destroy([subject.create()])
    return None if subject.plugin.slots.create else "it has no create: there is nothing to create"


@check("lifecycle.cycles", needs=("lifecycle.create",))
def cycles(subject: Subject) -> None:
    """1,000 instances can be created and destroyed one after the other."""
    for count in range(_CYCLES):
        holders = [subject.create()]
        subject.announce(f"destroy, after {count:,} instances")
        holders.clear()


@check("lifecycle.many", needs=("lifecycle.create",))
def many(subject: Subject) -> None:
    """A hundred instances can exist at once, and be destroyed in any order."""
    holders = []
    for count in range(_MANY):
        try:
            holders.append(subject.create())
        except FailedError as error:
            raise FailedError(f"with {count} instances alive, {error}") from error
    subject.random.shuffle(holders)
    subject.destroy(holders)


@check("lifecycle.config", needs=("lifecycle.create",))
def config(subject: Subject) -> str:
    """A config that makes no sense is accepted, or refused as the ABI requires."""
    if not subject.plugin.slots.create:
        raise SkippedError("it has no create, so it takes no config")
    taken = refused = 0
    for text in _configs(subject.random):
        try:
            subject.destroy([subject.create_with(text.encode())])
            taken += 1
        except CreateError as error:
            _check_refusal(text, error)
            refused += 1
        except ContractBrokenError as error:
            raise FailedError(f"with the config {text[:40]!r}: {error}") from error
    return f"{taken} taken, {refused} refused"


def _check_refusal(text: str, error: CreateError) -> None:
    if not is_status(error.status):
        raise FailedError(
            f"with the config {text[:40]!r}: create returned the status {error.status}, which is reserved"
        )
    if "\ufffd" in error.text and "\ufffd" not in text:
        raise FailedError(f"with the config {text[:40]!r}: create gave a reason that is not UTF-8: {error.text[:40]!r}")


def _configs(source: Random) -> Iterator[str]:
    yield from ("", " ", "nonsense", "{", "null", "[]", '{"": null}', '"', "0", "-1", "1e999", "%s%n", "../..", "a=b")
    yield "[" * 100_000
    for kind in ("nul", "long", "huge"):
        yield from special(kind, find_kind("str"))
    yield from special("unicode", find_kind("str"))[::32]
    for _ in range(50):
        yield "".join(chr(source.randrange(0xD800)) for _ in range(source.randrange(60)))


@check("lifecycle.threads", needs=("lifecycle.create",))
def threads(subject: Subject) -> None:
    """An instance can be created on one thread and destroyed on another."""
    holders = [subject.create()]
    on_thread(lambda: subject.destroy(holders))


def on_thread(function: Callable[[], Any]) -> None:
    """Run a function on a new thread, and wait for it. Raises what the function raises."""
    errors: list[BaseException] = []

    def work() -> None:
        try:
            function()
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


@check("lifecycle.query", needs=("lifecycle.create",))
def query(subject: Subject) -> None:
    """The plugin's query returns NULL for an unknown id."""
    vtable = subject.vtable
    if not vtable.query:
        raise SkippedError("it has no query")
    ask = CFUNCTYPE(c_void_p, c_char_p)(int(ffi.cast("uintptr_t", vtable.query)))
    for name in (b"hp.nothing", b"hp.", b"", b"hp." + b"x" * 5000):
        subject.announce(f"query({name[:40]!r})")
        if ask(name):
            raise FailedError(f"query({name[:40].decode()!r}) returned a pointer; return NULL for every unknown id")


@check("lifecycle.state")
def state(subject: Subject) -> None:
    """Calls leave the process as it was: signals, limits, timers, environment, streams, locale and more."""
    _ = subject.opened
    before = process.take()
    holders = [subject.create()]
    subject.call_each(subject.caller(holders[0]), subject.inputs("tiny"))
    subject.destroy(holders)
    changed = process.restore(before)
    if changed:
        raise FailedError(f"it changed {', '.join(changed)} of the process; a plugin leaves the process as it found it")


@check("lifecycle.vtable")
def vtable(subject: Subject) -> None:
    """Calls do not change the vtable, which is a constant."""
    before = subject.vtable_words()
    holders = [subject.create()]
    subject.call_each(subject.caller(holders[0]), subject.inputs("tiny"))
    subject.destroy(holders)
    changed = [name for name, word in subject.vtable_words().items() if word != before[name]]
    if changed:
        raise FailedError(f"calls changed {', '.join(changed)} in the vtable; no code may change it, at any time")


@check("lifecycle.exit", ends=True)
def leave(subject: Subject) -> None:
    """The process exits normally with an instance still alive."""
    _alive_at_exit.append(subject.create())
    subject.call_each(subject.caller(_alive_at_exit[0]), subject.inputs("tiny"))
    subject.announce("the end of the process")


_alive_at_exit: list[Any] = []
"""Keeps an instance alive until the process ends."""
