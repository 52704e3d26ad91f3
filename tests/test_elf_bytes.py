"""The ELF reader on random and crafted bytes: a result or an ElfError, quickly and with little memory."""

from __future__ import annotations

import os
import signal
import struct
import tracemalloc
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hardpoint.elf.integrity import examine
from hardpoint.elf.reader import ElfError, ElfFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


def _read_everything(path: Path) -> None:
    """Read everything. ElfError if the file cannot be opened as a library at all."""
    with opened(path) as fd:
        ours = ElfFile(fd)
        for part in (ours.notes, ours.symbols, ours.versions_needed, ours.versions_defined, lambda: examine(ours)):
            with suppress(ElfError):
                part()


@contextmanager
def bounded(seconds: int = 10, memory: int = 64 << 20) -> Iterator[None]:
    """Fail if it takes seconds, or more memory than a small file justifies."""

    def hang(*_: object) -> None:
        raise TimeoutError

    previous = signal.signal(signal.SIGALRM, hang)
    signal.alarm(seconds)
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < memory
    finally:
        tracemalloc.stop()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


RELAXED = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@RELAXED
@given(st.binary(max_size=600))
def test_random_bytes_give_an_error_and_nothing_else(tmp_path: Path, data: bytes) -> None:
    for start in (b"", b"\x7fELF\x02\x01\x01" + bytes(9) + b"\3\0\x3e\0"):
        target = tmp_path / "random"
        target.write_bytes(start + data)
        with bounded(), pytest.raises(ElfError):
            _read_everything(target)


@RELAXED
@given(data=st.data())
def test_random_flips_give_a_result_or_an_error(english: Path, tmp_path: Path, data: st.DataObject) -> None:
    content, target = bytearray(english.read_bytes()), tmp_path / "flipped.so"
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.one_of(st.integers(0, 0x700), st.integers(0, len(content) - 1)))
        content[at] = data.draw(st.integers(0, 255))
    target.write_bytes(content)
    with bounded(), suppress(ElfError):
        _read_everything(target)


def _crafted(tmp_path: Path, tags: list[tuple[int, int]], body: bytes) -> Path:
    """A library of one segment: a dynamic section at 0x200, and `body` from 0x1000 on."""
    size = 0x1000 + len(body)
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 7, 0, 0, 0, size, size, 0x1000)
    table = b"".join(struct.pack("<QQ", *tag) for tag in [*tags, (0, 0)])
    dynamic = struct.pack("<IIQQQQQQ", 2, 6, 0x200, 0x200, 0, len(table), len(table), 8)
    target = tmp_path / "crafted.so"
    target.write_bytes((header + load + dynamic).ljust(0x200, b"\0") + table.ljust(0xE00, b"\0") + body)
    return target


MEBI = 1 << 20
NAMES = b"hardpoint_" * (MEBI // 10 - 1000)


@pytest.mark.parametrize(
    ("tags", "body"),
    [
        ([(5, 0x1000), (6, 0x1000), (10, MEBI // 2), (0x6FFFFFFE, 0x1000)],
         struct.pack("<HHIII", 1, 1, 1, 16, 16) * (MEBI // 16 - 300)),
        ([(5, 0x1000), (6, 0x1000), (10, MEBI // 2), (0x6FFFFFFE, 0x1000)], b"\1" * (MEBI - 0x2000)),
        ([(5, 0x1000), (6, 0x1000), (10, MEBI // 2), (0x6FFFFFFC, 0x1000)], b"\1" * (MEBI - 0x2000)),
        ([(5, 0x1000), (6, 0x1000), (10, len(NAMES)), *[(1, at) for at in range(4000)]][:200], NAMES),
        ([(5, 0x1000), (6, 0x1000), (10, 8), (4, 0x1000)],
         struct.pack("<II", 100000, 100000) + b"\1\0\0\0" * 200000),
        ([(5, 0x1000), (6, 0x1000), (10, 8), (0x6FFFFEF5, 0x1000)],
         struct.pack("<IIII", 1, 1, 1, 1) + bytes(8) + struct.pack("<I", 1) + bytes(MEBI - 0x3000)),
        ([(5, 0x1000), (6, 0x1000), (10, 9), (36, 0x1008), (35, MEBI - 0x3000), (37, 8)], b"\xff" * (MEBI - 0x2000)),
    ],
    ids=["needed", "needed-at-each-byte", "defined", "names-that-overlap", "hash", "gnu-hash", "packed"],
)  # fmt: skip
def test_crafted_counts_and_chains_end_soon(tmp_path: Path, tags: list[tuple[int, int]], body: bytes) -> None:
    target = _crafted(tmp_path, tags, body)
    with bounded(), opened(target) as fd, pytest.raises(ElfError):
        examine(ElfFile(fd))


def test_symbols_that_share_a_name_of_half_a_mebibyte(tmp_path: Path) -> None:
    symbols = b"".join(struct.pack("<IBBHQQ", at, 0x11, 0, 1, 0, 0) for at in range(20000))
    names = b"hardpoint_" * 50000 + b"\0"
    tags = [(4, 0x1000), (6, 0x1100), (5, 0x1100 + len(symbols)), (10, len(names))]
    body = struct.pack("<II", 1, 20000).ljust(0x100, b"\0") + symbols + names
    with bounded(), opened(_crafted(tmp_path, tags, body)) as fd:
        ours = ElfFile(fd)
        with pytest.raises(ElfError, match="too many overlapping names in a string table of 500001 bytes"):
            ours.symbols("hardpoint_")
