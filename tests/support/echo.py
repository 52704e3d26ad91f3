"""Random contracts, the plugins for them, and what these answer, computed in Python; plugins/echo.h is the same in C."""

from __future__ import annotations

import struct
import zlib
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from hardpoint.definition.decorators import contract_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from hardpoint.definition.model import Contract, Method

ANNOTATIONS = {
    "str": ("str", "'str'"),
    "bytes": ("bytes", "Buffer"),
    "bytearray": ("bytearray", "WritableBuffer"),
    "int": ("int",),
    "float": ("float",),
    "bool": ("bool",),
}
KINDS = tuple(ANNOTATIONS)
RESULTS = ("str", "bytes", "int", "float", "bool", "None")
LETTERS = {"str": "s", "bytes": "b", "bytearray": "w", "int": "i", "float": "f", "bool": "?", "None": "n"}
NAMES = "a b c x y kwargs args plugin cls name len data index holder".split()
HABITS = ("PLAIN", "GROWS", "FAILS", "BREAKS")
MOST_METHODS = 36
MOST_TEXT = 3600
"""Bytes in the texts of a contract's methods: its manifest has to hold them all."""
BITS = (1 << 64) - 1


class Batch(NamedTuple):
    """A contract made at random, and how the methods of the plugin for it behave."""

    seed: int
    source: str
    cls: type
    habits: dict[str, tuple[str, int]]
    """By the method's name: what it does beside answering, once in how many calls."""

    def __repr__(self) -> str:
        return f"batch {self.seed}"

    @property
    def contract(self) -> Contract:
        return contract_of(self.cls)


# -- contracts -------------------------------------------------------------------------------------------------------


def make_batch(seed: int) -> Batch:
    """The contract of a seed: first the signatures that take most registers and stack, then whatever comes."""
    random = Random(seed)
    source = f"@contract('random{seed}', version='1.0')\n@runtime_checkable\nclass Random{seed}(Protocol):\n"
    habits: dict[str, tuple[str, int]] = {}
    room = MOST_TEXT
    for index in range(MOST_METHODS):
        text = _method(random, f"m{index}", _kinds(random, index))
        room -= len(text)
        if room < 0:
            break
        source += f"    {random.choice(('', '@quick '))}".rstrip() + f"\n    def {text}: ...\n"
        habits[f"m{index}"] = random.choice(HABITS), random.randint(1, 4)
    scope: dict[str, Any] = {"__name__": "random_contracts"}
    exec("from typing import Protocol, runtime_checkable\nfrom hardpoint import *\n" + source, scope)
    return Batch(seed, source, scope[f"Random{seed}"], habits)


def _kinds(random: Random, index: int) -> list[str]:
    full = (["int"], ["bool"], ["float"], ["int", "float"], ["str"], ["bytearray"], ["str", "bytes", "bytearray"])
    if index < len(full):
        return random.choices(full[index], k=8)
    return random.choices(random.choice((KINDS, KINDS, KINDS[:3], KINDS[3:])), k=random.randint(0, 8))


def _method(random: Random, name: str, kinds: list[str]) -> str:
    """Such as `m1(self, a: str, b: 'int', /, c: Buffer) -> bool`."""
    names = random.sample(NAMES, len(kinds))
    words = [f"{each}: {random.choice(ANNOTATIONS[kind])}" for each, kind in zip(names, kinds, strict=True)]
    if words and random.random() < 0.3:
        words.insert(random.randint(1, len(words)), "/")
    return f"{name}({', '.join(['self', *words])}) -> {random.choice(RESULTS)}"


# -- plugins ---------------------------------------------------------------------------------------------------------

_C_TYPES = {
    "str": "const char *p{0}, size_t n{0}",
    "bytes": "const uint8_t *p{0}, size_t n{0}",
    "bytearray": "uint8_t *p{0}, size_t n{0}",
    "int": "int64_t p{0}",
    "float": "double p{0}",
    "bool": "bool p{0}",
}
_C_RESULTS = {"int": "int64_t *result, ", "float": "double *result, ", "bool": "bool *result, "}


def render_plugin(batch: Batch) -> str:
    """The plugin for a batch, in C."""
    contract = batch.contract
    functions = "\n".join(_function(method, *batch.habits[method.name]) for method in contract.methods)
    slots = ", ".join(f".{method.name} = {method.name}" for method in contract.methods)
    return (
        f'#include "echo.h"\n#include "{contract.name}.h"\n\n{functions}\n'
        f'{contract.name.upper()}_PLUGIN("echo", "{batch.seed}", .create = echo_create, {slots});\n'
    )


def _function(method: Method, habit: str, every: int) -> str:
    kinds = [parameter.kind.text for parameter in method.parameters]
    parameters = ", ".join(["void *self", *(_C_TYPES[kind].format(index) for index, kind in enumerate(kinds))])
    result = _C_RESULTS.get(method.result.text, "")
    lines = [f'echo_open(&e, "{method.name}", self, out);']
    for index, kind in enumerate(kinds):
        buffer = kind in {"str", "bytes", "bytearray"}
        arguments = f"'{LETTERS[kind]}', p{index}, n{index}" if buffer else f"p{index}"
        lines.append(f"echo_{'buffer' if buffer else kind}(&e, {arguments});")
    lines.append("echo_end(&e);")
    lines += [f"echo_change(&e, p{index}, n{index});" for index, kind in enumerate(kinds) if kind == "bytearray"]
    lines.append(
        f"return echo_close(&e, '{LETTERS[method.result.text]}', {'result' if result else 'NULL'}, {habit}, {every});"
    )
    body = "\n    ".join(["echo e;", *lines])
    return f"static hp_status {method.name}({parameters}, {result}hp_out *out) {{\n    {body}\n}}\n"


# -- what they answer ------------------------------------------------------------------------------------------------


class Raises(NamedTuple):
    """A call that raises: the error's class, and of a CallError what the plugin said."""

    error: str
    status: int | None = None
    text: str | None = None


class Gives(NamedTuple):
    """A call that gives a result, here with its type and as something that == tells apart: a float as its bits."""

    type: str
    value: object


Outcome = Raises | Gives
BROKEN = Raises("ContractBrokenError")


def gives(result: object) -> Gives:
    """A result as an Outcome."""
    value = struct.pack(">d", result).hex() if isinstance(result, float) else result
    return Gives(type(result).__name__, value)


def answer(batch: Batch, method: Method, arguments: list[Any]) -> Outcome:
    """What the plugin answers to good arguments; bytearrays are changed as the plugin changes them."""
    kinds = [parameter.kind.text for parameter in method.parameters]
    words = [_rendered(kind, argument) for kind, argument in zip(kinds, arguments, strict=True)]
    call = _Call(" ".join([method.name, *words]).encode(), method.result.text)
    for kind, argument in zip(kinds, arguments, strict=True):
        if kind == "bytearray":
            _change(argument, call.hash)
    habit, every = batch.habits[method.name]
    if call.draw(every) > 0 or habit == "PLAIN":
        return call.answer()
    return {"GROWS": call.grow, "FAILS": call.fail, "BREAKS": call.break_rules}[habit]()


def _rendered(kind: str, value: Any) -> str:
    if kind in {"int", "bool"}:
        return f"{LETTERS[kind]}{int(value)}"
    if kind == "float":
        return f"f{struct.pack('>d', float(value)).hex()}"
    data = str.encode(value) if kind == "str" else bytes(memoryview(value))
    return f"{LETTERS[kind]}{len(data)}:{data.hex()}"


def _change(buffer: Any, mask: int) -> None:
    view = memoryview(buffer)
    for index, byte in enumerate(view.tobytes()):
        view.cast("B")[index] = byte ^ ((mask >> 8 * (index % 8)) + index & 0xFF)


class _Call:
    """What echo.h does after the arguments were rendered, function for function."""

    def __init__(self, text: bytes, kind: str) -> None:
        self.text = text
        self.kind = kind
        self.hash = self.state = zlib.crc32(text) * 0x9E3779B97F4A7C15 & BITS

    def draw(self, limit: int) -> int:
        drawn = (self.state >> 33) % limit
        self.state = self.state * 6364136223846793005 + 1442695040888963407 & BITS
        return drawn

    def answer(self, more: bytes = b"") -> Outcome:
        """`more` is what it wrote behind its answer."""
        odd = (0x7FF8000000000000, 0x7FF0000000000000, 0x8000000000000000, 1)
        bits = odd[self.draw(4)] if self.draw(4) == 0 else self.hash
        truth = bool(self.draw(2))
        raw = struct.pack("<Q", self.hash)
        results: dict[str, Callable[[], object]] = {
            "str": (self.text + more).decode,
            "bytes": lambda: self.text + raw + more,
            "int": lambda: struct.unpack("<q", raw)[0],
            "float": lambda: struct.unpack("<d", struct.pack("<Q", bits))[0],
            "bool": lambda: truth,
            "None": lambda: None,
        }
        return gives(results[self.kind]())

    def grow(self) -> Outcome:
        before = self.state
        self.answer()
        if self.draw(2):
            size = (511, 512, 513, 1023, 1024, 1025, 1032, 2047, 2048, 2049, 65536, 65537)[self.draw(12)]
            written = len(self.text) + (8 if self.kind == "bytes" else 0)
            more = b"." * (size - written if size > written else 3)
        else:
            more = self.text * self.draw(40)
        self.state = before
        return self.answer(more)

    def fail(self) -> Outcome:
        status = (1, 2, 3, 4, 5, 255, 256, 257, 65535)[self.draw(9)]
        self.answer()
        text = self.text.decode()
        reasons = ("", text, f"{text}\ufffd\ufffd", f"{text}\n" * 30)
        return Raises("CallError", status, reasons[self.draw(4)])

    def break_rules(self) -> Outcome:
        zero = {"str": "", "bytes": b"", "int": 0, "float": 0.0, "bool": False, "None": None}[self.kind]
        rule = 0 if self.kind == "str" and self.draw(2) else self.draw(9)
        if rule == 0 and self.kind != "str":
            return gives(self.text + b"\xe9" if self.kind == "bytes" else zero)
        if rule < 6:
            return BROKEN
        if rule < 8:
            return Raises("CallError", 4, "it needed more memory than there is" if rule == 6 else "")
        return gives(True if self.kind == "bool" and self.draw(2) == 1 else zero)
