"""No plugin at all: a method in Python that builds the same string."""

from __future__ import annotations

import platform

from benchmarks.peer import Peer


class Greeter:
    """Speaks English."""

    __slots__ = ()

    def greet(self, name: str) -> str:
        """The greeting."""
        return f"Hello, {name}! Nice to meet you."

    def lang(self) -> str:
        """The language's name for itself."""
        return "English"


PEER = Peer(
    "plain Python method",
    "no library: builds the same text, and `lang` returns a constant",
    lambda _: f"Python {platform.python_version()}",
    lambda _: Greeter(),
)
