"""The contract `hostile`: every way in which a plugin can harm the process that it is in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from hardpoint import Isolation, contract

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Compiler

ENOUGH = Isolation(timeout=30.0, memory="256MiB")
"""What no test should come near."""
SHORT = Isolation(timeout=2.0, memory="256MiB")
"""For what takes longer than anything; a busy machine has to load it within that."""


@contract("hostile", version="1.0")
@runtime_checkable
class Hostile(Protocol):
    """Does harm when it is made, called or ended.

    The config is `create:WHAT`, `destroy:WHAT`, or `if:PATH`: create aborts once there is a file.
    """

    def harm(self, what: str) -> str:
        """Do one thing; what it says if it lives."""
        ...

    def write(self, text: str, times: int) -> None:
        """Write a text to stdout and stderr, so many times."""
        ...

    def count(self) -> int:
        """How many calls this process has seen."""
        ...

    def pid(self) -> int:
        """The process that it is in."""
        ...

    def release(self) -> str:
        """The release that it was built as."""
        ...

    def nap(self, milliseconds: int) -> int:
        """Sleep; the process that it is in."""
        ...

    def chat(self, level: int, text: str, times: int) -> None:
        """Log a text, so many times."""
        ...


def build(compiler: Compiler, *words: str) -> Path:
    """The library, with further words for the compiler."""
    compiler.header(Hostile)
    return compiler.library("hostile.c", "-pthread", "-Wno-infinite-recursion", *words)
