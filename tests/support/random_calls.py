"""Calls of random methods with valid and invalid arguments, drawn by hypothesis."""

from __future__ import annotations

import array
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from hypothesis import strategies as st

from hardpoint.definition.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from hardpoint.definition.kinds import Kind
    from hardpoint.definition.model import Method

# -- values ----------------------------------------------------------------------------------------------------------


class Value(NamedTuple):
    """A recipe for an argument: each binding gets its own copy, and may change it."""

    label: str
    make: Callable[[], Any]

    def __repr__(self) -> str:
        return self.label if len(self.label) < 200 else f"{self.label[:200]}..."


class Name(str):
    __slots__ = ()


class Raw(bytes):
    __slots__ = ()


class Count(int):
    __slots__ = ()


class Real(float):
    __slots__ = ()


class Answers:
    """Has __index__ and __float__, which return a given value or raise a given exception."""

    def __init__(self, what: Any) -> None:
        self.what = what

    def __index__(self) -> Any:
        if isinstance(self.what, Exception):
            raise self.what
        return self.what


class AnswersFloat(Answers):
    __index__ = None  # type: ignore[assignment]

    def __float__(self) -> Any:
        return Answers.__index__(self)


def value(form: Callable[[Any], Any], content: Any) -> Value:
    name = getattr(form, "__name__", "?")
    return Value(f"{name}({content!r})", partial(form, content))


def same(content: Any) -> Any:
    return content


def square(data: bytes) -> memoryview:
    return memoryview(data).cast("B", (2, len(data) // 2)) if data and len(data) % 2 == 0 else memoryview(data)


def middle(data: bytes) -> memoryview:
    return memoryview(bytearray(b"<" + data + b">"))[1:-1]


def doubles(data: bytes) -> array.array[float]:
    return array.array("d", data[: len(data) // 8 * 8])


def strided(data: bytes) -> memoryview:
    return memoryview(bytearray(data))[::2]


def released(data: bytes) -> memoryview:
    view = memoryview(data)
    view.release()
    return view


def writable(data: bytes) -> memoryview:
    return memoryview(bytearray(data))


def _values(forms: list[Any], contents: st.SearchStrategy[Any]) -> st.SearchStrategy[Value]:
    return st.builds(value, st.sampled_from(forms), contents)


TIMES = st.sampled_from([1] * 9 + [200, 900])  # larger than a quick method keeps the GIL for, and than a cached str
TEXTS = st.builds(lambda text, times: text * times, st.text(max_size=10), TIMES)
DATA = st.builds(lambda data, times: data * times, st.binary(max_size=20), TIMES)

GOOD: dict[type, st.SearchStrategy[Value]] = {
    str: _values([same, same, Name], TEXTS),
    bytes: _values([same, Raw, bytearray, memoryview, writable, middle, square, doubles], DATA),
    bytearray: _values([bytearray, writable, middle, doubles], DATA),
    float: _values([same, same, Real, AnswersFloat], st.floats())
    | _values([same, Answers], st.integers(-(2**70), 2**70))
    | _values([same], st.booleans()),
    bool: _values([same], st.booleans()),
}


def good(kind: Kind) -> st.SearchStrategy[Value]:
    """Values that a parameter of the kind takes."""
    if kind.limits is None:
        return GOOD[kind.python]
    ints = st.integers(*kind.limits) | st.sampled_from([0, 1, *kind.limits, *kind.extremes])
    return _values([same, same, Count, Answers], ints) | _values([same], st.booleans())


ERRORS = [ZeroDivisionError("odd"), TypeError("odd"), ValueError("odd"), OverflowError("odd"), MemoryError("odd")]
NUMBERS = [None, "1", b"1", 1.5, 1j, True, 0, 2**63, -(2**63) - 1, 10**400, *ERRORS]
ODD = st.one_of(
    _values([same, Answers, AnswersFloat], st.sampled_from(NUMBERS)),
    _values([same, Name], st.sampled_from(["\ud800", "ab\udfff" * 900, "é\ud800" + "é" * 5000])),
    _values([bytearray, strided, released, memoryview], st.just(b"abcdef")),
)
ANY = st.one_of(ODD, *(good(kind) for kind in KINDS.values() if kind.parameters))


# -- calls -----------------------------------------------------------------------------------------------------------


class Call(NamedTuple):
    """A call of a method: `values` are passed by position, `named` by keyword."""

    method: Method
    values: tuple[Value, ...]
    named: tuple[tuple[str, Value], ...] = ()
    alias: tuple[int, int] | None = None
    """Two arguments that are the same object: the second is the first."""
    receiver: str = "bound"

    def __repr__(self) -> str:
        words = [*map(repr, self.values), *(f"{name}={value}" for name, value in self.named)]
        alias = f", arguments {self.alias} one object" if self.alias else ""
        return f"{self.receiver} {self.method.text} called with ({', '.join(words)}){alias}"

    def make(self) -> list[Any]:
        made = [value.make() for value in (*self.values, *(value for _, value in self.named))]
        if self.alias:
            made[self.alias[1]] = made[self.alias[0]]
        return made

    def on(self, plugin: Any, made: list[Any]) -> Any:
        name, count = self.method.name, len(self.values)
        named = dict(zip((name for name, _ in self.named), made[count:], strict=True))
        if self.receiver == "bound":
            return getattr(plugin, name)(*made[:count], **named)
        receiver = {"class": [plugin], "none": [], "wrong": [5]}[self.receiver]
        return getattr(type(plugin), name)(*receiver, *made[:count], **named)

    def in_order(self, made: list[Any]) -> list[Any]:
        """Return the arguments in the order of the parameters."""
        names = [parameter.name for parameter in self.method.parameters[: len(self.values)]]
        given = dict(zip([*names, *(name for name, _ in self.named)], made, strict=True))
        return [given[parameter.name] for parameter in self.method.parameters]


@st.composite
def good_calls(draw: st.DrawFn, methods: tuple[Method, ...]) -> Call:
    method = draw(st.sampled_from(methods))
    values = [draw(good(parameter.kind)) for parameter in method.parameters]
    slash = sum(parameter.positional_only for parameter in method.parameters)
    by_position = draw(st.sampled_from([len(values)] * 2 + [*range(slash, len(values))]))
    names = [parameter.name for parameter in method.parameters]
    named = draw(st.permutations(list(zip(names, values, strict=True))[by_position:]))
    order = [*names[:by_position], *(name for name, _ in named)]
    writable = [order.index(each.name) for each in method.parameters if each.kind.writable]
    buffers = [order.index(each.name) for each in method.parameters if each.kind.is_buffer and not each.kind.is_text]
    alias = draw(st.none() | st.tuples(st.sampled_from(writable), st.sampled_from(buffers))) if writable else None
    return Call(method, tuple(values[:by_position]), tuple(named), alias, draw(st.sampled_from(["bound", "class"])))


@st.composite
def any_calls(draw: st.DrawFn, methods: tuple[Method, ...]) -> Call:
    """Valid calls changed to be wrong in one or two arguments, their number, their names, or the object."""
    call = draw(good_calls(methods))
    names = [parameter.name for parameter in call.method.parameters]
    flaw = draw(st.sampled_from(["values"] * 6 + ["count", "names", "receiver"]))
    values, named, receiver = list(call.values), list(call.named), "bound"
    if flaw == "values" and names:
        for index in draw(st.lists(st.integers(0, len(names) - 1), min_size=1, max_size=2)):
            if index < len(values):
                values[index] = draw(ANY)
            else:
                named[index - len(values)] = (named[index - len(values)][0], draw(ODD))
    elif flaw == "count":
        values = [*values, *draw(st.lists(ANY, max_size=2))][draw(st.integers(0, 2)) :]
    elif flaw == "names":
        free = sorted({"self", "unknown", "é", *names} - {name for name, _ in named})
        named.append((draw(st.sampled_from(free)), draw(ANY)))
    elif flaw == "receiver":
        receiver = draw(st.sampled_from(["none", "wrong"]))
    return Call(call.method, tuple(values), tuple(named), None, receiver)
