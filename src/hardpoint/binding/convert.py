"""Python values -> what a C function takes, with errors worded as Python words them."""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_INT_LIMIT = 1 << 63
_WANTED = {
    "str": "str",
    "bytes": "a contiguous bytes-like object",
    "bytearray": "a contiguous read-write bytes-like object",
    "int": "int",
    "float": "float",
    "bool": "bool",
}


def wrong_type(where: str, kind: str, value: object) -> TypeError:
    """The TypeError for an argument; `where` is like `greet() argument 'name'`."""
    found = "None" if value is None else type(value).__name__
    return TypeError(f"{where} must be {_WANTED[kind]}, not {found}")


def to_text(value: Any, where: str) -> bytes:
    """A str as UTF-8. UnicodeEncodeError, naming the argument, if it has a lone surrogate."""
    if not isinstance(value, str):
        raise wrong_type(where, "str", value)
    try:
        return str.encode(value)  # a subclass may have an encode of its own
    except UnicodeEncodeError as error:
        reason = f"{error.reason} in {where}"
        raise UnicodeEncodeError(error.encoding, error.object, error.start, error.end, reason) from None


def to_int(value: Any, where: str) -> int:
    """An int of 64 bits with sign. OverflowError if it needs more."""
    try:
        number = index(value)
    except TypeError:
        raise wrong_type(where, "int", value) from None
    if not -_INT_LIMIT <= number < _INT_LIMIT:
        raise OverflowError(f"{where} does not fit in 64 bits with sign")
    return number


def to_float(value: Any, where: str) -> float:
    """A float, or what has __float__ or __index__; never a str."""
    if isinstance(value, float):
        return value
    if not hasattr(type(value), "__float__") and not hasattr(type(value), "__index__"):  # float() reads texts too
        raise wrong_type(where, "float", value)
    try:
        return float(value)
    except TypeError:
        raise wrong_type(where, "float", value) from None
    except OverflowError:
        raise OverflowError(f"{where} is too large for a float") from None


def to_bool(value: Any, where: str) -> bool:
    """A bool, and nothing else that is true or false."""
    if not isinstance(value, bool):
        raise wrong_type(where, "bool", value)
    return value


SCALARS = {"int": to_int, "float": to_float, "bool": to_bool}


def to_arguments(
    kinds: list[tuple[str, str]],
    given: tuple[Any, ...],
    hold: Callable[[Any, str, str, list[Any]], tuple[Any, int]],
    held: list[Any],
) -> list[Any]:
    """What the C function takes for the arguments that were given, whose kinds and names for errors are `kinds`.

    `hold` gives pointer and length of a buffer, and adds to `held` what has to be let go after the call.
    """
    values: list[Any] = []
    for (kind, where), argument in zip(kinds, given, strict=True):
        if kind == "str":
            text = to_text(argument, where)
            values += text, len(text)
        elif kind in SCALARS:
            values.append(SCALARS[kind](argument, where))
        else:
            values += hold(argument, kind, where, held)
    return values
