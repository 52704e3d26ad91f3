"""What methods are called with: kinds of inputs, made for a method's parameters."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from random import Random

    from ..definition.model import Method

Values = tuple[Any, ...]

_TEXT = "The quick brown fox jumps over the lazy dog, all of the day. -- "  # 64 characters
ORDINARY: dict[str, Any] = {
    "str": "World", "bytes": b"World", "bytearray": b"World", "int": 7, "float": 1.5, "bool": True,
}  # fmt: skip
_INTS = (0, 1, -1, 2**31 - 1, 2**31, -(2**31), 2**32, 2**53 + 1, 2**63 - 1, -(2**63))
_FLOATS = (
    0.0,
    -0.0,
    float("inf"),
    float("-inf"),
    float("nan"),
    5e-324,
    2.2250738585072014e-308,
    1.7976931348623157e308,
)
_EVERY_BYTE = bytes(range(1, 256))
_CHUNK = 4096


def _text(size: int) -> str:
    return (_TEXT * (size // len(_TEXT) + 1))[:size]


def _buffers(texts: Sequence[str]) -> dict[str, Sequence[Any]]:
    """The same for every kind of buffer."""
    data = [text.encode() for text in texts]
    return {"str": texts, "bytes": data, "bytearray": data}


def _unicode() -> dict[str, Sequence[Any]]:
    """Every code point but NUL, which has a kind of its own, and the surrogates, which UTF-8 has not."""
    texts = [
        "".join(chr(code) for code in range(start, start + _CHUNK) if code and not 0xD800 <= code < 0xE000)
        for start in range(0, 0x110000, _CHUNK)
    ]
    data = [_EVERY_BYTE, b"\xff\xfe\xfd", b"cut \xe2\x82", "€".encode() * 64]
    return {"str": [text for text in texts if text], "bytes": data, "bytearray": data}


@lru_cache
def special(kind: str) -> Mapping[str, Sequence[Any]]:
    """The values that make a kind of input, for each kind of parameter that has some."""
    if kind == "tiny":
        return {**_buffers(["a", "World"]), "int": (1, 7), "float": (1.5, -2.0), "bool": (True, False)}
    if kind == "empty":
        return {**_buffers([""]), "int": (0,), "float": (0.0,), "bool": (False,)}
    if kind == "nul":
        return _buffers(["\0", "a\0b", "World\0", "\0" * 64])
    if kind == "unicode":
        return _unicode()
    if kind == "extreme":
        return {"int": _INTS, "float": _FLOATS, "bool": (True, False)}
    sizes = {"long": (4096,), "huge": (1 << 16, 1 << 20, 1 << 24)}[kind]
    return _buffers([_text(size) for size in sizes])


def inputs(method: Method, kind: str) -> Iterator[Values]:
    """Inputs of one kind: each parameter in turn, the others ordinary; then all of them together."""
    specials = [special(kind).get(parameter.kind, ()) for parameter in method.parameters]
    ordinary = [ORDINARY[parameter.kind] for parameter in method.parameters]
    if not ordinary and kind == "tiny":
        yield ()
    for index, values in enumerate(specials):
        for value in values:
            yield (*ordinary[:index], value, *ordinary[index + 1 :])
    if sum(map(bool, specials)) > 1:
        for turn in range(min(16, max(map(len, specials)))):
            yield tuple(
                values[turn % len(values)] if values else usual
                for values, usual in zip(specials, ordinary, strict=True)
            )


def random_inputs(method: Method, random: Random, without: AbstractSet[str]) -> Values:
    """Some input, made of what the kinds are made of but for those in `without`."""
    return tuple(_random_value(parameter.kind, random, without) for parameter in method.parameters)


def _random_value(kind: str, random: Random, without: AbstractSet[str]) -> Any:
    extreme = "extreme" not in without and random.random() < 0.3
    if kind == "int":
        return random.choice([*_INTS, random.getrandbits(64) - 2**63]) if extreme else random.randrange(1, 1000)
    if kind == "float":
        [bits] = struct.unpack("<d", random.randbytes(8))
        return random.choice([*_FLOATS, bits]) if extreme else random.uniform(-1000, 1000)
    if kind == "bool":
        return random.random() < 0.5
    text = "".join(_random_piece(random, without) for _ in range(random.randrange(7)))
    if not text and "empty" in without:
        text = "x"
    if kind == "str":
        return text
    raw = without.isdisjoint({"nul", "unicode"}) and random.random() < 0.5
    return random.randbytes(random.randrange(1, 300)) if raw else text.encode()


def _random_piece(random: Random, without: AbstractSet[str]) -> str:
    choice = random.randrange(6)
    if choice == 0 and "nul" not in without:
        return "\0" * random.randrange(1, 3)
    if choice in {1, 2} and "unicode" not in without:
        return "".join(chr(random.choice([random.randrange(0x80, 0xD800), random.randrange(0xE000, 0x110000)]))
                       for _ in range(random.randrange(1, 20)))  # fmt: skip
    if choice == 3:
        return chr(random.randrange(1, 128)) * random.randrange(1, 300)
    return "".join(chr(random.randrange(1, 128)) for _ in range(random.randrange(1, 30)))
