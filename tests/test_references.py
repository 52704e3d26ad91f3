"""No call leaves anything behind: each path is counted to the object, over every binding."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from probe import Probe
from processes import workers

import hardpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from conftest import Binding, Compiler, Fresh

CALLS = 100
"""For each path. Up to 65 blocks came and went by themselves; a leak of one object a call is 100."""
EXPECTED = (hardpoint.HardpointError, TypeError, ValueError, OverflowError, ZeroDivisionError)


class Index:
    """An object with __index__."""

    def __index__(self) -> int:
        return 1 << 40


class Half:
    """An object with __float__."""

    def __float__(self) -> float:
        return 1.5


class Raises:
    """An object whose conversions raise."""

    def __index__(self) -> int:
        raise ZeroDivisionError

    def __float__(self) -> float:
        raise ZeroDivisionError


class Int(int):
    pass


DATA, LONG, NON_ASCII, LATIN = bytearray(b"x" * 100), b"x" * 3000, "é" * 5000, "é" * 20
STRIDED = memoryview(b"abcdef")[::2]

PATHS: dict[str, Callable[[Any], object]] = {
    "text": lambda probe: probe.text("World"),
    "text-empty": lambda probe: probe.text(""),
    "text-non-ascii": lambda probe: probe.text(LATIN),
    "text-fresh-non-ascii": lambda probe: probe.text(LATIN + "x"),
    "text-long": lambda probe: probe.text(NON_ASCII),
    "text-keyword": lambda probe: probe.text(value="World"),
    "text-on-the-class": lambda probe: type(probe).text(probe, "x"),
    "text-self-keyword": lambda probe: type(probe).text(self=probe, value="x"),
    "text-bound": lambda probe: [probe.text, probe.raw, type(probe).text],
    "text-wrong": lambda probe: probe.text(5),
    "text-none": lambda probe: probe.text(value=None),
    "text-missing": lambda probe: probe.text(),
    "text-surplus": lambda probe: probe.text("a", "b"),
    "text-unknown-keyword": lambda probe: probe.text(name="x"),
    "text-twice": lambda probe: probe.text("x", value="y"),
    "text-wrong-self": lambda probe: type(probe).text(5, "x"),
    "text-without-self": lambda probe: type(probe).text(),
    "text-surrogate": lambda probe: probe.text("\ud800"),
    "text-long-surrogate": lambda probe: probe.text("\ud800" + NON_ASCII),
    "raw": lambda probe: probe.raw(LONG),
    "raw-keyword": lambda probe: probe.raw(value=LONG),
    "raw-bytearray": lambda probe: probe.raw(DATA),
    "raw-view": lambda probe: probe.raw(memoryview(LONG)[5:9]),
    "raw-empty": lambda probe: probe.raw(b""),
    "raw-empty-bytearray": lambda probe: probe.raw(bytearray()),
    "raw-wrong": lambda probe: probe.raw("x"),
    "raw-strided": lambda probe: probe.raw(STRIDED),
    "view": lambda probe: probe.view(DATA),
    "flip": lambda probe: probe.flip(DATA),
    "flip-read-only": lambda probe: probe.flip(b"x"),
    "flip-empty": lambda probe: probe.flip(bytearray()),
    "fill": lambda probe: probe.fill(DATA, 7),
    "fill-keywords": lambda probe: probe.fill(byte=7, value=DATA),
    "fill-refused": lambda probe: probe.fill(DATA, 300),
    "fill-wrong-last": lambda probe: probe.fill(DATA, "x"),
    "fill-wrong-last-keyword": lambda probe: probe.fill(byte="x", value=DATA),
    "add": lambda probe: probe.add(1 << 40, 5),
    "add-minus-one": lambda probe: probe.add(-1, 0),
    "add-index": lambda probe: probe.add(Index(), 1),
    "add-subclass": lambda probe: probe.add(Int(1 << 40), 1),
    "add-raises": lambda probe: probe.add(1, Raises()),
    "add-overflow": lambda probe: probe.add(1 << 64, 1),
    "add-wrong": lambda probe: probe.add(1, "2"),
    "half": lambda probe: probe.half(1.25),
    "half-minus-two": lambda probe: probe.half(-2.0),
    "half-of-int": lambda probe: probe.half(1 << 40),
    "half-object": lambda probe: probe.half(Half()),
    "half-raises": lambda probe: probe.half(Raises()),
    "half-overflow": lambda probe: probe.half(10**400),
    "half-wrong": lambda probe: probe.half("1"),
    "negate": lambda probe: probe.negate(True),
    "negate-wrong": lambda probe: probe.negate(1),
    "mixed": lambda probe: probe.mixed(1 << 40, 2.5, "c", True, b"e", DATA, 0.125, 7),
    "mixed-keywords": lambda probe: probe.mixed(h=1, g=2.5, f=DATA, e=b"", d=False, c="", b=3, a=4),
    "mixed-wrong-last": lambda probe: probe.mixed(1, 2.5, NON_ASCII, True, memoryview(b"e"), DATA, 0.125, None),
    "mixed-missing": lambda probe: probe.mixed(1, 2.5, "c", True, b"e", DATA, 0.125),
    "unnamed": lambda probe: probe.unnamed(1 << 40, 3),
    "unnamed-keywords": lambda probe: probe.unnamed(left=1, right=2),
    "repeat": lambda probe: probe.repeat("x" * 500, 5),
    "repeat-large": lambda probe: probe.repeat("x" * 5000, 50),
    "repeat-non-ascii": lambda probe: probe.repeat("é" * 500, 5),
    "fail": lambda probe: probe.fail(1, "because é"),
    "fail-own": lambda probe: probe.fail(300, ""),
    "fail-long": lambda probe: probe.fail(1, "x" * 5000),
    "not-utf-8": lambda probe: probe.break_rule("utf-8"),
    "length": lambda probe: probe.break_rule("length"),
    "status-negative": lambda probe: probe.break_rule("status-negative"),
    "status-large": lambda probe: probe.break_rule("status-large"),
    "changed": lambda probe: probe.break_rule("pointer"),
    "grow-ignored": lambda probe: probe.break_rule("grow-ignored"),
    "no-memory": lambda probe: probe.break_rule("no-memory"),
    "huge-length": lambda probe: probe.break_rule("huge-length"),
    "info": hardpoint.info,
    "close": lambda probe: hardpoint.close(load_again(probe)),
    "create-with-config": lambda probe: load_again(probe, config="x" * 100),
    "create-fails": lambda probe: load_again(probe, config="refuse"),
    "closed": lambda probe: closed(probe).text("x"),
    "closed-keyword": lambda probe: closed(probe).text(value="x"),
}  # fmt: skip
"""Each way through a call: with success, with keywords, and with each error."""


def load_again(probe: object, **options: Any) -> Probe:
    info = hardpoint.info(probe)
    return hardpoint.load(info.path, Probe, binding=info.binding, **options)  # type: ignore[arg-type]


def closed(probe: object) -> Any:
    made = load_again(probe)
    hardpoint.close(made)
    return made


class Mallinfo(ctypes.Structure):
    """struct mallinfo of mallinfo(3), which glibc has in every version."""

    _fields_ = tuple((name, ctypes.c_int) for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks "
                     "fordblks keepcost".split())  # fmt: skip


mallinfo = ctypes.CDLL(None).mallinfo
mallinfo.restype = Mallinfo


def held() -> tuple[int, int]:
    """Return the blocks that Python has allocated, and the bytes of malloc that are in use."""
    told = mallinfo()
    return sys.getallocatedblocks(), told.uordblks + told.hblkhd


def left(function: Callable[[Any], object], probe: Probe, objects: Sequence[object], calls: int) -> dict[str, int]:
    """Return what calls leave behind: blocks of Python, bytes of malloc, and references to existing objects."""

    def work(count: int) -> None:
        for _ in range(count):
            with suppress(*EXPECTED):
                function(probe)

    work(calls // 5)
    gc.collect()
    references = [sys.getrefcount(each) for each in objects]
    before = held()
    work(calls)
    gc.collect()
    after = held()
    found = {f"{str(each)[:40]}": sys.getrefcount(each) - then for each, then in zip(objects, references, strict=True)}
    found["blocks"] = after[0] - before[0]
    found["bytes"] = max(0, after[1] - before[1]) // 32
    return {name: change for name, change in found.items() if abs(change) >= calls // 2}


def leak(function: Callable[[Any], object], probe: Probe, objects: Sequence[object] = ()) -> dict[str, int]:
    """Return the same, if it is seen three times, each time with more calls: lists of free blocks fill up as well."""
    found: dict[str, int] = {}
    for calls in (CALLS, 3 * CALLS, 9 * CALLS):
        found = left(function, probe, objects, calls)
        if not found:
            break
    return found


@pytest.fixture(autouse=True)
def few_objects() -> Iterator[None]:
    """Have the collector skip what exists already: it takes 20 ms for all objects of a test run."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def probe(probe_library: Path, fresh: Fresh, binding: Binding) -> Probe:
    return hardpoint.load(fresh(probe_library), Probe, binding=binding)


def test_no_call_leaves_anything_behind(probe: Probe) -> None:
    mine: Any = type(probe)
    objects: list[Any] = [probe, mine, vars(mine)["text"], vars(mine)["raw"], DATA, LONG, NON_ASCII, LATIN, STRIDED,
                          Index, Half, Raises, Int, hardpoint.CallError, TypeError, OverflowError]  # fmt: skip
    if sys.version_info < (3, 12):  # later ones count no references to these
        objects += [None, True, False, "", b"", 5, 7]
    found = {name: leak(function, probe, objects) for name, function in PATHS.items()}
    assert {name: each for name, each in found.items() if each} == {}


def test_every_call_lets_go_of_its_instance_and_its_buffers(probe: Probe) -> None:
    """Also while its error is kept, whose traceback keeps the frames of the call alive."""
    kept: list[BaseException] = []
    for name, function in PATHS.items():
        subject = load_again(probe)
        assert probe.instances() == 2, name
        try:
            function(subject)
        except EXPECTED as error:
            kept.append(error)
        DATA.append(0)  # a buffer that is still held would refuse
        DATA.pop()
        hardpoint.close(subject)
        assert probe.instances() == 1, name
    assert len(kept) > 20


def test_a_turn_leaves_nothing(compiler: Compiler, probe_library: Path, fresh: Fresh, binding: Binding) -> None:
    """Calls one at a time (HP_SERIAL), with success and with an error before and after the plugin's function."""
    serial = compiler.library("probe.c", "-pthread", "-DSERIAL")
    probe = hardpoint.load(fresh(serial), Probe, binding=binding)

    class Sly:
        def __index__(self) -> int:
            return probe.add(1, 1)

    sly = Sly()

    def nested(subject: Any) -> None:
        subject.add(sly, 1)

    names = ("text", "fail", "add-wrong", "text-keyword", "closed", "close")
    found = {name: leak(PATHS[name], probe, [probe, type(probe)]) for name in names}
    found["nested"] = leak(nested, probe, [probe, type(probe)])
    assert {name: each for name, each in found.items() if each} == {}


def test_older_plugins_leave_nothing(compiler: Compiler, probe_library: Path, fresh: Fresh, binding: Binding) -> None:
    """Methods that the plugin does not have: one with a body in the contract, and one without."""
    old = compiler.library("probe.c", "-pthread", "-DWITHOUT_NEW", "-Wno-unused-function")
    probe = hardpoint.load(fresh(old), Probe, binding=binding)
    paths: list[Callable[[Any], object]] = [
        lambda probe: probe.shout("x"), lambda probe: probe.shout(value="x"), lambda probe: probe.whisper("x"),
        lambda probe: probe.shout(),
    ]  # fmt: skip
    assert [leak(function, probe, [probe, type(probe)]) for function in paths] == [{}] * 4


IN_PROCESS = {"info", "close", "create-with-config", "create-fails", "closed", "closed-keyword"}
"""Paths that are not those of an isolated call."""


def test_isolated_calls_leave_nothing_in_the_host(probe_library: Path, fresh: Fresh) -> None:
    with hardpoint.loaded(fresh(probe_library), Probe, isolated=hardpoint.Isolation(timeout=60)) as probe:
        paths = {name: function for name, function in PATHS.items() if name not in IN_PROCESS}
        found = {
            name: leak(function, probe, [probe, type(probe), DATA, LONG, LATIN]) for name, function in paths.items()
        }
    assert {name: each for name, each in found.items() if each} == {}


def test_isolated_calls_leave_nothing_in_the_worker(probe_library: Path, fresh: Fresh) -> None:
    """Its private memory is all that can be seen of it: a leak of 50 bytes a call would be 150 KiB a path."""
    with hardpoint.loaded(fresh(probe_library), Probe, isolated=hardpoint.Isolation(timeout=60)) as probe:
        [pid] = workers(probe)

        def work(count: int) -> int:
            for name in (
                "text",
                "text-non-ascii",
                "raw",
                "flip",
                "fill",
                "mixed",
                "repeat",
                "fail",
                "fail-long",
                "length",
            ):
                for _ in range(count):
                    with suppress(*EXPECTED):
                        PATHS[name](probe)
            status = Path(f"/proc/{pid}/status").read_text()
            return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon"))

        work(500)
        before = work(500)
        assert work(3000) - before < 150


def test_a_library_under_many_names_leaves_no_class(probe: Probe, binding: Binding) -> None:
    """Each name makes a class of its own, since errors name the path; it goes with its objects."""
    path = hardpoint.info(probe).path

    def again(number: int) -> None:
        link = f"{path}.{number}"
        os.symlink(path, link)
        hardpoint.load(link, Probe, binding=binding).add(1, 2)
        os.unlink(link)

    def classes() -> int:
        gc.collect()
        base: Any = type(probe).__bases__[0]
        return len(base.__subclasses__())

    for number in range(5):
        again(number)
    before = classes()
    for number in range(5, 15):
        again(number)
    assert classes() == before


def test_a_grow_with_any_length_copies_what_the_host_has(probe: Probe) -> None:
    """A plugin may have set `len` to anything before it calls grow."""
    for _ in range(3):
        assert probe.break_rule("huge-length") == "fine"


def test_a_result_that_grows_is_complete(probe: Probe) -> None:
    """What was written before a grow is there after it, at every size of a step."""
    for size in (1, 511, 512, 1023, 1024, 1025, 2047, 2048, 2049, 4096, 65535, 65536, 65537, 1 << 20):
        for step in (1, 7):
            piece = "".join(chr(33 + index % 90) for index in range(max(1, size // step)))
            assert probe.repeat(piece, step) == piece * step
            with pytest.raises(hardpoint.CallError) as caught:
                probe.fail(256, piece)
            assert caught.value.text == piece
