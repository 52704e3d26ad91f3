"""Output and log records of isolated plugins go to `logging`, line by line, and never to the host's own output."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from conftest import IMPORTABLE
from hostile import Hostile
from processes import eventually, gone, workers

import hardpoint
from hardpoint.contracts import Greeter

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Compiler, RunPython

OUTPUT, RECORDS = "hardpoint.plugin.hostile.output", "hardpoint.plugin.hostile"


@pytest.fixture
def plugin(hostile_library: Path, caplog: pytest.LogCaptureFixture) -> Any:
    for name in ("hardpoint", "hardpoint.plugin"):
        caplog.set_level(logging.DEBUG, name)  # a command in the same process has set the latter's for good
    with hardpoint.loaded(hostile_library, Hostile, isolated=True) as plugin:
        yield plugin


def lines(caplog: pytest.LogCaptureFixture, name: str = OUTPUT) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == name]


def closed(plugin: Hostile, caplog: pytest.LogCaptureFixture, count: int, name: str = OUTPUT) -> list[str]:
    """Close the plugin, and return its lines once there are so many."""
    hardpoint.close(plugin)
    eventually(lambda: len(lines(caplog, name)) >= count)
    return lines(caplog, name)


def test_lines_of_both_become_records(plugin: Hostile, caplog: pytest.LogCaptureFixture) -> None:
    plugin.write("one\ntwo\n", 1)
    assert closed(plugin, caplog, 4) == ["one", "two"] * 2
    assert {record.levelno for record in caplog.records if record.name == OUTPUT} == {logging.INFO}


def test_a_line_comes_when_it_is_whole(plugin: Hostile, caplog: pytest.LogCaptureFixture) -> None:
    plugin.write("a", 2)
    plugin.write("b\nend", 1)
    assert eventually(lambda: lines(caplog))
    assert lines(caplog)[0] == "aaaab"
    assert closed(plugin, caplog, 3) == ["aaaab", "endb", "end"]  # the last line has no newline


def test_a_long_line_is_split_between_characters(plugin: Hostile, caplog: pytest.LogCaptureFixture) -> None:
    text = "x" + "\u20ac" * 30_000
    plugin.write(f"{text}\n", 1)
    eventually(lambda: sum(map(len, lines(caplog))) >= 2 * len(text))
    assert "".join(closed(plugin, caplog, 1)) == text * 2


@pytest.mark.parametrize("size", [1999, 2000, 2001, 10_000, 300_000])
@pytest.mark.parametrize("end", ["\n", ""], ids=["whole", "no-newline"])
def test_nothing_of_a_long_line_is_lost(plugin: Hostile, caplog: pytest.LogCaptureFixture, size: int, end: str) -> None:
    text = "".join(chr(97 + at % 26) for at in range(size))
    plugin.write(text + end, 1)
    hardpoint.close(plugin)
    eventually(lambda: sum(map(len, lines(caplog))) == 2 * size, 5)
    got = lines(caplog)
    assert "".join(got) == text * 2
    assert max(map(len, got)) <= 2000


def test_bytes_that_are_not_utf8_or_drive_a_terminal_are_escaped(
    compiler: Compiler, caplog: pytest.LogCaptureFixture
) -> None:
    """Texts of a contract are UTF-8; the output of printf need not be."""
    caplog.set_level(logging.DEBUG, "hardpoint")
    compiler.header(Hostile)
    code = """
#include <unistd.h>
#include "hostile.h"
static hp_status count(void *self, int64_t *result, hp_out *out) {
    (void)self, (void)out;
    *result = write(1, "\\xff\\0\\x1b[31m\\xc3\\xa9\\r\\n", 11);
    return HP_OK;
}
static hp_status text(void *self, hp_out *out) { (void)self, (void)out; return HP_OK; }
static hp_status harm(void *self, const char *a, size_t b, hp_out *out) { (void)a, (void)b; return text(self, out); }
static hp_status put(void *self, const char *a, size_t b, int64_t c, hp_out *out) { (void)c; return harm(self, a, b, out); }
static hp_status nap(void *self, int64_t a, int64_t *b, hp_out *out) { (void)a, (void)b; return text(self, out); }
static hp_status chat(void *self, int64_t a, const char *b, size_t c, int64_t d, hp_out *out) {
    (void)a;
    return put(self, b, c, d, out);
}
HOSTILE_PLUGIN("hostile", "1", .harm = harm, .write = put, .count = count, .pid = count, .release = text, .nap = nap,
               .chat = chat);
"""
    plugin = hardpoint.load(compiler.text("bytes", code), Hostile, isolated=True)
    assert plugin.count() == 11
    assert closed(plugin, caplog, 1) == [r"\xff\x00\x1b[31mé\r"]


def test_log_records_keep_their_level_and_name(plugin: Hostile, caplog: pytest.LogCaptureFixture) -> None:
    plugin.chat(30, "é: ein Wort", 1)
    plugin.chat(10, "leise", 1)
    closed(plugin, caplog, 2, RECORDS)
    assert caplog.record_tuples == [(RECORDS, 30, "é: ein Wort"), (RECORDS, 10, "leise")]


def test_a_record_just_before_a_crash_arrives_and_so_do_later_ones_of_others(
    hostile_library: Path, plugin: Hostile, caplog: pytest.LogCaptureFixture
) -> None:
    class Slow(logging.Handler):
        """A handler that is busy with a line when the record and the worker's end arrive."""

        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage() == "a line":
                time.sleep(0.2)

    slow = Slow()
    logging.getLogger(OUTPUT).addHandler(slow)
    try:
        with pytest.raises(hardpoint.CrashedError):
            plugin.harm("log")
        assert eventually(lambda: lines(caplog, RECORDS) == ["a record, and nothing after it"], 5)
        with hardpoint.loaded(hostile_library, Hostile, isolated=True) as other:
            other.write("still read\n", 1)
        assert eventually(lambda: "still read" in lines(caplog), 5)
    finally:
        logging.getLogger(OUTPUT).removeHandler(slow)


def test_more_records_than_are_read_are_dropped_and_counted(plugin: Hostile, caplog: pytest.LogCaptureFixture) -> None:
    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002 - a Handler's
            time.sleep(0.001)

    slow = Slow()
    logging.getLogger("hardpoint").addHandler(slow)
    try:
        plugin.chat(30, "x" * 500, 20_000)
    finally:
        logging.getLogger("hardpoint").removeHandler(slow)
    seen = len(closed(plugin, caplog, 1, RECORDS))
    dropped = "hardpoint.plugin"
    assert eventually(
        lambda: len(lines(caplog, RECORDS)) + sum(int(line.split()[0]) for line in lines(caplog, dropped)) == 20_000
    ), (seen, lines(caplog, dropped))
    assert len(lines(caplog, RECORDS)) < 20_000
    [line] = lines(caplog, dropped)
    assert line.endswith(" log records of hostile were dropped, since they came too fast")


def test_records_that_are_waiting_when_the_worker_ends_are_not_lost(
    plugin: Hostile, caplog: pytest.LogCaptureFixture
) -> None:
    ended = threading.Event()

    class Late(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002 - a Handler's
            ended.wait(20)

    late = Late()
    logging.getLogger(RECORDS).addHandler(late)
    try:
        plugin.chat(30, "x", 1000)  # the socket holds more of them than are read at once
        [pid] = workers(plugin)
        hardpoint.close(plugin)
        assert gone(pid)
    finally:
        ended.set()
        logging.getLogger(RECORDS).removeHandler(late)
    dropped = "hardpoint.plugin"
    assert eventually(
        lambda: len(lines(caplog, RECORDS)) + sum(int(line.split()[0]) for line in lines(caplog, dropped)) == 1000
    ), (len(lines(caplog, RECORDS)), lines(caplog, dropped))


FLOOD = f"""
import logging, resource, sys
sys.path[:0] = {IMPORTABLE!r}
import hardpoint
from hardpoint.contracts import Greeter
from hostile import Hostile

class Count(logging.Handler):
    seen = 0
    def emit(self, record): Count.seen += 1

logger = logging.getLogger("hardpoint")
logger.addHandler(Count()); logger.setLevel(1); logger.propagate = False
plugin = hardpoint.load(LIBRARY, Hostile, isolated=hardpoint.Isolation(timeout=TIMEOUT))
plugin.write("warm\\n", 1000)
"""


def flood(hostile_library: Path, timeout: float, code: str) -> str:
    return FLOOD.replace("LIBRARY", repr(str(hostile_library))).replace("TIMEOUT", str(timeout)) + code


def test_a_flood_does_not_fill_the_hosts_memory(hostile_library: Path, run_python: RunPython) -> None:
    code = flood(hostile_library, 1.5, """
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    plugin.harm("flood")
except hardpoint.TimedOutError as error:
    print("timed out")
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(plugin.count(), Count.seen > 10_000, "grew" if after - before > 16384 else "bounded")
""")  # fmt: skip
    assert run_python(code).stdout == "timed out\n1 True bounded\n"


def test_a_flood_without_newlines_is_bounded_too(hostile_library: Path, run_python: RunPython) -> None:
    code = flood(hostile_library, 60, """
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
plugin.write("x" * 10_000_000, 5)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(Count.seen > 40_000, "grew" if after - before > 50_000 else "bounded")
""")  # fmt: skip
    assert run_python(code).stdout == "True bounded\n"


def test_the_hosts_own_output_gets_nothing(hostile_library: Path, run_python: RunPython) -> None:
    """Not on success, not after a crash, and not when the host exits."""
    code = f"""
import sys
sys.path[:0] = {IMPORTABLE!r}
import hardpoint
from hardpoint.contracts import Greeter
from hostile import Hostile
plugin = hardpoint.load({str(hostile_library)!r}, Hostile, isolated=True)
plugin.write("secret\\n", 5)
for what in ("last words", "segv", "exit", "close", "babble"):
    try:
        print(plugin.harm(what))
    except hardpoint.CrashedError:
        print("crashed")
other = hardpoint.load({str(hostile_library)!r}, Hostile, isolated=True)
other.write("at the end", 1)
"""
    done = run_python(code)
    assert (done.stdout, done.stderr) == ("crashed\n" * 3 + "alive\n" * 2, "")


def test_output_before_the_host_ends_arrives(hostile_library: Path, run_python: RunPython) -> None:
    code = f"""
import logging, sys
sys.path[:0] = {IMPORTABLE!r}
import hardpoint
from hardpoint.contracts import Greeter
from hostile import Hostile
logging.basicConfig(level=1, stream=sys.stdout, format="%(name)s %(levelname)s %(message)s")
plugin = hardpoint.load({str(hostile_library)!r}, Hostile, isolated=True)
plugin.write("a line\\n", 1)
plugin.chat(40, "a record", 1)
"""
    done = run_python(code)
    assert sorted(done.stdout.splitlines()) == sorted([f"{OUTPUT} INFO a line"] * 2 + [f"{RECORDS} ERROR a record"])


def test_a_handler_that_raises_stops_nothing(hostile_library: Path, run_python: RunPython) -> None:
    code = f"""
import logging, sys, threading, time
sys.path[:0] = {IMPORTABLE!r}
import hardpoint
from hardpoint.contracts import Greeter
from hostile import Hostile
seen, raised = [], []
threading.excepthook = lambda args: raised.append(args.exc_type.__name__)
class Odd(logging.Handler):
    def handle(self, record):
        seen.append(record.getMessage())
        if len(seen) == 1:
            raise ZeroDivisionError
logger = logging.getLogger("hardpoint.plugin")
logger.addHandler(Odd()); logger.setLevel(1)
plugin = hardpoint.load({str(hostile_library)!r}, Hostile, isolated=True)
plugin.chat(40, "first", 1)
while not raised: time.sleep(0.01)
plugin.chat(40, "second", 1)
while len(seen) < 2: time.sleep(0.01)
print(seen, raised)
"""
    assert run_python(code).stdout == "['first', 'second'] ['ZeroDivisionError']\n"


LAST = """
#include <stdlib.h>
#include <unistd.h>
#include "greeter.h"
static hp_status greet(void *self, const char *name, size_t name_len, hp_out *out) {
    (void)self, (void)out;
    if (write(1, name, name_len) < 0) return HP_FAILED;
    _exit(4);
}
static hp_status lang(void *self, hp_out *out) { return (void)self, hp_puts(out, "English"); }
GREETER_PLUGIN("last", "1.0.0", .greet = greet, .lang = lang);
"""


def test_a_handler_that_raises_on_the_last_line_and_a_hook_that_raises(
    compiler: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line without an end was read for ever; a hook that raised ended the thread that reads for all plugins."""
    said: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())
            raise ValueError("a handler that fails")

    def hook(_: threading.ExceptHookArgs) -> None:
        raise SystemExit(3)

    monkeypatch.setattr(threading, "excepthook", hook)
    logger = logging.getLogger("hardpoint.plugin.last.output")
    handler = Handler()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    last = compiler.text("last", LAST)
    try:
        for _ in range(2):
            with (
                hardpoint.loaded(last, Greeter, isolated=True) as plugin,
                pytest.raises(hardpoint.CrashedError) as caught,
            ):
                plugin.greet("boom")
            assert caught.value.stderr == "boom"
        time.sleep(0.1)
    finally:
        logger.removeHandler(handler)
    assert said == ["boom", "boom"]
