"""The contract `kinds`: every type, and names that are keywords in other languages.

Its plugins are tests/plugins/kinds.rs and kinds.cpp.
"""

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
        """Copy `left` over `right`, which may be the same memory, and return the number of bytes."""
        ...

    def flip(self, value: WritableBuffer) -> None:
        """Invert every byte in place."""
        ...

    def all(self, a: int, b: float, c: bool, d: str, e: bytes, f: float, g: int, h: bytearray) -> str:
        """Return all arguments, rendered."""
        ...

    def half(self, value: float) -> float: ...

    def negate(self, value: bool) -> bool: ...

    def unnamed(self, left: int, right: int, /) -> int: ...

    def fail(self, how: str) -> None:
        """Fail in the named way."""
        ...

    def fn(self, type: int, crate: int, crate_: int, Some: int, match: int, defer: int, func: int, var: int) -> int:  # noqa: A002, N803
        """Return the first argument minus all others."""
        ...

    def count(self) -> int:
        """Return the number of calls of this method on this instance."""
        ...

    def Self(self) -> None:  # noqa: N802
        """Nothing."""
        ...

    @since("2.1")
    def config(self) -> str:
        """Return the config, or `absent`."""
        ...

    @since("2.2")
    def comptime(self) -> str:
        """A method that the plugins of the tests lack."""
        return "the contract's"

    @since("2.3")
    def go(self, value: int) -> int:
        """One more."""
        ...
