"""Random contracts, plugins for them, and a model in Python of their answers; tests/plugins/echo.h is the same in C."""

from __future__ import annotations

import struct
import zlib
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from hardpoint.definition import kinds
from hardpoint.definition.decorators import contract_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from hardpoint.definition.kinds import Kind
    from hardpoint.definition.model import Contract, Method

BUFFERS = tuple(text for text, kind in kinds.KINDS.items() if kind.is_buffer)
VALUES = tuple(text for text, kind in kinds.KINDS.items() if kind.is_value)
RESULTS = tuple(text for text, kind in kinds.KINDS.items() if kind.results)
LETTERS = {str: "s", bytes: "b", bytearray: "w", int: "i", float: "f", bool: "?", type(None): "n"}
"""The forms of echo.h, by the class of a kind's values."""
NAMES = "a b c x y kwargs args plugin cls name len data index holder".split()
HABITS = ("PLAIN", "GROWS", "FAILS", "BREAKS")
MOST_METHODS = 36
MOST_TEXT = 3600
"""Maximum bytes in the texts of a contract's methods, since the manifest has to hold all of them."""
BITS = (1 << 64) - 1


class Batch(NamedTuple):
    """A random contract, and the behaviour of its plugin's methods."""

    seed: int
    source: str
    cls: type
    habits: dict[str, tuple[str, int]]
    """By the method's name: its side effect, and the number of calls to which it happens once."""

    def __repr__(self) -> str:
        return f"batch {self.seed}"

    @property
    def contract(self) -> Contract:
        return contract_of(self.cls)


# -- contracts -------------------------------------------------------------------------------------------------------


def make_batch(seed: int) -> Batch:
    """The contract of a seed: first the signatures that need the most registers and stack, then random ones."""
    random = Random(seed)
    source = f"@contract('random{seed}', version='1.0')\n@runtime_checkable\nclass Random{seed}(Protocol):\n"
    habits: dict[str, tuple[str, int]] = {}
    room = MOST_TEXT
    for index in range(MOST_METHODS):
        text = _method(random, f"m{index}", _texts(random, index))
        room -= len(text)
        if room < 0:
            break
        source += f"    {random.choice(('', '@quick '))}".rstrip() + f"\n    def {text}: ...\n"
        habits[f"m{index}"] = random.choice(HABITS), random.randint(1, 4)
    scope: dict[str, Any] = {"__name__": "random_contracts"}
    exec("from typing import Protocol, runtime_checkable\nfrom hardpoint import *\n" + source, scope)
    return Batch(seed, source, scope[f"Random{seed}"], habits)


def _texts(random: Random, index: int) -> list[str]:
    full = (["int"], ["bool"], ["float"], ["int", "float"], ["str"], ["bytearray"], ["str", "bytes", "bytearray"])
    if index < len(full):
        return random.choices(full[index], k=8)
    every = BUFFERS + VALUES
    return random.choices(random.choice((every, every, BUFFERS, VALUES)), k=random.randint(0, 8))


def _annotations(text: str) -> list[str]:
    """Every way to annotate a parameter of a kind, one of them in quotes."""
    names = [getattr(each, "__name__", str(each)) for each in kinds.find_kind(text).parameters]
    return [*names, repr(names[0])]


def _method(random: Random, name: str, texts: list[str]) -> str:
    """Such as `m1(self, a: str, b: 'int', /, c: Buffer) -> bool`."""
    names = random.sample(NAMES, len(texts))
    words = [f"{each}: {random.choice(_annotations(text))}" for each, text in zip(names, texts, strict=True)]
    if words and random.random() < 0.3:
        words.insert(random.randint(1, len(words)), "/")
    return f"{name}({', '.join(['self', *words])}) -> {random.choice(RESULTS)}"


# -- plugins ---------------------------------------------------------------------------------------------------------


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
    parameters = ["void *self"]
    lines = [f'echo_open(&e, "{method.name}", self, out);']
    changes: list[str] = []
    for index, kind in enumerate(parameter.kind for parameter in method.parameters):
        parameters.append(f"{kind.c.parameter} p{index}{f', size_t n{index}' if kind.is_buffer else ''}")
        arguments = f"'{LETTERS[kind.python]}', p{index}, n{index}" if kind.is_buffer else f"p{index}"
        lines.append(f"echo_{'buffer' if kind.is_buffer else kind.python.__name__}(&e, {arguments});")
        changes += [f"echo_change(&e, p{index}, n{index});"] if kind.writable else []
    where, size = "NULL", "0"
    if method.result.is_value:
        parameters.append(f"{method.result.c.result} *result")
        where, size = "result", "sizeof *result"
    letter = LETTERS[method.result.python]
    lines += ["echo_end(&e);", *changes, f"return echo_close(&e, '{letter}', {where}, {size}, {habit}, {every});"]
    body = "\n    ".join(["echo e;", *lines])
    return f"static hp_status {method.name}({', '.join(parameters)}, hp_out *out) {{\n    {body}\n}}\n"


# -- answers ---------------------------------------------------------------------------------------------------------


class Raises(NamedTuple):
    """A call that raises: the error's class, and the plugin's status and reason for a CallError."""

    error: str
    status: int | None = None
    text: str | None = None


class Gives(NamedTuple):
    """A call that returns: the result's type, and a value that == can distinguish (a float as its bits)."""

    type: str
    value: object


Outcome = Raises | Gives
BROKEN = Raises("ContractBrokenError")


def gives(result: object) -> Gives:
    """A result as an Outcome."""
    value = struct.pack(">d", result).hex() if isinstance(result, float) else result
    return Gives(type(result).__name__, value)


def answer(batch: Batch, method: Method, arguments: list[Any]) -> Outcome:
    """Compute the plugin's answer to valid arguments; bytearrays are changed as the plugin changes them."""
    given = [(parameter.kind, argument) for parameter, argument in zip(method.parameters, arguments, strict=True)]
    words = [_rendered(kind, argument) for kind, argument in given]
    call = _Call(" ".join([method.name, *words]).encode(), method.result)
    for kind, argument in given:
        if kind.writable:
            _change(argument, call.hash)
    habit, every = batch.habits[method.name]
    if call.draw(every) > 0 or habit == "PLAIN":
        return call.answer()
    return {"GROWS": call.grow, "FAILS": call.fail, "BREAKS": call.break_rules}[habit]()


def _rendered(kind: Kind, value: Any) -> str:
    if kind.python in {int, bool}:
        return f"{LETTERS[kind.python]}{int(value)}"
    if kind.python is float:
        return f"f{struct.pack('>d', float(value)).hex()}"
    data = str.encode(value) if kind.is_text else bytes(memoryview(value))
    return f"{LETTERS[kind.python]}{len(data)}:{data.hex()}"


def _change(buffer: Any, mask: int) -> None:
    view = memoryview(buffer)
    for index, byte in enumerate(view.tobytes()):
        view.cast("B")[index] = byte ^ ((mask >> 8 * (index % 8)) + index & 0xFF)


class _Call:
    """The functions of echo.h that run after the arguments were rendered, one for one."""

    def __init__(self, text: bytes, kind: Kind) -> None:
        self.text = text
        self.kind = kind
        self.python = kind.python
        self.hash = self.state = zlib.crc32(text) * 0x9E3779B97F4A7C15 & BITS

    def draw(self, limit: int) -> int:
        drawn = (self.state >> 33) % limit
        self.state = self.state * 6364136223846793005 + 1442695040888963407 & BITS
        return drawn

    def answer(self, more: bytes = b"") -> Outcome:
        """`more` is the text after the answer."""
        odd = (0x7FF8000000000000, 0x7FF0000000000000, 0x8000000000000000, 1)
        bits = odd[self.draw(4)] if self.draw(4) == 0 else self.hash
        truth = bool(self.draw(2))
        raw = struct.pack("<Q", self.hash)
        results: dict[type, Callable[[], object]] = {
            str: (self.text + more).decode,
            bytes: lambda: self.text + raw + more,
            int: lambda: self._integer(raw),
            float: lambda: struct.unpack("<d", struct.pack("<Q", bits))[0],
            bool: lambda: truth,
            type(None): lambda: None,
        }
        return gives(results[self.python]())

    def _integer(self, raw: bytes) -> int:
        least, greatest = self.kind.limits or (0, 0)
        size = (greatest - least).bit_length() // 8
        return int.from_bytes(raw[:size], "little", signed=least < 0)

    def grow(self) -> Outcome:
        before = self.state
        self.answer()
        if self.draw(2):
            size = (511, 512, 513, 1023, 1024, 1025, 1032, 2047, 2048, 2049, 65536, 65537)[self.draw(12)]
            written = len(self.text) + (8 if self.python is bytes else 0)
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
        rule = 0 if self.python is str and self.draw(2) else self.draw(9)
        if rule == 0 and self.python is not str:
            return gives(self.text + b"\xe9" if self.python is bytes else self.kind.zero)
        if rule < 6:
            return BROKEN
        if rule < 8:
            return Raises("CallError", 4, "it needed more memory than there is" if rule == 6 else "")
        return gives(True if self.python is bool and self.draw(2) == 1 else self.kind.zero)
