"""The ELF reader on random and crafted bytes: a result or an ElfError, quickly and with little memory."""

from __future__ import annotations

import os
import re
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


MACHINE = {"x86_64": 62, "aarch64": 183}[os.uname().machine]


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
def bounded(seconds: int = 60, memory: int = 64 << 20) -> Iterator[None]:
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


RELAXED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
EXAMPLES = pytest.mark.parametrize("examples", [30, pytest.param(300, marks=pytest.mark.long)])


@EXAMPLES
def test_random_bytes_give_an_error_and_nothing_else(tmp_path: Path, examples: int) -> None:
    target = tmp_path / "random"

    @settings(RELAXED, max_examples=examples)
    @given(st.binary(max_size=600))
    def hold(data: bytes) -> None:
        for start in (b"", b"\x7fELF\x02\x01\x01" + bytes(9) + b"\3\0\x3e\0"):
            target.write_bytes(start + data)
            with bounded(), pytest.raises(ElfError):
                _read_everything(target)

    hold()


@EXAMPLES
def test_random_flips_give_a_result_or_an_error(english: Path, tmp_path: Path, examples: int) -> None:
    whole, target = english.read_bytes(), tmp_path / "flipped.so"
    places = st.one_of(st.integers(0, 0x700), st.integers(0, len(whole) - 1))

    @settings(RELAXED, max_examples=examples)
    @given(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=8))
    def hold(changes: list[tuple[int, int]]) -> None:
        content = bytearray(whole)
        for at, byte in changes:
            content[at] = byte
        target.write_bytes(content)
        with bounded(), suppress(ElfError):
            _read_everything(target)

    hold()


def _crafted(
    tmp_path: Path, tags: list[tuple[int, int]], body: bytes, *, sparse: int = 0, symbols: int | None = None
) -> Path:
    """A library of one segment: a dynamic section at 0x200, and `body` from 0x1000 on, up to its end.

    `sparse` is the size of the file, most of it a hole; `symbols` the number that a section header gives.
    """
    size = max(0x1000 + len(body), sparse)
    sections = 0 if symbols is None else 2
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 3, MACHINE, 1, 0, 64, 0x400, 0, 64, 56, 2, 64, sections, 0
    )
    load = struct.pack("<IIQQQQQQ", 1, 7, 0, 0, 0, size, size, 0x1000)
    table = b"".join(struct.pack("<QQ", *tag) for tag in [*tags, (0, 0)])
    dynamic = struct.pack("<IIQQQQQQ", 2, 6, 0x200, 0x200, 0, len(table), len(table), 8)
    target = tmp_path / "crafted.so"
    table = table.ljust(0x240, b"\0") + struct.pack("<4xIQQQQ24x", 11, 0, dict(tags).get(6, 0), 0, 24 * (symbols or 0))
    target.write_bytes((header + load + dynamic).ljust(0x200, b"\0") + table.ljust(0xE00, b"\0") + body)
    os.truncate(target, size)
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


SPARSE = 2_000_000_000
STRINGS, SYMBOLS, HASH, GNU_HASH = (5, 0x1000), (6, 0x1100), (4, 0x1800), (0x6FFFFEF5, 0x1800)
PLAIN = [STRINGS, SYMBOLS, (10, 9), HASH]
ONE_SYMBOL = struct.pack("<II", 1, 1).rjust(0x808, b"\0")


@pytest.mark.parametrize(
    ("tags", "body", "symbols"),
    [
        ([STRINGS, SYMBOLS, (10, 1_900_000_000), HASH], ONE_SYMBOL, None),
        ([*PLAIN, (7, 0x2000), (8, 1_900_000_032), (9, 24)], ONE_SYMBOL, None),
        ([*PLAIN, (23, 0x2000), (2, 1_900_000_032), (20, 7)], ONE_SYMBOL, None),
        ([*PLAIN, (36, 0x2000), (35, 1_900_000_000), (37, 8)], ONE_SYMBOL, None),
        (PLAIN, ONE_SYMBOL, 70_000_000),
        (PLAIN, struct.pack("<II", 1, 70_000_000).rjust(0x808, b"\0"), None),
        (PLAIN, struct.pack("<II", 400_000_000, 1).rjust(0x808, b"\0"), None),
        ([STRINGS, SYMBOLS, (10, 9), GNU_HASH], struct.pack("<IIII", 400_000_000, 1, 1, 1).rjust(0x810, b"\0"), None),
        ([STRINGS, SYMBOLS, (10, 9), GNU_HASH], struct.pack("<IIII", 1, 1, 1 << 27, 1).rjust(0x810, b"\0"), 1),
        ([STRINGS, SYMBOLS, (10, 9), GNU_HASH], struct.pack("<IIIIQI", 1, 1, 1, 1, 0, 1).rjust(0x81C, b"\0"), None),
        ([*PLAIN, *[(1, 1)] * 3, *[(0x7FFFFFFD, 1)] * 200, *[(1, 1)] * 400], ONE_SYMBOL, None),
    ],
    ids=[
        *("strings", "RELASZ", "PLTRELSZ", "RELRSZ", "symbols-by-section", "symbols-by-hash", "buckets", "gnu-buckets"),
        *("gnu-filter", "gnu-chain", "needed"),
    ],
)
def test_a_sparse_file_is_refused_without_being_read(
    tmp_path: Path, tags: list[tuple[int, int]], body: bytes, symbols: int | None
) -> None:
    """20 KiB on disk, and tables of gigabytes: more than those of LLVM's or PyTorch's libraries by far."""
    target = _crafted(tmp_path, tags, body, sparse=SPARSE, symbols=symbols)
    assert target.stat().st_blocks * 512 < 32768
    with bounded(memory=16 << 20), opened(target) as fd, pytest.raises(ElfError) as caught:
        examine(ElfFile(fd))
    assert caught.value.code == "elf-too-large", caught.value
    assert re.fullmatch(r"[0-9]+ .*, where at most [0-9]+ are read", str(caught.value))


def test_notes_of_gigabytes(tmp_path: Path) -> None:
    target = _crafted(tmp_path, PLAIN, ONE_SYMBOL, sparse=SPARSE)
    with target.open("r+b") as file:
        file.seek(64 + 112)
        file.write(struct.pack("<IIQQQQQQ", 4, 4, 0x2000, 0x2000, 0, 1_900_000_000, 1_900_000_000, 4))
        file.seek(56)
        file.write(struct.pack("<H", 3))
    with bounded(memory=16 << 20), opened(target) as fd, pytest.raises(ElfError, match="bytes of notes"):
        ElfFile(fd).notes()


@pytest.mark.parametrize(("last", "fits"), [(4, True), (5, False)])
def test_a_gnu_hash_table_without_room_for_its_last_symbol(tmp_path: Path, last: int, fits: bool) -> None:
    """ld.so takes it to have a word for each symbol from the first on, though a chain ends before."""
    symbols = bytes(24) + struct.pack("<IBBHQQ", 0, 0x12, 0, 0, 0, 0) * 4
    table = struct.pack("<IIIIQI", 1, 1, 1, 1, 0, 1) + struct.pack("<II", 1, 1) + bytes(4)
    body = bytes(0x100) + symbols.ljust(0x700, b"\0") + table
    target = _crafted(tmp_path, [STRINGS, SYMBOLS, (10, 9), GNU_HASH], body, symbols=last)
    with opened(target) as fd:
        ours = ElfFile(fd)
        assert ours.symbol_count == last
        if fits:
            examine(ours)
        else:
            with pytest.raises(ElfError, match=r"^a GNU hash table that points out of its segment$"):
                examine(ours)
