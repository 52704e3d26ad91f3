"""The contract `kinds`: every type, and names that other languages have words for. tests/plugins/kinds.rs and kinds.cpp are plugins for it."""

from typing import Protocol, runtime_checkable

from hardpoint import Buffer, WritableBuffer, contract, since


@contract("kinds", version="2.3")
@runtime_checkable
class Kinds(Protocol):
    """Every type, and names that other languages have words for: *//*\\"""

    def text(self, value: str) -> str:
        """The same text."""
        ...

    def raw(self, value: Buffer) -> bytes:
        """The same bytes."""
        ...

    def join(self, left: bytes, right: bytearray) -> int:
        """Put `left` over `right`, which may be the same memory; how many bytes."""
        ...

    def flip(self, value: WritableBuffer) -> None:
        """Invert every byte in place."""
        ...

    def all(self, a: int, b: float, c: bool, d: str, e: bytes, f: float, g: int, h: bytearray) -> str:
        """All of them rendered."""
        ...

    def half(self, value: float) -> float: ...

    def negate(self, value: bool) -> bool: ...

    def unnamed(self, left: int, right: int, /) -> int: ...

    def fail(self, how: str) -> None:
        """In one of several ways."""
        ...

    def fn(self, type: int, crate: int, crate_: int, Some: int, match: int, defer: int, func: int, var: int) -> int:  # noqa: A002, N803
        """The first less all others."""
        ...

    def count(self) -> int:
        """How many calls of this method there were on this instance."""
        ...

    def Self(self) -> None:  # noqa: N802
        """Nothing."""
        ...

    @since("2.1")
    def config(self) -> str:
        """What create was given, or `absent`."""
        ...

    @since("2.2")
    def comptime(self) -> str:
        """A method that the plugins in the tests lack."""
        return "the contract's"

    @since("2.3")
    def go(self, value: int) -> int:
        """One more."""
        ...
