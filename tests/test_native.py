"""The native binding, and edge cases of all bindings: the GIL, locks, interpreter exit, foreign objects."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import pytest
from conftest import CAN_BUILD_NATIVE, IMPORTABLE
from probe import Probe

import hardpoint
from hardpoint.contracts import Greeter
from hardpoint.definition.decorators import contract_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Binding, Compiler, Fresh, RunPython

needs_native = pytest.mark.skipif(not CAN_BUILD_NATIVE, reason="the native binding is built with Python.h")


@pytest.fixture(scope="session")
def serial_library(compiler: Compiler, probe_library: Path) -> Path:
    return compiler.library("probe.c", "-pthread", "-DSERIAL")


@pytest.fixture
def probe(probe_library: Path, fresh: Fresh, binding: Binding) -> Probe:
    return hardpoint.load(fresh(probe_library), Probe, binding=binding)


@pytest.fixture
def serial(serial_library: Path, fresh: Fresh, binding: Binding) -> Probe:
    return hardpoint.load(fresh(serial_library), Probe, binding=binding)


def together(*functions: Callable[[], object]) -> list[object]:
    results: dict[int, object] = {}

    def work(index: int) -> None:
        try:
            results[index] = functions[index]()
        except Exception as error:  # noqa: BLE001 - it is the result
            results[index] = error

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(results) == len(functions), "a thread waits for ever"
    return [results[index] for index in range(len(functions))]


# -- the GIL -----------------------------------------------------------------------------------------------------------


@hardpoint.contract("meeting", version="1.0")
@runtime_checkable
class Meeting(Protocol):
    """Two threads meet in the plugin only if the first one releases the GIL."""

    @hardpoint.quick
    def quickly(self, data: bytes) -> int: ...

    def slowly(self, data: bytes) -> int: ...


MEETING = """
#include <stdatomic.h>
#include <time.h>
#include "meeting.h"
static atomic_int inside;
static hp_status slowly(void *self, const uint8_t *data, size_t data_len, int64_t *result, hp_out *out) {
    (void)self, (void)data, (void)data_len, (void)out;
    inside++;
    const struct timespec moment = {0, 1000000};
    for (int turn = 0; turn < 400 && inside < 2; turn++) {
        nanosleep(&moment, NULL);
    }
    *result = inside;
    nanosleep(&(struct timespec){0, 50000000}, NULL);
    inside--;
    return HP_OK;
}
MEETING_PLUGIN("meeting", "1", .quickly = slowly, .slowly = slowly);
"""


@needs_native
@pytest.mark.parametrize(
    ("method", "size", "met"), [("slowly", 0, True), ("quickly", 2047, False), ("quickly", 2048, True)]
)
def test_a_quick_method_keeps_the_gil_for_small_inputs(
    compiler: Compiler, fresh: Fresh, method: str, size: int, met: bool
) -> None:
    compiler.header(Meeting)
    call = getattr(hardpoint.load(fresh(compiler.text("meeting", MEETING)), Meeting, binding="native"), method)
    found = together(lambda: call(bytes(size)), lambda: call(bytes(size)))
    assert (2 in found) is met


# -- one at a time -----------------------------------------------------------------------------------------------------


def test_a_quick_call_waits_for_its_turn_without_the_gil(serial: Probe) -> None:
    """The thread in the plugin needs the GIL to return."""
    found = together(
        *[lambda: [serial.overlap(1) for _ in range(20)], lambda: [serial.text("x") for _ in range(20)]] * 2
    )
    assert found == [[1] * 20, ["x"] * 20] * 2


def test_an_instance_that_is_closed_while_a_call_waits_for_its_turn(serial: Probe) -> None:
    def close() -> None:
        time.sleep(0.15)
        hardpoint.close(serial)

    def wait() -> object:
        time.sleep(0.05)
        return serial.text("x")

    first, second, _ = together(lambda: serial.overlap(300), wait, close)
    assert first == 1
    assert isinstance(second, hardpoint.ClosedError)
    assert str(second) == "text cannot be called: probe was closed; load it again"


class StopError(Exception):
    pass


def test_a_signal_ends_the_wait_for_a_turn(serial: Probe) -> None:
    def stop(*_: object) -> None:
        raise StopError

    before = signal.signal(signal.SIGALRM, stop)
    thread = threading.Thread(target=serial.overlap, args=(600,))
    try:
        thread.start()
        time.sleep(0.1)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(StopError):
            serial.text("x")
        assert thread.is_alive()
    finally:
        signal.signal(signal.SIGALRM, before)
        thread.join()
    assert serial.text("x") == "x"


# -- other objects -----------------------------------------------------------------------------------------------------


def test_a_method_is_called_on_objects_of_its_class_alone(
    probe: Probe, probe_library: Path, fresh: Fresh, binding: Binding
) -> None:
    """A method that got another library's instance would use another library's memory."""
    text: Any = type(probe).text
    other = hardpoint.load(fresh(probe_library, "other.so"), Probe, binding=binding)
    assert text(probe, "x") == text(self=probe, value="x") == "x"
    for foreign, name in ((other, "Probe"), (5, "int"), (None, "NoneType")):
        with pytest.raises(TypeError) as caught:
            text(foreign, "x")
        assert str(caught.value) == f"descriptor 'text' for 'Probe' objects doesn't apply to a '{name}' object"
    with pytest.raises(
        TypeError, match=r"^Probe\.text\(\) missing 2 required positional arguments: 'self' and 'value'$"
    ):
        text()
    with pytest.raises(TypeError, match="descriptor 'shout' for 'Probe' objects"):
        type(probe).shout(other, "x")


def test_an_object_that_was_not_made_by_load_has_no_instance(probe: Probe) -> None:
    hollow: Any = object.__new__(type(probe))
    with pytest.raises(AttributeError, match="_instance"):
        hollow.text("x")

    class Derived(type(probe)):  # type: ignore[misc]
        pass

    derived: Any = object.__new__(Derived)
    with pytest.raises(AttributeError, match="_instance"):
        derived.text("x")

    class Answering(type(probe)):  # type: ignore[misc]
        def __getattr__(self, name: str) -> int:
            return 12345

    with pytest.raises(AttributeError):
        answering: Any = object.__new__(Answering)
        answering.text("x")
    derived._instance = probe._instance  # type: ignore[attr-defined]
    assert derived.text("x") == "x"


def test_methods_are_objects_like_functions(probe: Probe) -> None:
    method: Any = type(probe).text
    assert method.__wrapped__ is Probe.text
    assert weakref.WeakMethod(probe.text)() == probe.text
    method.note = "kept"
    assert probe.text.note == "kept"  # type: ignore[attr-defined]
    assert callable(method)
    assert "text" in repr(method)


def test_an_unused_class_is_collected(probe_library: Path, fresh: Fresh, binding: Binding) -> None:
    library = fresh(probe_library)
    first = hardpoint.load(library, Probe, binding=binding)
    os.symlink(library, f"{library}.link")
    second = hardpoint.load(f"{library}.link", Probe, binding=binding)
    known = weakref.ref(type(second))
    assert type(second) is not type(first)
    del second
    gc.collect()
    assert known() is None


# -- the end ----------------------------------------------------------------------------------------------------------


def test_threads_that_call_when_the_interpreter_ends(
    serial_library: Path, probe_library: Path, binding: Binding, run_python: RunPython
) -> None:
    code = """
import logging, sys, threading, time, hardpoint
logging.disable()
sys.path[:0] = {tests!r}
from probe import Probe
plugins = [hardpoint.load(path, Probe, binding={binding!r}) for path in {paths!r}]
def work(plugin):
    while True:
        plugin.text("quick")
        plugin.repeat("slow" * 100, 20)
        plugin.log(10, "x")
for plugin in plugins * 3:
    threading.Thread(target=work, args=(plugin,), daemon=True).start()
time.sleep(0.2)
"""
    paths = [str(serial_library), str(probe_library)]
    for _ in range(5):
        run_python(code.format(tests=IMPORTABLE, binding=binding, paths=paths))


SUBINTERPRETER = """
import sys
import hardpoint
from hardpoint.contracts import Greeter
english = hardpoint.load({path!r}, Greeter)
code = '''
import sys
sys.path[:] = {{}}
try:
    import hardpoint
    from hardpoint.contracts import Greeter
    print(hardpoint.load({path!r}, Greeter))
except Exception as error:
    print(error)
sys.stdout.flush()
'''.format(repr(sys.path))
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
for made in {made}:
    interpreters.run_string(made, code)
    interpreters.destroy(made)
print(english.lang())
"""


@needs_native
@pytest.mark.parametrize("kind", ["isolated", "legacy"])
def test_a_subinterpreter_is_refused(english: Path, run_python: RunPython, kind: str) -> None:
    made = {
        "isolated": "[interpreters.create()]",
        "legacy": "[interpreters.create('legacy') if sys.version_info >= (3, 13) else interpreters.create(isolated=False)]",
    }[kind]
    refused, *rest = run_python(SUBINTERPRETER.format(path=str(english), made=made)).stdout.splitlines()
    assert rest == ["English"]
    assert (
        refused
        in {
            "plugins are loaded in the main interpreter alone, and this is another; load them there, or in a process of its own",
            "module _cffi_backend does not support loading in subinterpreters",  # cffi's message, on Pythons that let it import
        }
    )


@needs_native
@pytest.mark.parametrize(("kinds", "result"), [("x", "s"), ("s" * 9, "s"), ("s", "x"), ("s", "\0"), ("s", "\u0173")])
def test_an_invalid_plan(kinds: str, result: str) -> None:
    from hardpoint.binding._native import NativeMethod

    with pytest.raises(ValueError, match=r"'x' is not a kind of parameter|at most 8 parameters, and a result of"):
        NativeMethod(0, kinds, result, False, "n", lambda: (), lambda *_: None, lambda: None)


@needs_native
def test_the_floor_is_the_call_in_a_loop(english: Path, fresh: Fresh) -> None:
    from hardpoint.benchmark.floor import Floor

    plugin = hardpoint.load(fresh(english), Greeter, binding="native")
    greet = contract_of(Greeter).methods[0]
    assert Floor(plugin, greet, ("World",))(1000) > 0
    with pytest.raises(TypeError, match=r"greet\(\) argument 'name' must be str, not int"):
        Floor(plugin, greet, (5,))
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        Floor(plugin, greet, ())
    hardpoint.close(plugin)
    with pytest.raises(hardpoint.ClosedError):
        Floor(plugin, greet, ("World",))


@needs_native
def test_the_floor_passes_what_a_call_passes(probe_library: Path, fresh: Fresh) -> None:
    """Arguments of every kind, some on the stack; a result that grows; the error of a method that fails."""
    from hardpoint.benchmark.floor import Floor

    probe = hardpoint.load(fresh(probe_library), Probe, binding="native")
    methods = {method.name: method for method in contract_of(Probe).methods}
    data = bytearray(b"\x00\x0f\xff")
    assert Floor(probe, methods["flip"], (data,))(2) > 0
    assert data == b"\xff\xf0\x00", "one call and two more changed the same memory"
    values = (1, 2.5, "c", True, b"e", bytearray(b"f"), 0.125, -7)
    assert Floor(probe, methods["mixed"], values)(10) > 0
    assert Floor(probe, methods["repeat"], ("abcd", 1 << 16))(3) > 0
    with pytest.raises(hardpoint.CallError, match="fail failed with status 300"):
        Floor(probe, methods["fail"], (300, "no luck"))
