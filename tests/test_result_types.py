"""Results are exactly what the contract says, and belong to the caller: no later call changes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from conftest import how
from probe import Probe

import hardpoint

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Fresh, Way

SIZES = [0, 1, 511, 1024, 16383, 16384, 16385, 70_000, 1 << 20]
"""Around the room that an hp_out has at first, the largest payload inside a frame, and what fits into shared memory."""


@pytest.fixture
def probe(probe_library: Path, fresh: Fresh, way: Way) -> Probe:
    return hardpoint.load(fresh(probe_library), Probe, **how(way))


def test_every_result_has_the_contracts_type(probe: Probe) -> None:
    loose: Any = probe
    assert type(probe.add(1, 2)) is int
    assert type(probe.half(3)) is float
    assert type(probe.negate(True)) is bool
    assert probe.flip(bytearray(b"x")) is None  # type: ignore[func-returns-value]
    assert type(probe.config()) is str
    for size in SIZES:
        assert type(probe.text("x" * size)) is str
        assert type(probe.text("é" * size)) is str
        assert type(probe.raw(b"x" * size)) is bytes
        assert type(loose.raw(bytearray(size))) is bytes
        assert type(loose.raw(memoryview(b"x" * size))) is bytes


def test_a_result_is_independent_of_later_calls(probe: Probe) -> None:
    """Memory that calls share must not be in it."""
    loose: Any = probe
    for size in SIZES:
        first, second = bytes([1]) * size, bytes([2]) * size
        given = bytearray(first)
        one, text = loose.raw(given), probe.text("a" * size)
        given[:] = second  # nor the argument's
        two, other = probe.raw(second), probe.text("b" * size)
        assert (one, two, text, other) == (first, second, "a" * size, "b" * size)
    one, text = probe.raw(b"a" * 70_000), probe.text("a" * 70_000)
    hardpoint.close(probe)
    assert (one, text) == (b"a" * 70_000, "a" * 70_000)


def test_arguments_are_left_alone(probe: Probe) -> None:
    """A call keeps no view of them, and changes only what the contract lets it."""
    for size in SIZES:
        data, text = bytes([3]) * size, "é" * size
        probe.raw(data)
        probe.text(text)
        assert (data, text) == (bytes([3]) * size, "é" * size)
        changed = bytearray(data)
        before = id(changed)
        assert probe.fill(changed, 4) == size
        assert (type(changed), id(changed), bytes(changed)) == (bytearray, before, bytes([4]) * size)
        changed.append(1)  # no call holds it any more


def test_an_errors_text_is_a_str(probe: Probe) -> None:
    for size in SIZES:
        with pytest.raises(hardpoint.CallError) as caught:
            probe.fail(300, "é" * size)
        error: Any = caught.value
        assert (type(error.text), error.text) == (str, "é" * size)
        assert type(error.status) is int
