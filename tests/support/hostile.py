"""The contract `hostile`: every way in which a plugin can harm the process that it is in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from hardpoint import Isolation, contract

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Compiler

ENOUGH = Isolation(timeout=30.0, memory="256MiB")
"""Limits that no test should reach."""
SHORT = Isolation(timeout=2.0, memory="256MiB")
"""Limits for calls that never end; the time-out still lets a busy machine load the plugin."""


@contract("hostile", version="1.0")
@runtime_checkable
class Hostile(Protocol):
    """Does harm in create, in a call or in destroy.

    The config is `create:WHAT`, `destroy:WHAT`, or `if:PATH`: create aborts if the file exists.
    """

    def harm(self, what: str) -> str:
        """Do the named harm; return `alive` if the process survives."""
        ...

    def write(self, text: str, times: int) -> None:
        """Write a text to stdout and stderr, `times` times."""
        ...

    def count(self) -> int:
        """Return the number of calls in this process."""
        ...

    def pid(self) -> int:
        """Return the id of the process."""
        ...

    def release(self) -> str:
        """Return the release in the manifest."""
        ...

    def nap(self, milliseconds: int) -> int:
        """Sleep, and return the id of the process."""
        ...

    def chat(self, level: int, text: str, times: int) -> None:
        """Log a text, `times` times."""
        ...


def build(compiler: Compiler, *words: str) -> Path:
    """Compile the library, with additional arguments for the compiler."""
    compiler.header(Hostile)
    return compiler.library("hostile.c", "-pthread", "-Wno-infinite-recursion", *words)
