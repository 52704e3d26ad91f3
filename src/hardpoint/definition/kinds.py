"""The kinds: the types of the contract language."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from typing_extensions import Buffer as Buffer  # noqa: PLC0414 - given on to those who import it from here

    # The type system has no word for "writable": what cannot be written to is refused by the call itself.
    WritableBuffer: TypeAlias = Buffer
else:

    class Buffer:
        """In a contract: any C-contiguous readable buffer. It is not copied."""

        __module__ = "hardpoint"  # where users import it from; signatures and errors show it

    class WritableBuffer:
        """In a contract: any C-contiguous writable buffer. The plugin changes it in place."""

        __module__ = "hardpoint"


KINDS: dict[object, str] = {
    str: "str",
    bytes: "bytes",
    Buffer: "bytes",
    bytearray: "bytearray",
    WritableBuffer: "bytearray",
    int: "int",
    float: "float",
    bool: "bool",
}
"""What a parameter may be annotated with, and the kind that it is."""
RESULTS: dict[object, str] = {str: "str", bytes: "bytes", int: "int", float: "float", bool: "bool", None: "None"}
"""What a result may be annotated with, and the kind that it is."""
BUFFERS = frozenset({"str", "bytes", "bytearray"})
"""The kinds that travel as a pointer and a length."""
SCALARS = frozenset({"int", "float", "bool"})
"""The kinds that travel by value."""
