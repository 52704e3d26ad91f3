"""What docs/abi.md promises to a plugin: what the host passes, and what it does with what comes back."""

from __future__ import annotations

import ctypes
import logging
import threading
import time
from typing import TYPE_CHECKING, Protocol

import pytest
from conftest import how

import hardpoint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Compiler, Fresh, Way


@hardpoint.contract("promises", version="1.0")
class Promises(Protocol):
    def look(self, text: str, data: hardpoint.Buffer, change: hardpoint.WritableBuffer, flag: bool) -> int: ...
    def half(self) -> float: ...
    def two(self) -> bool: ...
    def most(self) -> str: ...
    def rubbish(self) -> None: ...
    def add(self, times: int) -> int: ...
    def destroyed(self) -> int: ...
    def beyond(self, status: int) -> str: ...
    def report(self) -> str: ...


@pytest.fixture
def library(compiler: Compiler, fresh: Fresh) -> Path:
    compiler.header(Promises)
    return fresh(compiler.library("promises.c", "-pthread"))


@pytest.fixture
def plugin(library: Path, way: Way) -> Iterator[Promises]:
    with hardpoint.loaded(library, Promises, **how(way)) as made:
        yield made


def test_a_plugin_gets_what_the_page_promises(plugin: Promises) -> None:
    for text in ("", "é\0", "x" * 100_000):
        assert plugin.look(text, text.encode(), bytearray(text, "utf-8"), text == "") == 1
    assert plugin.half() == 0.5
    with pytest.raises(hardpoint.CallError) as caught:
        plugin.most()
    assert caught.value.status == 4
    assert plugin.report() == ""


def test_a_bool_result_is_a_bool_whatever_the_byte_is(plugin: Promises) -> None:
    assert plugin.two() is True


def test_a_failed_create_is_not_destroyed(plugin: Promises, library: Path, way: Way) -> None:
    with pytest.raises(hardpoint.CreateError, match="refused, with something in"):
        hardpoint.load(library, Promises, config="x", **how(way))
    assert plugin.destroyed() == 0


@pytest.mark.parametrize("status", [0, 1, 65535])
def test_a_length_beyond_the_capacity_is_a_violation_after_failures_too(plugin: Promises, status: int) -> None:
    with pytest.raises(
        hardpoint.ContractBrokenError, match=r"beyond says that it wrote \d+ bytes where there was room"
    ):
        plugin.beyond(status)


@pytest.mark.parametrize(
    ("config", "broken"), [("-", "create returned the status -1"), (">", "create says that it wrote")]
)
def test_a_create_is_held_to_the_same_rules(library: Path, way: Way, config: str, broken: str) -> None:
    with pytest.raises(hardpoint.ContractBrokenError, match=broken):
        hardpoint.load(library, Promises, config=config, **how(way))


def test_rubbish_in_the_log_is_ignored_or_shown(plugin: Promises, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        plugin.rubbish()
        deadline = time.monotonic() + 10
        while "the end" not in caplog.messages and time.monotonic() < deadline:
            time.sleep(0.005)
    shown = [record.getMessage() for record in caplog.records if record.name == "hardpoint.plugin.promises"]
    assert (len(shown), shown[0][:3], shown[-1]) == (2, "caf", "the end")


def test_serial_calls_see_what_the_one_before_wrote(plugin: Promises) -> None:
    threads = [threading.Thread(target=lambda: [plugin.add(1000) for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert plugin.add(0) == 4 * 50 * 1000


def test_a_library_is_opened_for_itself_alone(library: Path) -> None:
    """RTLD_LOCAL: its symbols are no other library's."""
    hardpoint.close(hardpoint.load(library, Promises))
    with pytest.raises(AttributeError):
        _ = ctypes.CDLL(None).hardpoint_promises_v1
    _ = ctypes.CDLL(str(library)).hardpoint_promises_v1
