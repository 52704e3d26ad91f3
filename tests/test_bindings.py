"""Calls, over every binding: types, results, errors, instances, threads and logs."""

from __future__ import annotations

import array
import gc
import hashlib
import inspect
import json
import logging
import math
import mmap
import os
import re
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, get_type_hints, runtime_checkable

import pytest
from conftest import IMPORTABLE, how
from probe import Probe

import hardpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from conftest import Compiler, Fresh, RunPython, Way

    Load = Callable[..., Probe]

T = TypeVar("T")
in_process = pytest.mark.parametrize("way", ["native", "cffi", "ctypes"], indirect=True)  # workers have separate state


@pytest.fixture
def load(probe_library: Path, fresh: Fresh, way: Way) -> Load:
    """Load a copy of the probe, a new one for each test."""
    library = fresh(probe_library)
    return lambda **options: hardpoint.load(library, Probe, **how(way), **options)


@pytest.fixture
def probe(load: Load) -> Probe:
    return load()


def _any(probe: object) -> Any:
    """The same object as Any, for calls that a type checker would refuse."""
    return probe


TEXTS = ["", "World", "a\0b", "\0", "¡Hola!", "日本語", "🛩️", "x" * 511, "x" * 512, "é" * 5000]


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: f"{len(text)}-{text[:6]!r}")
def test_text_comes_back(probe: Probe, text: str) -> None:
    assert probe.text(text) == text


def test_all_of_unicode_comes_back(probe: Probe) -> None:
    text = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
    assert probe.text(text) == text


def test_a_subclass_of_str_is_a_str(probe: Probe) -> None:
    class Name(str):
        __slots__ = ()

    assert type(probe.text(Name("x"))) is str


def test_a_result_of_64_mebibytes(probe: Probe) -> None:
    text = "0123456789abcdef" * (4 << 20)
    assert probe.text(text) == text
    assert probe.repeat("abcd", 1 << 20) == "abcd" * (1 << 20)


READABLE = [
    b"", b"abc", bytearray(b"abc"), bytearray(), memoryview(b"abc"), memoryview(b"abcdef")[2:4], memoryview(b""),
    array.array("d", [1.0, 2.0]), array.array("d"), memoryview(array.array("i", range(6))).cast("B").cast("i", (2, 3)),
]  # fmt: skip


@pytest.mark.parametrize(
    "data", READABLE, ids=[f"{number}-{type(each).__name__}" for number, each in enumerate(READABLE)]
)
def test_any_contiguous_buffer_is_read(probe: Probe, data: Any) -> None:
    assert probe.raw(data) == bytes(data)
    assert probe.view(data) == memoryview(data).nbytes


def test_a_buffer_is_changed_in_place_and_free_again_after_the_call(probe: Probe) -> None:
    data = bytearray(b"\x00\x0f\xff")
    probe.flip(data)
    assert data == b"\xff\xf0\x00"
    data += b"it can be resized"
    part = memoryview(data)[1:3]
    assert probe.fill(part, 7) == 2
    assert data[:4] == b"\xff\x07\x07i"
    numbers = array.array("q", [1, 2])
    assert probe.fill(numbers, 0) == 16
    assert numbers.tolist() == [0, 0]
    assert probe.fill(bytearray(), 1) == 0
    with mmap.mmap(-1, 4096) as memory:
        assert probe.fill(memory, 9) == 4096
        assert memory[:2] == b"\t\t"


def test_a_failed_call_frees_its_buffers(probe: Probe) -> None:
    data = bytearray(b"abc")
    with pytest.raises(hardpoint.CallError):
        probe.fill(data, 256)
    with pytest.raises(TypeError):
        _any(probe).fill(data, "x")
    data.append(1)


@pytest.mark.parametrize("value", [0, 1, -1, 2**63 - 1, -(2**63), True])
def test_ints_of_64_bits(probe: Probe, value: Any) -> None:
    assert probe.add(value, 0) == value
    assert type(probe.add(value, 0)) is int


def test_an_object_with_index_is_an_int(probe: Probe) -> None:
    class Five:
        def __index__(self) -> int:
            return 5

    assert _any(probe).add(Five(), 1) == 6


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 10**5000], ids=["large", "small", "huge"])
def test_an_int_beyond_64_bits_overflows(probe: Probe, value: Any) -> None:
    with pytest.raises(OverflowError, match=r"^add\(\) argument 'left' does not fit in 64 bits with sign$"):
        probe.add(value, 0)


@pytest.mark.parametrize("value", [0.0, -0.0, 1.5, math.inf, -math.inf, 5e-324, 1.7976931348623157e308])
def test_floats(probe: Probe, value: Any) -> None:
    assert math.copysign(1, probe.half(value)) == math.copysign(1, value)
    assert probe.half(value) == value / 2
    assert math.isnan(probe.half(math.nan))


def test_an_object_with_float_is_a_float(probe: Probe) -> None:
    class Half:
        def __float__(self) -> float:
            return 0.5

    assert probe.half(3) == 1.5
    assert probe.half(True) == 0.5
    assert _any(probe).half(Half()) == 0.25
    with pytest.raises(OverflowError, match="too large for a float"):
        probe.half(10**400)


def test_bools(probe: Probe) -> None:
    assert probe.negate(True) is False
    assert probe.negate(False) is True


def test_numpys_bools_are_bools(probe: Probe) -> None:
    numpy: Any = pytest.importorskip("numpy")
    assert probe.negate(numpy.bool_(True)) is False
    assert probe.negate(numpy.bool_(False)) is True
    assert probe.add(numpy.bool_(True), numpy.int8(2)) == 3
    assert probe.half(numpy.bool_(True)) == 0.5
    mixed = probe.mixed(
        -1, 2.5, numpy.str_("c"), numpy.True_, numpy.bytes_(b"e"), bytearray(b"12"), numpy.float32(0.125), 7
    )
    assert mixed == "-1 2.5 c 1 e 2 0.125 7"
    with pytest.raises(TypeError, match=r"^negate\(\) argument 'value' must be bool, not int64$"):
        probe.negate(numpy.int64(1))


def test_numbers_of_numpy_that_are_not_real(probe: Probe) -> None:
    numpy: Any = pytest.importorskip("numpy")
    for value in (
        numpy.complex64(1),
        numpy.complex128(1),
        numpy.array(1j),
        numpy.timedelta64(1, "s"),
        numpy.array([1.5]),
    ):
        with pytest.raises(TypeError, match=r"^half\(\) argument 'value' must be float, not "):
            probe.half(value)


def test_arrays_without_dimensions_are_numbers(probe: Probe) -> None:
    numpy: Any = pytest.importorskip("numpy")
    assert probe.half(numpy.array(3.0)) == 1.5
    assert probe.add(numpy.array(1), numpy.array(True)) == 2
    assert probe.negate(numpy.array(True)) is False
    for value in (numpy.array([True]), numpy.array(1)):
        with pytest.raises(TypeError, match=r"must be bool, not ndarray$"):
            probe.negate(value)


def test_an_empty_array_is_contiguous(probe: Probe) -> None:
    numpy: Any = pytest.importorskip("numpy")
    for empty in (numpy.zeros(0)[::2], numpy.zeros((0, 4))[:, ::2], numpy.zeros((3, 0), order="F")):
        assert probe.raw(empty) == b""
        probe.flip(empty)
    with pytest.raises(TypeError, match="read-only"):
        probe.flip(memoryview(b"")[::2])  # type: ignore[arg-type]


def test_arrays_that_do_not_fit_get_the_fix(probe: Probe) -> None:
    numpy: Any = pytest.importorskip("numpy")
    grid = numpy.zeros((3, 4), dtype="f4", order="F")
    frozen = numpy.zeros(4, dtype="u1")
    frozen.flags.writeable = False
    with pytest.raises(
        TypeError, match=r"not ndarray that is not C-contiguous; .* numpy\.ascontiguousarray\(\) makes$"
    ):
        probe.raw(grid)
    assert probe.raw(numpy.ascontiguousarray(grid)) == bytes(48)
    with pytest.raises(TypeError, match=r"not ndarray that is read-only; pass a bytearray or a writable copy$"):
        probe.flip(frozen)
    probe.flip(frozen.copy())


def test_eight_parameters_of_every_kind(probe: Probe) -> None:
    data = bytearray(b"12")
    assert probe.mixed(-1, 2.5, "c", True, b"e", data, 0.125, 7) == "-1 2.5 c 1 e 2 0.125 7"
    assert data == b"\0\0"
    assert probe.mixed(h=1, g=2, f=data, e=b"", d=False, c="", b=3, a=4) == "4 3  0  2 2 1"


def test_a_lone_surrogate_is_an_error_that_names_the_argument(probe: Probe) -> None:
    with pytest.raises(UnicodeEncodeError, match=r"surrogates not allowed in text\(\) argument 'value'") as caught:
        probe.text("ab\ud800")
    assert (caught.value.start, caught.value.object) == (2, "ab\ud800")


RELEASED = memoryview(b"x")
RELEASED.release()
AFTER_RELEASE = "operation forbidden on released memoryview object"
WRONG_TYPES = [
    ("text", (5,), "text() argument 'value' must be str, not int"),
    ("text", (None,), "text() argument 'value' must be str, not None"),
    ("text", (b"x",), "text() argument 'value' must be str, not bytes"),
    ("raw", ("x",), "raw() argument 'value' must be a contiguous bytes-like object, not str"),
    (
        "raw",
        (memoryview(b"abcd")[::2],),
        (
            "raw() argument 'value' must be a contiguous bytes-like object, not memoryview that is not C-contiguous; pass a "
            "contiguous copy, such as bytes() or numpy.ascontiguousarray() makes"
        ),
    ),
    (
        "raw",
        (RELEASED,),
        "raw() argument 'value' must be a contiguous bytes-like object, not memoryview: " + AFTER_RELEASE,
    ),
    (
        "flip",
        (b"x",),
        (
            "flip() argument 'value' must be a contiguous read-write bytes-like object, not bytes that is read-only; pass "
            "a bytearray or a writable copy"
        ),
    ),
    (
        "flip",
        (memoryview(b"x"),),
        (
            "flip() argument 'value' must be a contiguous read-write bytes-like object, not memoryview that is read-only; "
            "pass a bytearray or a writable copy"
        ),
    ),
    (
        "flip",
        (memoryview(bytearray(b"abcd"))[::2],),
        (
            "flip() argument 'value' must be a contiguous read-write bytes-like object, not memoryview that is not "
            "C-contiguous; pass a contiguous copy"
        ),
    ),
    (
        "flip",
        (memoryview(b"abcd")[::2],),
        (
            "flip() argument 'value' must be a contiguous read-write bytes-like object, not memoryview that is read-only and "
            "not C-contiguous; pass a bytearray or a writable copy"
        ),
    ),
    ("flip", ([1],), "flip() argument 'value' must be a contiguous read-write bytes-like object, not list"),
    ("add", (1.0, 2), "add() argument 'left' must be int, not float"),
    ("add", (1, "2"), "add() argument 'right' must be int, not str"),
    ("half", ("1",), "half() argument 'value' must be float, not str"),
    ("half", (1j,), "half() argument 'value' must be float, not complex"),
    ("half", (memoryview(b"1.5"),), "half() argument 'value' must be float, not memoryview"),
    ("negate", (1,), "negate() argument 'value' must be bool, not int"),
    ("unnamed", (1, None), "unnamed() argument 2 must be int, not None"),
    ("text", (), "Probe.text() missing 1 required positional argument: 'value'"),
    ("text", ("a", "b"), "Probe.text() takes 2 positional arguments but 3 were given"),
    ("add", (), "Probe.add() missing 2 required positional arguments: 'left' and 'right'"),
    ("config", (1,), "Probe.config() takes 1 positional argument but 2 were given"),
]


@pytest.mark.parametrize(("name", "arguments", "message"), WRONG_TYPES)
def test_wrong_arguments_are_worded_as_python_words_them(
    probe: Probe, name: str, arguments: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(TypeError) as caught:
        getattr(probe, name)(*arguments)
    assert str(caught.value) == message


def test_wrong_keywords(probe: Probe) -> None:
    with pytest.raises(TypeError, match=r"^Probe\.text\(\) got an unexpected keyword argument 'name'$"):
        _any(probe).text(name="x")
    with pytest.raises(TypeError, match=r"^Probe\.text\(\) got multiple values for argument 'value'$"):
        _any(probe).text("x", value="y")
    with pytest.raises(TypeError, match=r"^Probe\.unnamed\(\) got some positional-only arguments passed as keyword"):
        _any(probe).unnamed(left=1, right=2)
    assert probe.unnamed(5, 3) == 2


def test_methods_are_introspected_like_pythons(probe: Probe) -> None:
    assert probe.text.__name__ == "text"
    assert probe.text.__qualname__ == "Probe.text"
    assert probe.text.__doc__ == "The same text."
    assert str(inspect.signature(probe.fill)) == "(value: hardpoint.WritableBuffer, byte: int) -> int"
    assert inspect.signature(probe.unnamed).parameters["left"].kind is inspect.Parameter.POSITIONAL_ONLY


def test_a_plugin_object_has_the_contracts_methods_and_nothing_else(probe: Probe) -> None:
    assert isinstance(probe, Probe)
    public = {name for name in dir(probe) if not name.startswith("_")}
    assert public == {name for name in dir(Probe) if not name.startswith("_")}
    with pytest.raises(AttributeError):
        _any(probe).other = 1
    assert repr(probe).startswith("<probe 1.2.0, a plugin for probe 1.2 from ")


@pytest.mark.parametrize("status", [1, 2, 3, 4, 255, 256, 65535])
def test_a_method_that_fails_with_each_status(probe: Probe, status: int) -> None:
    with pytest.raises(hardpoint.CallError) as caught:
        probe.fail(status, "because é")
    assert (caught.value.status, caught.value.text) == (status, "because é")
    assert caught.value.path == hardpoint.info(probe).path
    names = {1: "HP_FAILED", 2: "HP_INVALID", 3: "HP_UNSUPPORTED", 4: "HP_NO_MEMORY", 255: "reserved"}
    name = names.get(status, "its own")
    assert str(caught.value) == f"{caught.value.path}: fail failed with status {status} ({name}): because é"


def test_a_long_reason_is_truncated_only_in_the_message(probe: Probe) -> None:
    with pytest.raises(hardpoint.CallError) as caught:
        probe.fail(1, "x" * 5000)
    assert caught.value.text == "x" * 5000
    assert str(caught.value).endswith(f": {'x' * 500}...")


def test_a_failure_without_a_reason_says_so(probe: Probe) -> None:
    with pytest.raises(hardpoint.CallError, match="the plugin gave no reason") as caught:
        probe.fail(1, "")
    assert caught.value.text == ""


BROKEN = [
    ("utf-8", "break_rule gave text that is not UTF-8 .*0xe9"),
    ("length", r"break_rule says that it wrote \d+ bytes where there was room for \d+;"),
    ("status-negative", "break_rule returned the status -1, and a status is from 0 to 65535"),
    ("status-large", "break_rule returned the status 65536, and a status is from 0 to 65535"),
]


@pytest.mark.parametrize(("rule", "message"), BROKEN)
def test_a_violation_of_the_abi_is_an_error_and_not_a_crash(probe: Probe, rule: str, message: str) -> None:
    with pytest.raises(hardpoint.ContractBrokenError, match=message) as caught:
        probe.break_rule(rule)
    assert caught.value.path == hardpoint.info(probe).path
    assert probe.text("and it goes on") == "and it goes on"


def test_a_plugin_that_changes_the_struct_does_no_harm(probe: Probe) -> None:
    """If the host trusted a pointer of the plugin there, the result would be old memory of the host."""
    with pytest.raises(
        hardpoint.ContractBrokenError, match="break_rule changed data or cap of its hp_out, which only grow"
    ):
        probe.break_rule("pointer")
    assert probe.text("x" * 100) == "x" * 100


@pytest.mark.parametrize("rule", ["grow-ignored", "no-memory"])
def test_out_of_memory(probe: Probe, rule: str) -> None:
    with pytest.raises(hardpoint.CallError) as caught:
        probe.break_rule(rule)
    assert caught.value.status == 4
    assert probe.text("x" * 2000) == "x" * 2000


# -- instances -----------------------------------------------------------------------------------------------------


CONFIGS = [(None, "absent"), ("", ""), ("plain é", "plain é"), ({"a": [1, "é"]}, '{"a": [1, "é"]}'), ({}, "{}")]


@pytest.mark.parametrize(("config", "seen"), CONFIGS)
def test_config_reaches_create(load: Load, config: str | Mapping[str, Any] | None, seen: str) -> None:
    assert load(config=config).config() == seen


def test_a_create_that_fails(load: Load) -> None:
    with pytest.raises(
        hardpoint.CreateError, match=r"create failed with status 2 \(HP_INVALID\): the config says refuse"
    ) as caught:
        load(config="refuse")
    assert (caught.value.status, caught.value.text) == (2, "the config says refuse")
    assert load().instances() == 1


def test_a_plugin_without_create(compiler: Compiler, fresh: Fresh, probe_library: Path, way: Way) -> None:
    library = fresh(compiler.library("probe.c", "-pthread", "-DSTATELESS", "-Wno-unused-function"))
    assert hardpoint.load(library, Probe, **how(way)).config() == "absent"
    with pytest.raises(hardpoint.CreateError, match="probe takes no config, since it has no create"):
        hardpoint.load(library, Probe, config="x")


@in_process
def test_close_destroys_only_that_instance_and_once(load: Load) -> None:
    first, second = load(), load()
    assert first.instances() == 2
    hardpoint.close(first)
    hardpoint.close(first)
    assert second.instances() == 1
    with pytest.raises(hardpoint.ClosedError, match="text cannot be called: probe was closed; load it again") as caught:
        first.text("x")
    assert caught.value.path == hardpoint.info(first).path
    with pytest.raises(hardpoint.ClosedError):
        first.shout("x")
    assert load().instances() == 2


def test_loaded_closes_at_the_end_also_after_an_error(probe_library: Path, fresh: Fresh, way: Way) -> None:
    library = fresh(probe_library)
    with pytest.raises(ZeroDivisionError), hardpoint.loaded(library, Probe, **how(way)) as probe:
        raise ZeroDivisionError
    with pytest.raises(hardpoint.ClosedError):
        probe.text("x")


@in_process
def test_an_unreferenced_object_is_destroyed(load: Load) -> None:
    keeper = load()
    assert load().instances() == 2
    gc.collect()
    assert keeper.instances() == 1


@in_process
def test_close_waits_for_a_call_of_another_thread(load: Load) -> None:
    probe, keeper = load(), load()
    thread = threading.Thread(target=probe.overlap, args=(300,))
    thread.start()
    time.sleep(0.1)
    hardpoint.close(probe)
    assert keeper.instances() == 2
    thread.join()
    assert keeper.instances() == 1


def test_info(load: Load, way: Way) -> None:
    probe = load()
    about = hardpoint.info(probe)
    assert (about.manifest.plugin, about.manifest.release, about.contract.name) == ("probe", "1.2.0", "probe")
    assert (about.binding == way) is (way != "isolated")
    assert about.warnings == ()
    with open(about.path, "rb") as file:
        assert about.sha256 == hashlib.sha256(file.read()).hexdigest()
    assert about.library == about.path
    os.unlink(about.path)


def test_an_object_cannot_be_made_otherwise(probe: Probe) -> None:
    with pytest.raises(TypeError, match=r"Probe objects are made by hardpoint\.load"):
        type(probe)()


def test_type_hints_are_the_contracts(probe: Probe) -> None:
    assert get_type_hints(probe.text) == {"value": str, "return": str}
    assert (type(probe).__module__, probe.text.__module__) == ("probe", "probe")


@runtime_checkable
@hardpoint.contract("naming", version="1.0")
class Naming(Protocol):
    def call(self, plugin: str, args: int, kwargs: int) -> str: ...


def test_parameters_may_have_any_name(compiler: Compiler, fresh: Fresh, way: Way) -> None:
    compiler.header(Naming)
    code = """
#include "naming.h"
static hp_status call(void *self, const char *plugin, size_t plugin_len, int64_t args, int64_t kwargs, hp_out *out) {
    (void)self;
    return hp_printf(out, "%.*s %d %d", (int)plugin_len, plugin, (int)args, (int)kwargs);
}
NAMING_PLUGIN("naming", "1", .call = call);
"""
    naming = hardpoint.load(fresh(compiler.text("naming", code)), Naming, **how(way))
    assert naming.call(plugin="p", args=1, kwargs=2) == "p 1 2"


def test_a_subclass_of_str_that_overrides_encode(probe: Probe) -> None:
    class Odd(str):
        __slots__ = ()

        def encode(self, *_: Any, **__: Any) -> Any:
            return "not bytes"

    assert probe.text(Odd("odd")) == "odd"


@pytest.mark.parametrize("function", [hardpoint.info, hardpoint.close])
def test_an_object_that_is_not_a_plugin(function: Callable[[object], object]) -> None:
    with pytest.raises(TypeError, match=r"'x' is not a plugin object that hardpoint\.load gave"):
        function("x")


def test_since_with_and_without_the_method(compiler: Compiler, fresh: Fresh, probe: Probe, way: Way) -> None:
    assert probe.shout("hey") == "hey!!!"
    assert probe.whisper("hey") == "hey"
    old = hardpoint.load(
        fresh(compiler.library("probe.c", "-pthread", "-DWITHOUT_NEW", "-Wno-unused-function"), "old.so"),
        Probe,
        **how(way),
    )
    assert isinstance(old, Probe)
    assert old.shout("hey") == "HEY!"
    assert old.shout(value="hey") == "HEY!"
    with pytest.raises(
        hardpoint.CallError, match=r"probe 1.2.0 does not have whisper\(value: str\) -> str, which came with probe 1.2"
    ) as caught:
        old.whisper("hey")
    assert caught.value.status == 3
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        _any(old).whisper()


# -- threads, signals, forks -----------------------------------------------------------------------------------------


def _together(count: int, function: Callable[[], T]) -> list[T]:
    results: list[T] = []
    threads = [threading.Thread(target=lambda: results.append(function())) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_one_instance_runs_on_several_threads_at_once(probe: Probe) -> None:
    assert max(_together(4, lambda: probe.overlap(200))) > 1


def test_serial_runs_one_call_at_a_time(compiler: Compiler, fresh: Fresh, probe_library: Path, way: Way) -> None:
    library = fresh(compiler.library("probe.c", "-pthread", "-DSERIAL"))
    probe = hardpoint.load(library, Probe, **how(way))
    assert _together(4, lambda: probe.overlap(20)) == [1, 1, 1, 1]


def test_serial_refuses_recursion_on_the_same_thread(
    compiler: Compiler, fresh: Fresh, probe_library: Path, way: Way
) -> None:
    library = fresh(compiler.library("probe.c", "-pthread", "-DSERIAL"))
    probe = hardpoint.load(library, Probe, **how(way))

    class Sly:
        def __index__(self) -> int:
            return probe.add(1, 1)

    with pytest.raises(
        hardpoint.CallError, match="add cannot be called from within a call of probe on the same thread"
    ):
        _any(probe).add(Sly(), 1)
    assert probe.add(1, 1) == 2


def test_many_threads_get_their_own_results(probe: Probe) -> None:
    def work() -> bool:
        mine = threading.get_ident()
        return all(probe.text(f"{mine} {index}" * 100) == f"{mine} {index}" * 100 for index in range(300))

    assert _together(8, work) == [True] * 8


def test_after_a_fork_the_parents_instances_are_closed_and_new_ones_work(load: Load) -> None:
    probe = load()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            probe.text("x")
        except hardpoint.ClosedError as error:
            again = load(config="in the child")
            status = 0 if "before this process was forked" in str(error) and again.config() == "in the child" else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert probe.text("x") == "x"


# -- logs ------------------------------------------------------------------------------------------------------------


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)


@pytest.mark.parametrize("method", ["log", "log_from_thread"])
def test_logs_reach_logging_from_any_thread(probe: Probe, caplog: pytest.LogCaptureFixture, method: str) -> None:
    with caplog.at_level(logging.DEBUG):
        getattr(probe, method)(10, "low")
        getattr(probe, method)(40, "é %s")
        _wait_for(lambda: len(caplog.records) >= 2)
    assert [(record.name, record.levelname, record.getMessage()) for record in caplog.records] == [
        ("hardpoint.plugin.probe", "DEBUG", "low"),
        ("hardpoint.plugin.probe", "ERROR", "é %s"),
    ]


def test_a_long_record_is_cut_and_odd_levels_are_put_in_range(probe: Probe, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(1):
        probe.log(-5, "x" * 5000)
        probe.log(999, "")
        _wait_for(lambda: len(caplog.records) >= 2)
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [(1, "x" * 1021 + "..."), (50, "")]


def _arrived(probe: Probe, marker: str, caplog: pytest.LogCaptureFixture) -> bool:
    probe.log(30, marker)
    for _ in range(100):
        if caplog.messages[-1] == marker:
            return True
        time.sleep(0.01)
    return False  # it was dropped as well


def test_a_flood_of_records_is_dropped_and_counted_and_never_blocks(
    probe: Probe, caplog: pytest.LogCaptureFixture
) -> None:
    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            del record
            time.sleep(0.001)

    handler = Slow()
    logger = logging.getLogger("hardpoint.plugin")
    logger.addHandler(handler)
    try:
        with caplog.at_level(logging.WARNING):
            for _ in range(3000):
                probe.log(30, "flood " * 100)
            _wait_for(
                lambda: sum(_flood(caplog)) == 3000
            )  # each has arrived, or is counted: at a pause in the flood, too
            kept, dropped = _flood(caplog)
            logger.removeHandler(handler)
            while not _arrived(probe, "the end of the flood", caplog):  # records under way must not reach the next test
                pass
    finally:
        logger.removeHandler(handler)
    assert kept > 0
    assert dropped > 0
    assert {each.name for each in caplog.records if "dropped" in each.getMessage()} == {"hardpoint.plugin"}


def _flood(caplog: pytest.LogCaptureFixture) -> tuple[int, int]:
    """How many records of the flood arrived, and how many are said to have been dropped."""
    texts = [record.getMessage() for record in caplog.records]
    said = [
        re.fullmatch("([0-9]+) log records of probe were dropped, since they came too fast", text) for text in texts
    ]
    return sum(text.startswith("flood") for text in texts), sum(int(each[1]) for each in said if each)


def test_a_handler_that_raises_does_not_end_the_log(
    probe: Probe, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", told.append)

    def refuse(record: logging.LogRecord) -> bool:
        if record.getMessage() == "bad":
            raise ZeroDivisionError
        return True

    logger = logging.getLogger("hardpoint.plugin.probe")
    logger.addFilter(refuse)
    try:
        probe.log(30, "bad")
        probe.log(30, "good")
        _wait_for(lambda: bool(caplog.records))
    finally:
        logger.removeFilter(refuse)
    assert [record.getMessage() for record in caplog.records] == ["good"]
    assert [each.exc_type for each in told] == [ZeroDivisionError]


def test_a_filter_that_hangs_does_not_hold_up_the_exit(probe_library: Path, way: Way, run_python: RunPython) -> None:
    code = f"""
import logging, sys, threading, hardpoint
sys.path[:0] = {IMPORTABLE!r}
from probe import Probe
logging.getLogger("hardpoint.plugin.probe").addFilter(lambda record: threading.Event().wait())
probe = hardpoint.load({str(probe_library)!r}, Probe, **{how(way)!r})
for number in range(2000):
    probe.log(30, "x" * 500)
"""
    run_python(code)


def test_records_logged_before_the_exit_arrive(probe_library: Path, way: Way, run_python: RunPython) -> None:
    code = f"""
import logging, sys, hardpoint
sys.path[:0] = {IMPORTABLE!r}
from probe import Probe
logging.basicConfig(format="%(name)s %(message)s", stream=sys.stdout)
probe = hardpoint.load({str(probe_library)!r}, Probe, **{how(way)!r})
for number in range(20):
    probe.log(30, str(number))
"""
    assert run_python(code).stdout.splitlines() == [f"hardpoint.plugin.probe {number}" for number in range(20)]


def test_a_config_that_is_not_json_is_refused(load: Load) -> None:
    with pytest.raises(TypeError, match=r"^load\(\) argument 'config' cannot travel as JSON: .* not JSON serializable"):
        load(config={"a": object()})
    with pytest.raises(UnicodeEncodeError, match="argument 'config'"):
        load(config="\udc00")
    with pytest.raises(ValueError, match="argument 'config' cannot travel as JSON: Out of range float values"):
        load(config={"n": math.nan})
    with pytest.raises(TypeError, match="argument 'config' must be str, a mapping or None, not list"):
        load(config=[1])
    assert json.loads(load(config={"n": 1.5}).config()) == {"n": 1.5}


def test_a_signal_at_any_point_of_a_growing_result_does_no_harm(
    probe_library: Path, way: Way, run_python: RunPython
) -> None:
    """Run in a process of its own: a use after free would kill it, now or later."""
    rounds = 40 if way == "isolated" else 400  # each that is isolated costs a worker
    code = f"""
import hardpoint, random, signal, sys
sys.path[:0] = {IMPORTABLE!r}
from probe import Probe
class Stop(Exception): pass
def stop(*_): raise Stop
signal.signal(signal.SIGALRM, stop)
probe = hardpoint.load({str(probe_library)!r}, Probe, **{how(way)!r})
random.seed(7)
stopped = 0
for _ in range({rounds}):
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 3e-3))
        while True:
            probe.repeat("x" * 4096, 40)
    except Stop:
        stopped += 1
assert probe.repeat("ab", 50000) == "ab" * 50000
print(stopped)
"""
    done = run_python(code, check=False)  # Python reports an exception that was raised in a finalizer
    assert (done.returncode, done.stdout) == (0, f"{rounds}\n"), done.stderr


def test_exceptions_at_any_point_leave_no_lock_and_no_instance_behind(
    compiler: Compiler, probe_library: Path, way: Way, run_python: RunPython
) -> None:
    serial = compiler.library("probe.c", "-pthread", "-DSERIAL")
    code = f"""
import hardpoint, random, signal, sys, threading
sys.path[:0] = {IMPORTABLE!r}
from probe import Probe
class Stop(Exception): pass
def stop(*_): raise Stop
signal.signal(signal.SIGALRM, stop)
random.seed(11)
keeper = hardpoint.load({str(serial)!r}, Probe, **{how(way)!r})
stopped = 0
for _ in range(300):
    probe = hardpoint.load({str(serial)!r}, Probe, **{how(way)!r})
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 1e-3))
        while True:
            probe.add(1, 2)
    except Stop:
        stopped += 1
    said = []
    thread = threading.Thread(target=lambda: said.append(probe.add(1, 2)), daemon=True)
    thread.start()
    thread.join(20)
    assert said == [3], "another thread waits for ever"
    hardpoint.close(probe)
    del probe
print(stopped, keeper.instances())
"""
    done = run_python(code, check=False)
    assert (done.returncode, done.stdout) == (0, "300 1\n"), done.stderr


@pytest.mark.parametrize("way", ["cffi", "ctypes"])  # no Python runs in a grow of the native binding
def test_an_error_in_grow_is_raised_after_the_plugin_returned(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules[f"hardpoint.binding.{hardpoint.info(probe).binding}"]

    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(module._pool._make, "realloc", interrupted)
    with pytest.raises(KeyboardInterrupt):
        probe.repeat("x" * 1000, 10)
    monkeypatch.undo()
    assert probe.repeat("x" * 1000, 10) == "x" * 10000
