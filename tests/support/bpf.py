"""Interpret a seccomp filter (linux/filter.h) for a system call, also for another machine than this one."""

from __future__ import annotations

import errno
import struct
from functools import lru_cache

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7, "i386": 0x40000003, "arm": 0x40000028}
"""AUDIT_ARCH_* of linux/audit.h."""
MOST = 4096
"""Instructions that the kernel takes (BPF_MAXINSNS)."""
_DATA = struct.Struct("<IIQ6Q")  # struct seccomp_data: the call, the machine, an address, the arguments
_TESTS = {
    0x15: lambda accumulator, value: accumulator == value,
    0x25: lambda accumulator, value: accumulator > value,
    0x35: lambda accumulator, value: accumulator >= value,
    0x45: lambda accumulator, value: accumulator & value,
}


@lru_cache(32)
def _instructions(code: bytes) -> list[tuple[int, int, int, int]]:
    """Operation, both jumps of a test, and value of each."""
    return list(struct.iter_unpack("=HBBI", code))


def answer(code: bytes, machine: str, number: int, *arguments: int) -> str:
    """What the filter answers to a call: `allowed`, or the name of the errno."""
    given = [each & (1 << 64) - 1 for each in arguments] + [0] * (6 - len(arguments))
    data = _DATA.pack(number & 0xFFFFFFFF, ARCHITECTURES[machine], 0, *given)
    program, accumulator, at = _instructions(code), 0, 0
    while True:
        (operation, yes, no, value), at = program[at], at + 1
        if operation == 0x20:  # load a word
            accumulator = int.from_bytes(data[value : value + 4], "little")
        elif operation == 0x54:  # and
            accumulator &= value
        elif operation == 0x05:  # jump
            at += value
        elif operation == 0x06:  # return
            return "allowed" if value == 0x7FFF0000 else errno.errorcode[value - 0x50000]
        else:
            at += yes if _TESTS[operation](accumulator, value) else no
