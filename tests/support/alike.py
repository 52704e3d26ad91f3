"""Tests of the plugins for the contract `kinds`; each language's test file inherits the class.

The test file has two fixtures: `kinds`, the library, and `plugin`, which is loaded from it with the config `é`.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from conftest import how
from kinds import Kinds
from processes import eventually, silence

import hardpoint

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Fresh, Way


class Alike:
    logged: tuple[tuple[int, str], ...]
    """Levels and texts of the records that an instance without a config logs: in create, `fail("log")` and destroy."""

    def test_every_type_is_passed_and_returned(self, plugin: Kinds) -> None:
        assert (plugin.text("日本\0"), plugin.text(""), plugin.text("x" * 10_000)) == ("日本\0", "", "x" * 10_000)
        assert (plugin.raw(b"\xff\0x"), plugin.raw(b""), plugin.raw(bytes(100_000))) == (
            b"\xff\0x",
            b"",
            bytes(100_000),
        )
        value = bytearray(b"\x01\x80")
        plugin.flip(value)
        plugin.flip(bytearray())
        assert value == b"\xfe\x7f"
        assert (plugin.half(3.0), plugin.negate(True), plugin.unnamed(5, 3)) == (1.5, False, 2)

    def test_eight_parameters(self, plugin: Kinds) -> None:
        filled = bytearray(3)
        text = plugin.all(-1, 2.5, True, "é", b"\1\2", 3.5, 4, filled)
        assert text == "-1 2.500000 true é [1, 2] 3.500000 4 [1, 7, 7]"
        assert filled == b"\1\7\7"
        assert plugin.all(0, 0.5, False, "", b"", 1.5, 0, bytearray()) == "0 0.500000 false  [] 1.500000 0 []"
        assert plugin.all(0, 0.5, False, "", b"", 1.5, 0, bytearray(1)) == "0 0.500000 false  [] 1.500000 0 [9]"

    def test_two_buffers_of_a_call_may_be_the_same_memory(self, plugin: Kinds) -> None:
        value = bytearray(b"abcdef")
        assert plugin.join(memoryview(value)[:5], memoryview(value)[1:]) == 5  # type: ignore[arg-type]
        assert value == b"aabcde"

    def test_names_that_are_keywords_in_other_languages(self, plugin: Kinds) -> None:
        assert plugin.fn(100, crate=1, crate_=2, Some=3, match=4, defer=5, func=6, var=7) == 72
        plugin.Self()

    def test_a_since_method_exists_if_it_is_implemented(self, plugin: Kinds) -> None:
        assert (plugin.comptime(), plugin.go(1)) == ("the contract's", 2)

    def test_an_author_defined_status(self, plugin: Kinds) -> None:
        with pytest.raises(hardpoint.CallError, match=r"unnamed failed with status 263 .*: too far apart$"):
            plugin.unnamed(-(2**63), 1)

    def test_create_takes_the_config_or_refuses_it(self, kinds: Path, fresh: Fresh, way: Way) -> None:
        path = fresh(kinds)
        refusal = r"create failed with status 2 \(HP_INVALID\): the config says refuse$"
        with pytest.raises(hardpoint.CreateError, match=refusal):
            hardpoint.load(path, Kinds, config="refuse", **how(way))
        for given, result in ((None, "absent"), ("", "config: "), ("é", "config: é")):
            with hardpoint.loaded(path, Kinds, config=given, **how(way)) as plugin:
                assert plugin.config() == result

    def test_threads_share_an_instance(self, plugin: Kinds) -> None:
        with ThreadPoolExecutor(8) as pool:
            counts = list(pool.map(lambda _: plugin.count(), range(1000)))
        assert sorted(counts) == list(range(1, 1001))

    def test_it_logs_and_its_instance_is_destroyed(
        self, kinds: Path, fresh: Fresh, way: Way, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.DEBUG):
            silence(caplog)
            with hardpoint.loaded(fresh(kinds), Kinds, **how(way)) as plugin:
                plugin.fail("log")
            eventually(lambda: "ended" in caplog.messages)
        records = [record for record in caplog.records if record.name.startswith("hardpoint.plugin")]
        assert [(record.name, record.levelno, record.message) for record in records] == [
            ("hardpoint.plugin.kinds", level, text) for level, text in self.logged
        ]
