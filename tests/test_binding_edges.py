"""Edges of the bindings that ordinary calls do not reach: create without the GIL, room that grows, types in C."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
import time
import weakref
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import pytest
from conftest import CAN_BUILD_NATIVE, how
from probe import Probe
from test_references import held

import hardpoint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Binding, Compiler, Fresh, Way

needs_native = pytest.mark.skipif(not CAN_BUILD_NATIVE, reason="the native binding is built with Python.h")


@hardpoint.contract("edges", version="1.0")
@runtime_checkable
class Edges(Protocol):
    """What a plugin sees of the host."""

    def go(self) -> int:
        """Let a create or a destroy that waits go on."""
        ...

    def rooms(self, size: int) -> str:
        """Write so many bytes one by one. Return the size of each room that there was."""
        ...

    def forgets_int(self) -> int: ...

    def forgets_float(self) -> float: ...

    def forgets_bool(self) -> bool: ...

    def addresses(self, text: str, data: bytes, view: hardpoint.Buffer, place: bytearray) -> str:
        """Return `NULL` or `set`, and the length, of each argument."""
        ...

    def fails_after(self, size: int) -> str:
        """Write so many bytes, and fail."""
        ...

    def had_to_wait(self) -> int:
        """Return how many times a create or a destroy waited for three seconds."""
        ...


EDGES = """
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include "edges.h"
static atomic_int waiting, gone_on, late;
static int wait(void) { /* until another thread calls go() */
    const int before = gone_on;
    waiting = 1;
    for (int turn = 0; turn < 300 && gone_on == before; turn++) {
        nanosleep(&(struct timespec){0, 10000000}, NULL);
    }
    return gone_on != before;
}
static hp_status create(const hp_host *host, const char *config, size_t config_len, void **self, hp_out *out) {
    (void)host, (void)out;
    char *made = malloc(8);
    *self = made;
    made[0] = config_len > 0 ? config[0] : '-';
    if (made[0] == 'c' && !wait()) {
        late++;
    }
    return HP_OK;
}
static void destroy(void *self) {
    if (*(char *)self == 'd' && !wait()) {
        late++;
    }
    free(self);
}
static hp_status go(void *self, int64_t *result, hp_out *out) {
    (void)self, (void)result, (void)out;
    for (int turn = 0; turn < 300 && !waiting; turn++) {
        nanosleep(&(struct timespec){0, 10000000}, NULL);
    }
    waiting = 0;
    gone_on++;
    *result = 0;
    return HP_OK;
}
static hp_status had_to_wait(void *self, int64_t *result, hp_out *out) {
    (void)self, (void)out;
    *result = late;
    return HP_OK;
}
static hp_status rooms(void *self, int64_t size, hp_out *out) {
    char told[4000] = "";
    size_t at = 0, room = 0;
    (void)self;
    for (int64_t written = 0; written < size; written++) {
        const hp_status status = hp_write(out, "x", 1);
        if (status != HP_OK) {
            return status;
        }
        if (out->cap != room) {
            room = out->cap;
            at += (size_t)snprintf(told + at, sizeof told - at, "%zu ", room);
        }
    }
    out->len = 0;
    return hp_puts(out, told);
}
static hp_status forgets_int(void *self, int64_t *result, hp_out *out) { (void)self, (void)result, (void)out; return HP_OK; }
static hp_status forgets_float(void *self, double *result, hp_out *out) { (void)self, (void)result, (void)out; return HP_OK; }
static hp_status forgets_bool(void *self, bool *result, hp_out *out) { (void)self, (void)result, (void)out; return HP_OK; }
static hp_status addresses(void *self, const char *text, size_t text_len, const uint8_t *data, size_t data_len,
                           const uint8_t *view, size_t view_len, uint8_t *place, size_t place_len, hp_out *out) {
    (void)self;
#define SAY(name) name == NULL ? "NULL" : "set", name##_len
    return hp_printf(out, "%s %zu, %s %zu, %s %zu, %s %zu", SAY(text), SAY(data), SAY(view), SAY(place));
}
static hp_status fails_after(void *self, int64_t size, hp_out *out) {
    (void)self;
    for (int64_t written = 0; written < size; written++) {
        const hp_status status = hp_write(out, "x", 1);
        if (status != HP_OK) {
            return status;
        }
    }
    return 300;
}
EDGES_PLUGIN("edges", "1", .create = create, .destroy = destroy, .go = go, .rooms = rooms, .forgets_int = forgets_int,
             .forgets_float = forgets_float, .forgets_bool = forgets_bool, .addresses = addresses,
             .fails_after = fails_after, .had_to_wait = had_to_wait);
"""


@pytest.fixture(scope="module")
def library(compiler: Compiler) -> Path:
    compiler.header(Edges)
    return compiler.text("edges", EDGES)


# -- the GIL in create and destroy -------------------------------------------------------------------------------------


def test_other_threads_run_during_a_create(library: Path, fresh: Fresh, binding: Binding) -> None:
    path = fresh(library)
    other = hardpoint.load(path, Edges, binding=binding)
    thread = threading.Thread(target=other.go)
    thread.start()
    hardpoint.load(path, Edges, binding=binding, config="create waits")
    thread.join()
    assert other.had_to_wait() == 0


@pytest.mark.parametrize("how", ["close", "del"])
def test_other_threads_run_during_a_destroy(library: Path, fresh: Fresh, binding: Binding, how: str) -> None:
    path = fresh(library)
    other = hardpoint.load(path, Edges, binding=binding)
    waits: Any = hardpoint.load(path, Edges, binding=binding, config="destroy waits")
    thread = threading.Thread(target=other.go)
    thread.start()
    if how == "close":
        hardpoint.close(waits)
    del waits
    gc.collect()
    thread.join()
    assert other.had_to_wait() == 0


# -- room for results --------------------------------------------------------------------------------------------------


@pytest.fixture
def edges(library: Path, fresh: Fresh, way: Way) -> Edges:
    return hardpoint.load(fresh(library), Edges, **how(way))


def test_room_grows_by_factors(edges: Edges) -> None:
    """A result that is written byte by byte would take the square of its size otherwise."""
    for _ in range(3):
        with pytest.raises(hardpoint.CallError):
            edges.fails_after(5 << 20)  # the memory of so large a result is not kept for the next one
        rooms = list(map(int, edges.rooms(1 << 20).split()))
        assert rooms[0] >= 512
        assert all(later >= 2 * earlier for earlier, later in pairwise(rooms)), rooms
        assert rooms[-1] < 4 << 20


def test_a_result_that_the_plugin_forgot_is_zero(edges: Edges) -> None:
    """It is never memory of the host's."""
    for _ in range(3):
        edges.rooms(2000)
        assert (edges.forgets_int(), edges.forgets_float(), edges.forgets_bool()) == (0, 0.0, False)
        assert (type(edges.forgets_float()), edges.forgets_bool()) == (float, False)


def test_a_pointer_is_never_null_and_a_length_is_exact(edges: Edges) -> None:
    empty = edges.addresses("", b"", memoryview(b""), bytearray())
    assert empty == "set 0, set 0, set 0, set 0"
    assert (
        edges.addresses("é", bytes(3), memoryview(b"abcd")[1:], bytearray(70_000)) == "set 2, set 3, set 3, set 70000"
    )


def test_a_failure_has_all_of_its_reason(edges: Edges) -> None:
    for size in (1, 511, 512, 1023, 1024, 1025, 5000, 100_000):
        with pytest.raises(hardpoint.CallError) as caught:
            edges.fails_after(size)
        assert caught.value.text == "x" * size
        assert caught.value.status == 300


def test_memory_of_large_results_is_given_back(probe_library: Path, fresh: Fresh, binding: Binding) -> None:
    probe = hardpoint.load(fresh(probe_library), Probe, binding=binding)
    probe.text("x" * 100)
    gc.collect()
    before = held()[1]
    for _ in range(3):
        assert len(probe.repeat("x" * (1 << 20), 24)) == 24 << 20
        with pytest.raises(hardpoint.CallError):
            probe.break_rule("no-memory")
    gc.collect()
    assert held()[1] - before < 5 << 20  # the native binding keeps 4 MiB for the next result


# -- the types in C ----------------------------------------------------------------------------------------------------


@pytest.fixture
def native(probe_library: Path, fresh: Fresh) -> Any:
    return hardpoint.load(fresh(probe_library), Probe, binding="native")


@needs_native
def test_types_cannot_be_changed_or_made(native: Any) -> None:
    from hardpoint.binding._native import Holder, NativeMethod

    kinds: tuple[Any, ...] = (Holder, NativeMethod)
    for kind in kinds:
        with pytest.raises(TypeError, match="immutable type"):
            kind.other = 1
        with pytest.raises(TypeError):
            kind()
    with pytest.raises(TypeError, match="takes no keywords"):
        kinds[1](0, "s", "s", False, "n", None, None, None, more=1)
    vectorcall, descriptor = 1 << 11, 1 << 17  # Py_TPFLAGS_...: without them, each call makes a method or a tuple
    assert NativeMethod.__flags__ & vectorcall
    assert NativeMethod.__flags__ & descriptor
    assert gc.is_tracked(vars(type(native))["text"])
    assert not gc.is_tracked(native._instance._holder)


def _method(*parts: Any, name: str = "name", kinds: str = "s") -> Any:
    from hardpoint.binding._native import NativeMethod

    made: Any = NativeMethod
    return made(0, kinds, "s", False, name, *parts)


@needs_native
def test_a_method_lets_go_of_what_it_was_made_of() -> None:
    name, *parts = "a name of its own"[2:], object(), object(), object()
    before = [sys.getrefcount(each) for each in (name, *parts)]
    methods = [_method(*parts, name=name) for _ in range(20)]
    assert [sys.getrefcount(each) for each in (name, *parts)] == [count + 20 for count in before]
    gone: list[object] = []
    seen = weakref.ref(methods[0], gone.append)
    methods.clear()
    assert [sys.getrefcount(each) for each in (name, *parts)] == before
    assert gone == [seen]
    assert seen() is None


@needs_native
def test_a_method_with_an_invalid_plan_is_freed() -> None:
    def refused() -> None:
        with suppress(ValueError):
            _method(None, None, None, kinds="x")

    for _ in range(10):
        refused()
    before = sys.getallocatedblocks()
    for _ in range(200):
        refused()
    assert sys.getallocatedblocks() - before < 100
    _method(None, None, None, kinds="s" * 8)
    with pytest.raises(ValueError, match="at most 8 parameters"):
        _method(None, None, None, kinds="s" * 9)


@needs_native
@pytest.mark.parametrize("place", ["arguments", "convert", "conclude", "dict"])
def test_the_collector_sees_what_a_method_refers_to(place: str) -> None:
    cycle: list[object] = []
    parts = [cycle if place == each else None for each in ("arguments", "convert", "conclude")]
    method = _method(*parts)
    cycle.append(method)
    if place == "dict":
        vars(method)["itself"] = method
        cycle.clear()
    seen = weakref.ref(method)
    del method, cycle, parts
    gc.collect()
    assert seen() is None


def test_a_character_is_kept_wherever_it_stands(probe_library: Path, fresh: Fresh, binding: Binding) -> None:
    """ASCII is copied by words, and the last words once more."""
    probe = hardpoint.load(fresh(probe_library), Probe, binding=binding)
    for size in range(45):
        plain = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJ"[:size]
        assert probe.text(plain) == plain
        for at in range(size):
            text = f"{plain[:at]}é{plain[at + 1 :]}"
            assert probe.text(text) == text


@needs_native
def test_a_method_has_one_class(native: Any) -> None:
    method = vars(type(native))["text"]
    with pytest.raises(TypeError, match="already has a class"):
        method.__set_name__(type(native), "text")
    fresh_method: Any = type(method)(0, "s", "s", False, "n", None, None, None)
    with pytest.raises(AttributeError, match="_instance"):
        fresh_method.__set_name__(int, "text")
    assert native.text("x") == "x"


@needs_native
def test_the_class_of_instances_needs_its_slot(native: Any) -> None:
    from hardpoint.binding._native import set_up

    class Other:
        _holder = 5

    for kind in (int, Other):
        with pytest.raises((TypeError, AttributeError), match="_holder"):
            set_up(kind)
    assert native.text("x") == "x"


@needs_native
def test_an_instance_of_another_binding_is_refused(native: Any, probe_library: Path, fresh: Fresh) -> None:
    other: Any = hardpoint.load(fresh(probe_library, "other.so"), Probe, binding="cffi")
    mine = native._instance
    native._instance = other._instance
    with pytest.raises(TypeError, match="is not an instance that the native binding made"):
        native.text("x")
    native._instance = mine
    assert native.text("x") == "x"


@needs_native
def test_an_instance_of_a_derived_class_works(native: Any) -> None:
    """The slow path: the instance is asked for its holder."""
    from hardpoint.binding.instance import Instance

    class Derived(Instance):
        __slots__ = ()

    mine = native._instance
    native._instance = Derived(mine._holder, mine.backend)
    assert native.text("x") == "x"
    assert native.text(value="y") == "y"
    native._instance.close()
    with pytest.raises(hardpoint.ClosedError):
        native.text("x")


@needs_native
def test_an_instance_that_is_exchanged_while_a_call_waits(
    compiler: Compiler, probe_library: Path, fresh: Fresh
) -> None:
    serial = fresh(compiler.library("probe.c", "-pthread", "-DSERIAL"))
    probe: Any = hardpoint.load(serial, Probe, binding="native")
    other: Any = hardpoint.load(serial, Probe, binding="native")
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            probe.text("x")
        except RuntimeError as error:
            errors.append(error)

    first = threading.Thread(target=probe.overlap, args=(300,))
    second = threading.Thread(target=wait)
    first.start()
    time.sleep(0.1)
    second.start()
    time.sleep(0.1)
    probe._instance.exchange(other._instance._holder, other._instance.backend)
    first.join()
    second.join()
    assert [str(error) for error in errors] == ["the instance was exchanged during a call"]
    assert probe.text("x") == "x"


@needs_native
def test_addresses_are_the_plugins(native: Any) -> None:
    handle = ctypes.CDLL(hardpoint.info(native).library)
    vtable = ctypes.addressof(ctypes.c_char.in_dll(handle, "hardpoint_probe_v1"))
    slots = (ctypes.c_ulong * 3).from_address(vtable + 48)
    methods = [vars(type(native))[name] for name in ("text", "raw", "view")]
    assert [method.address for method in methods] == list(slots)
    assert native._instance._holder.pointer
    with pytest.raises(AttributeError):
        methods[0].address = 5


@pytest.fixture(autouse=True)
def no_garbage() -> Iterator[None]:
    """Fail if a test makes garbage that the collector cannot free."""
    yield
    gc.collect()
    assert gc.garbage == []
