"""Conditions on a system call -> classic BPF, as seccomp(2) runs it over `struct seccomp_data`.

A check is a block of instructions that returns where the call is refused, and else goes on with what follows.
"""

from __future__ import annotations

import errno
import struct

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# 8 bytes an instruction; jumps count from the next one.
_LOAD, _AND, _JUMP, _IF_EQUAL, _IF_AT_LEAST, _IF_BITS, _RETURN = 0x20, 0x54, 0x05, 0x15, 0x35, 0x45, 0x06
_SIZE = 8
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16  # places in struct seccomp_data


def _do(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value)


ALLOWED = _do(_RETURN, 0x7FFF0000)
REFUSED = _do(_RETURN, 0x50000 | errno.EPERM)
UNKNOWN = _do(_RETURN, 0x50000 | errno.ENOSYS)


def only(index: int, *values: int, mask: int = 0, high: bool = False) -> bytes:
    """Check that an argument is one of some.

    It is 32 bits of it, as the kernel takes most arguments: the low ones, or the high ones; under a mask if it has one.
    """
    load = _do(_LOAD, _ARGUMENTS + 8 * index + 4 * high) + (_do(_AND, mask) if mask else b"")
    tests = [_do(_IF_EQUAL, value, len(values) - at) for at, value in enumerate(values)]
    return load + b"".join(tests) + REFUSED


def but(index: int, *values: int) -> bytes:
    """Check that an argument is none of some."""
    last = len(values) - 1
    tests = [_do(_IF_EQUAL, value, last - at, at == last) for at, value in enumerate(values)]
    return _do(_LOAD, _ARGUMENTS + 8 * index) + b"".join(tests) + REFUSED


def null(index: int) -> bytes:
    """Check that all 64 bits of an argument are 0."""
    return only(index, 0) + only(index, 0, high=True)


def has(index: int, bits: int) -> bytes:
    """Check that an argument has any of the bits."""
    return _do(_LOAD, _ARGUMENTS + 8 * index) + _do(_IF_BITS, bits, 1) + REFUSED


def lacks(index: int, bits: int) -> bytes:
    """Check that an argument has none of the bits."""
    return _do(_LOAD, _ARGUMENTS + 8 * index) + _do(_IF_BITS, bits, 0, 1) + REFUSED


def where(index: int, value: int, check: bytes) -> bytes:
    """A check that is made only where an argument has some value."""
    return _do(_LOAD, _ARGUMENTS + 8 * index) + _do(_IF_EQUAL, value, 0, len(check) // _SIZE) + check


def program(machine: str, blocks: list[tuple[int, bytes]]) -> bytes:
    """The filter of a machine: a block for the calls from each number on, in the order of the numbers, from 0 on."""
    start = _do(_LOAD, _ARCH) + _do(_IF_EQUAL, _AUDIT_ARCH[machine], 1) + REFUSED + _do(_LOAD, _NUMBER)
    return start + _tree([each for at, each in enumerate(blocks) if not at or each[1] != blocks[at - 1][1]])


def _tree(blocks: list[tuple[int, bytes]]) -> bytes:
    """The block of a number, found by halving.

    The kernel runs the filter for every number when it takes it, so a list would cost each worker 0.3 ms.
    """
    if len(blocks) == 1:
        return blocks[0][1]
    middle = len(blocks) // 2
    low, high = _tree(blocks[:middle]), _tree(blocks[middle:])
    return _do(_IF_AT_LEAST, blocks[middle][0], 0, 1) + _do(_JUMP, len(low) // _SIZE) + low + high
