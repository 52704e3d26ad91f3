"""A peer: how it is built, and the loop that times it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from time import perf_counter_ns
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from benchmarks.workshop import Workshop

Sampler = Callable[[int], float]
"""Makes so many calls (a multiple of TEN) and returns the nanoseconds that they took."""
TEN = 10
METHODS = ("greet", "lang")


class Greets(Protocol):
    """The interface of every peer that is called from Python: the contract's methods."""

    def greet(self, name: str, /) -> str:
        """Return the greeting."""
        ...

    def lang(self) -> str:
        """Return the language's name for itself."""
        ...


class Peer(NamedTuple):
    """One technology that a program could use for plugins."""

    title: str
    does: str
    """The work that it does in a call, and work of others that it leaves out."""
    build: Callable[[Workshop], str]
    """Build the files for `open`, and return the version; MissingError if it is not available here."""
    open: Callable[[Workshop], Greets | dict[str, Sampler]]
    """Return an object of this process, or the samplers of a process that measures itself."""


def version_of(module: str) -> str:
    """The version of an installed package; MissingError if it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    from benchmarks.workshop import MissingError

    try:
        return version(module)
    except PackageNotFoundError:
        raise MissingError(f"{module} is not installed: pip install -r benchmarks/requirements.txt") from None


def made(module: str, workshop: Workshop, name: str = "Greeter") -> Greets:
    """The greeter of a compiled extension module; the workshop's folder is on sys.path."""
    greeter: Greets = getattr(import_module(module), name)(str(workshop.greeter))
    return greeter


def samplers(peer: Greets) -> dict[str, Sampler]:
    """A loop for each method, with ten calls a turn, so that the cost of the loop itself is negligible."""

    def greet(count: int) -> float:
        start = perf_counter_ns()
        for _ in range(count // TEN):
            peer.greet("World")
            peer.greet("World")
            peer.greet("World")
            peer.greet("World")
            peer.greet("World")
            peer.greet("World")
            peer.greet("World")
            peer.greet("World")
            peer.greet("World")
            peer.greet("World")
        return perf_counter_ns() - start

    def lang(count: int) -> float:
        start = perf_counter_ns()
        for _ in range(count // TEN):
            peer.lang()
            peer.lang()
            peer.lang()
            peer.lang()
            peer.lang()
            peer.lang()
            peer.lang()
            peer.lang()
            peer.lang()
            peer.lang()
        return perf_counter_ns() - start

    return {"greet": _own(greet), "lang": _own(lang)}


def _own(function: Any) -> Any:
    """Copy a function together with its code.

    CPython specialises code for the types that it sees there (PEP 659). If two peers shared a loop, it would be
    specialised for one of them, or for none.
    """
    return FunctionType(
        function.__code__.replace(), function.__globals__, function.__name__, None, function.__closure__
    )
