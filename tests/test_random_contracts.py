"""Random contracts: results, errors and changed buffers agree between all bindings and with a model in Python.

The quick suite tries one contract, and the long tests three, or a hundred with HARDPOINT_BATCHES=100.
"""

from __future__ import annotations

import gc
import os
import re
import shutil
import tracemalloc
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import echo
import pytest
from conftest import CAN_BUILD_NATIVE, TESTS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_calls import Call, Value, any_calls, good_calls, same, value

import hardpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Binding, Compiler

    from hardpoint.definition.kinds import Kind
    from hardpoint.definition.model import Method

BATCHES = int(os.environ.get("HARDPOINT_BATCHES", "3"))
BINDINGS: tuple[Binding, ...] = ("native", "cffi", "ctypes") if CAN_BUILD_NATIVE else ("cffi", "ctypes")


class Loaded(NamedTuple):
    """A batch, and its plugin loaded with each binding from a separate copy of the library."""

    batch: echo.Batch
    plugins: dict[Binding, Any]

    def __repr__(self) -> str:
        return repr(self.batch)


SEEDS = [pytest.param(seed, marks=[pytest.mark.long] if seed else [], id=f"batch-{seed}") for seed in range(BATCHES)]


@pytest.fixture(scope="module", params=SEEDS)
def loaded(request: pytest.FixtureRequest, compiler: Compiler, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    batch = echo.make_batch(request.param)
    compiler.header(batch.cls)
    library = compiler.text(batch.contract.name, echo.render_plugin(batch), f"-I{TESTS / 'plugins'}")
    plugins: dict[Binding, Any] = {}
    for binding in BINDINGS:
        copy = tmp_path_factory.mktemp(binding) / library.name
        shutil.copy(library, copy)
        plugins[binding] = hardpoint.load(copy, batch.cls, binding=binding)
    return Loaded(batch, plugins)


# -- calls -----------------------------------------------------------------------------------------------------------


class Seen(NamedTuple):
    """The effect of a call: its outcome, the whole message of an error, and its arguments afterwards."""

    outcome: echo.Outcome
    message: str
    after: list[object]


def _after(value: Any) -> object:
    """Return the contents of a buffer, and check that it was released: a bytearray can be resized."""
    if isinstance(value, bytearray):
        value.append(0)
        del value[-1:]
    try:
        return bytes(memoryview(value))
    except (TypeError, ValueError):
        return None


def _clean(message: str, path: str) -> str:
    """Remove the parts of a message that depend on the copy of the library, and on the size of its hp_out."""

    def surplus(match: re.Match[str]) -> str:
        return f"wrote {int(match[1]) - int(match[2])} bytes more than there was room for"

    return re.sub(r"wrote (\d+) bytes where there was room for (\d+)", surplus, message.replace(path, "PATH"))


def perform(call: Call, plugin: Any) -> Seen:
    made = call.make()
    message = ""
    outcome: echo.Outcome
    try:
        outcome = echo.gives(call.on(plugin, made))
    except Exception as error:  # noqa: BLE001 - whatever it is, it has to be the same everywhere
        message = _clean(str(error), hardpoint.info(plugin).path)
        outcome = echo.Raises(type(error).__name__, getattr(error, "status", None), getattr(error, "text", None))
    return Seen(outcome, message, [_after(value) for value in made])


def compare(loaded: Loaded, call: Call) -> Seen:
    """Make the call with every binding, check that the effects are equal, and return them."""
    seen = {binding: perform(call, plugin) for binding, plugin in loaded.plugins.items()}
    one = seen["cffi"]
    lines = "\n  ".join(f"{binding}: {each}" for binding, each in seen.items())
    assert all(each == one for each in seen.values()), f"{_told(loaded, call)}\n  {lines}"
    return one


def check(loaded: Loaded, call: Call) -> None:
    """Check a valid call with every binding against the model."""
    seen = compare(loaded, call)
    made = call.make()
    expected = echo.answer(loaded.batch, call.method, call.in_order(made))
    told = f"{_told(loaded, call)}\n  expected: {expected}\n  found: {seen}"
    assert seen.outcome == expected, told
    assert seen.after == [_after(value) for value in made], told


def _told(loaded: Loaded, call: Call) -> str:
    habit = loaded.batch.habits[call.method.name]
    return f"{loaded.batch}, {call}; {habit=}"


# -- tests -----------------------------------------------------------------------------------------------------------

MANY = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def plain_calls(methods: tuple[Method, ...], times: int) -> Iterator[Call]:
    """Yield calls of every method, with arguments that are all different."""
    random = Random(7)
    makers: dict[type, Callable[[Kind], Value]] = {
        str: lambda _: value(same, "é\0x"[: random.randint(1, 3)] * random.choice((0, 1, 9, 2000))),
        bytes: lambda _: value(same, random.randbytes(random.choice((0, 1, 9, 3000)))),
        bytearray: lambda _: value(bytearray, random.randbytes(random.choice((0, 1, 9, 300)))),
        int: lambda kind: value(same, random.randint(*kind.limits or (0, 0))),
        float: lambda _: value(same, random.uniform(-1e9, 1e9)),
        bool: lambda _: value(same, random.random() < 0.5),
    }
    for _ in range(times):
        for method in methods:
            yield Call(method, tuple(makers[each.kind.python](each.kind) for each in method.parameters))


def test_every_method_of_a_random_contract(loaded: Loaded) -> None:
    for call in plain_calls(loaded.batch.contract.methods, 25 if loaded.batch.seed else 8):
        check(loaded, call)


@MANY
@given(data=st.data())
def test_good_calls(loaded: Loaded, data: st.DataObject) -> None:
    check(loaded, data.draw(good_calls(loaded.batch.contract.methods)))


@MANY
@given(data=st.data())
def test_calls_with_something_wrong(loaded: Loaded, data: st.DataObject) -> None:
    compare(loaded, data.draw(any_calls(loaded.batch.contract.methods)))


@pytest.mark.parametrize("binding", BINDINGS)
def test_calls_leave_no_object_behind(loaded: Loaded, binding: Binding) -> None:
    plugin = loaded.plugins[binding]
    calls = list(plain_calls(loaded.batch.contract.methods, 2))
    wrong = [call._replace(values=(*call.values[:-1], value(same, 1j))) for call in calls if call.values]

    def work() -> int:
        for call in (*calls, *wrong):
            perform(call, plugin)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        for _ in range(2):  # one-time allocations are done
            work()
        before, *_, after = [work() for _ in range(4)]
    finally:
        tracemalloc.stop()
    assert after - before < 500, "each round of calls leaves objects behind"
