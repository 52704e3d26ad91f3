"""The contract `probe`: every type, and a method for each way to behave and to violate the ABI."""

from typing import Protocol, runtime_checkable

from hardpoint import Buffer, WritableBuffer, contract, quick, since


@contract("probe", version="1.2")
@runtime_checkable
class Probe(Protocol):
    """Every type, and every way to fail."""

    @quick
    def text(self, value: str) -> str:
        """The same text."""
        ...

    def raw(self, value: bytes) -> bytes:
        """The same bytes."""
        ...

    def view(self, value: Buffer) -> int:
        """Return the number of bytes."""
        ...

    def flip(self, value: bytearray) -> None:
        """Invert every byte in place."""
        ...

    def fill(self, value: WritableBuffer, byte: int) -> int:
        """Set every byte, and return their number."""
        ...

    def add(self, left: int, right: int) -> int: ...

    def half(self, value: float) -> float: ...

    def negate(self, value: bool) -> bool: ...

    def mixed(self, a: int, b: float, c: str, d: bool, e: bytes, f: bytearray, g: float, h: int) -> str:
        """Return all arguments, rendered; `f` is zeroed."""
        ...

    def unnamed(self, left: int, right: int, /) -> int: ...

    def repeat(self, piece: str, times: int) -> str:
        """Return `piece` repeated, with one write for each repetition."""
        ...

    def fail(self, status: int, reason: str) -> None:
        """Return a status, with a reason."""
        ...

    def break_rule(self, rule: str) -> str:
        """Violate the ABI in the named way."""
        ...

    def config(self) -> str:
        """Return the config, or `absent`."""
        ...

    def instances(self) -> int:
        """Return the number of instances in this library."""
        ...

    def log(self, level: int, message: str) -> None: ...

    def log_from_thread(self, level: int, message: str) -> None: ...

    def overlap(self, milliseconds: int) -> int:
        """Sleep, and return the number of simultaneous calls."""
        ...

    @since("1.1")
    def shout(self, value: str) -> str:
        """Convert to upper case; this body runs for older plugins."""
        return self.text(value).upper() + "!"

    @since("1.2")
    def whisper(self, value: str) -> str: ...
