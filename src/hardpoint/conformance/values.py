"""Inputs of several categories (empty, huge, random, ...), made for the parameters of a method."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from collections.abc import Set as AbstractSet
    from random import Random

    from ..definition.kinds import Kind
    from ..definition.model import Method

Values = tuple[Any, ...]

_TEXT = "The quick brown fox jumps over the lazy dog, all of the day. -- "  # 64 characters
_EVERY_BYTE = bytes(range(1, 256))
_CHUNK = 4096


def _text(size: int) -> str:
    return (_TEXT * (size // len(_TEXT) + 1))[:size]


@lru_cache
def _texts(category: str) -> Sequence[str]:
    """The texts of a category, which buffers get as UTF-8."""
    if category == "nul":
        return "\0", "a\0b", "World\0", "\0" * 64
    sizes = {"long": (4096,), "huge": (1 << 16, 1 << 20, 1 << 24)}.get(category, ())
    return [_text(size) for size in sizes]


@lru_cache
def _data(category: str) -> Sequence[bytes]:
    return [text.encode() for text in _texts(category)]


@lru_cache
def _unicode() -> Sequence[str]:
    """Every code point except NUL, which has its own category, and the surrogates, which UTF-8 cannot encode."""
    texts = [
        "".join(chr(code) for code in range(start, start + _CHUNK) if code and not 0xD800 <= code < 0xE000)
        for start in range(0, 0x110000, _CHUNK)
    ]
    return [text for text in texts if text]


def special(category: str, kind: Kind) -> Sequence[Any]:
    """The values of a category for a parameter of this kind; none if the category has nothing to do with the kind."""
    if category == "tiny":
        return kind.samples
    if category == "empty":
        return (kind.zero,)
    if category == "extreme":
        return kind.extremes
    if not kind.is_buffer:
        return ()
    if category == "unicode":
        return _unicode() if kind.is_text else (_EVERY_BYTE, b"\xff\xfe\xfd", b"cut \xe2\x82", "€".encode() * 64)
    return _texts(category) if kind.is_text else _data(category)


def inputs(method: Method, category: str) -> Iterator[Values]:
    """Inputs of one category: each parameter in turn, the others ordinary; then all of them together."""
    specials = [special(category, parameter.kind) for parameter in method.parameters]
    ordinary = [parameter.kind.samples[0] for parameter in method.parameters]
    if not ordinary and category == "tiny":
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
    """A random input, made like those of the categories, except those in `without`."""
    return tuple(_random_value(parameter.kind, random, without) for parameter in method.parameters)


def _random_value(kind: Kind, random: Random, without: AbstractSet[str]) -> Any:
    if kind.is_buffer:
        return _random_buffer(kind, random, without)
    extreme = "extreme" not in without and random.random() < 0.3
    if kind.python is bool:
        return random.random() < 0.5
    if kind.limits is not None:
        least, greatest = kind.limits
        if extreme:
            return random.choice([*kind.extremes, random.randint(least, greatest)])
        return random.randint(1, min(999, greatest))
    [bits] = struct.unpack("<d", random.randbytes(8))
    return random.choice([*kind.extremes, bits]) if extreme else random.uniform(-1000, 1000)


def _random_buffer(kind: Kind, random: Random, without: AbstractSet[str]) -> Any:
    text = "".join(_random_piece(random, without) for _ in range(random.randrange(7)))
    if not text and "empty" in without:
        text = "x"
    if kind.is_text:
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
