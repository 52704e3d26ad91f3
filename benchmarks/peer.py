"""What a peer is: how it is made, and how it is timed."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from time import perf_counter_ns
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from benchmarks.workshop import Workshop

Sampler = Callable[[int], float]
"""Makes so many calls (a multiple of TEN) and gives the nanoseconds that they took."""
TEN = 10
METHODS = ("greet", "lang")


class Greets(Protocol):
    """What every peer that is called from Python looks like: an object with the contract's methods."""

    def greet(self, name: str, /) -> str:
        """The greeting."""
        ...

    def lang(self) -> str:
        """The language's name for itself."""
        ...


class Peer(NamedTuple):
    """One technology that a program could use for plugins."""

    title: str
    does: str
    """What it does in a call, and what it does not do that others do."""
    build: Callable[[Workshop], str]
    """Make what `open` needs, and give the version; MissingError if it cannot be had here."""
    open: Callable[[Workshop], Greets | dict[str, Sampler]]
    """What is called: an object in this process, or the samplers of a process that measures itself."""


def version_of(module: str) -> str:
    """The version of an installed package; MissingError if it is not there."""
    from importlib.metadata import PackageNotFoundError, version

    from benchmarks.workshop import MissingError

    try:
        return version(module)
    except PackageNotFoundError:
        raise MissingError(f"{module} is not installed: pip install -r benchmarks/requirements.txt") from None


def made(module: str, workshop: Workshop, name: str = "Greeter") -> Greets:
    """The greeter of an extension module that was built; the workshop's folder is on sys.path."""
    greeter: Greets = getattr(import_module(module), name)(str(workshop.greeter))
    return greeter


def samplers(peer: Greets) -> dict[str, Sampler]:
    """A loop for each method, of ten calls a turn, so that the loop itself costs next to nothing."""

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
    """A copy with code of its own.

    CPython specialises code for the objects that it meets there (PEP 659), and a loop that two peers shared would be
    specialised for one of them, or for none.
    """
    return FunctionType(
        function.__code__.replace(), function.__globals__, function.__name__, None, function.__closure__
    )
