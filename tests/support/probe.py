"""The contract `probe`: every type, and a method for each way to behave and to misbehave."""

from typing import Protocol, runtime_checkable

from hardpoint import Buffer, WritableBuffer, contract, quick, since


@contract("probe", version="1.2")
@runtime_checkable
class Probe(Protocol):
    """Every type there is, and every way to fail."""

    @quick
    def text(self, value: str) -> str:
        """The same text."""
        ...

    def raw(self, value: bytes) -> bytes:
        """The same bytes."""
        ...

    def view(self, value: Buffer) -> int:
        """How many bytes there are."""
        ...

    def flip(self, value: bytearray) -> None:
        """Invert every byte in place."""
        ...

    def fill(self, value: WritableBuffer, byte: int) -> int:
        """Set every byte; how many there were."""
        ...

    def add(self, left: int, right: int) -> int: ...

    def half(self, value: float) -> float: ...

    def negate(self, value: bool) -> bool: ...

    def mixed(self, a: int, b: float, c: str, d: bool, e: bytes, f: bytearray, g: float, h: int) -> str:
        """All of them rendered; `f` is zeroed."""
        ...

    def unnamed(self, left: int, right: int, /) -> int: ...

    def repeat(self, piece: str, times: int) -> str:
        """`piece`, written `times` times one by one."""
        ...

    def fail(self, status: int, reason: str) -> None:
        """Return a status, with a reason."""
        ...

    def break_rule(self, rule: str) -> str:
        """Do what the ABI forbids."""
        ...

    def config(self) -> str:
        """What create was given, or `absent`."""
        ...

    def instances(self) -> int:
        """How many there are in this library."""
        ...

    def log(self, level: int, message: str) -> None: ...

    def log_from_thread(self, level: int, message: str) -> None: ...

    def overlap(self, milliseconds: int) -> int:
        """Sleep, and say how many calls were in here at once."""
        ...

    @since("1.1")
    def shout(self, value: str) -> str:
        """Upper-case, or this body for plugins that are too old."""
        return self.text(value).upper() + "!"

    @since("1.2")
    def whisper(self, value: str) -> str: ...
