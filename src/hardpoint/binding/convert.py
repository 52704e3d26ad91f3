"""Python values -> what a C function takes, with errors worded as Python words them."""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, Any

from ..definition.kinds import Kind, find_kind, is_numpy_bool, is_real

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..definition.model import Method

    Convert = Callable[[Any, str, Kind], Any]

_STR = find_kind("str")


def wrong_type(where: str, kind: Kind, value: object) -> TypeError:
    """The TypeError for an argument; `where` is like `greet() argument 'name'`."""
    found = "None" if value is None else type(value).__name__
    why = _unfit_buffer(value, kind) if kind.is_buffer and not kind.is_text else ""
    return TypeError(f"{where} must be {kind.expected}, not {found}{why}")


def _unfit_buffer(value: object, kind: Kind) -> str:
    """Why a buffer does not do, and the fix; "" if the value is not a buffer."""
    try:
        view = memoryview(value)  # type: ignore[arg-type]  # that is the question
    except TypeError:
        return ""
    except (ValueError, BufferError) as error:  # such as one that was released
        return f": {error}"
    with view:
        faults = ["read-only"] if kind.writable and view.readonly else []
        faults += [] if view.c_contiguous else ["not C-contiguous"]
    if not faults:
        return ""
    copy = "a bytearray or a writable copy" if faults[0] == "read-only" else "a contiguous copy"
    if not kind.writable:
        copy += ", such as bytes() or numpy.ascontiguousarray() makes"
    return f" that is {' and '.join(faults)}; pass {copy}"


def to_text(value: Any, where: str, kind: Kind = _STR) -> bytes:
    """Encode a str as UTF-8. Raise UnicodeEncodeError, which names the argument, for a lone surrogate."""
    if not isinstance(value, str):
        raise wrong_type(where, kind, value)
    try:
        return str.encode(value)  # a subclass may have an encode of its own
    except UnicodeEncodeError as error:
        reason = f"{error.reason} in {where}"
        raise UnicodeEncodeError(error.encoding, error.object, error.start, error.end, reason) from None


def to_int(value: Any, where: str, kind: Kind) -> int:
    """Convert to an int within the limits of the kind. Raise OverflowError beyond them."""
    try:
        number = int(value) if is_numpy_bool(value) else index(value)
    except TypeError:
        raise wrong_type(where, kind, value) from None
    least, greatest = kind.limits  # type: ignore[misc]  # integers have them
    if not least <= number <= greatest:
        bits = f"{greatest.bit_length() + 1} bits with sign" if least else f"{greatest.bit_length()} bits without sign"
        raise OverflowError(f"{where} does not fit in {bits}")
    return number


def to_float(value: Any, where: str, kind: Kind) -> float:
    """Convert a float, or an object that has __float__ or __index__; never a str or a complex number."""
    if isinstance(value, float):
        return value
    if not is_real(value):
        raise wrong_type(where, kind, value)
    try:
        return float(value)
    except TypeError:
        raise wrong_type(where, kind, value) from None
    except OverflowError:
        raise OverflowError(f"{where} is too large for a float") from None


def to_bool(value: Any, where: str, kind: Kind) -> bool:
    """Accept a bool or NumPy's, and nothing else that is true or false."""
    if isinstance(value, bool):
        return value
    if not is_numpy_bool(value):
        raise wrong_type(where, kind, value)
    return bool(value)


CONVERSIONS: dict[type, Convert] = {str: to_text, int: to_int, float: to_float, bool: to_bool}
"""By the class of a kind's values; the other kinds take any object with a buffer."""


def conversions(method: Method) -> list[tuple[Convert | None, Kind, str]]:
    """How each parameter is converted: a function, or None for a buffer; the kind; and its name in errors."""
    kinds = [parameter.kind for parameter in method.parameters]
    return [(CONVERSIONS.get(kind.python), kind, method.where(index)) for index, kind in enumerate(kinds)]


def to_arguments(
    plan: list[tuple[Convert | None, Kind, str]],
    arguments: tuple[Any, ...],
    hold: Callable[[Any, Kind, str, list[Any]], tuple[Any, int]],
    held: list[Any],
) -> list[Any]:
    """Convert a call's arguments to those of the C function, by the plan that `conversions` made.

    `hold` returns pointer and length of a buffer, and appends to `held` the object to release after the call.
    """
    values: list[Any] = []
    for (convert, kind, where), argument in zip(plan, arguments, strict=True):
        if convert is None:
            values += hold(argument, kind, where, held)
        elif convert is to_text:
            text = to_text(argument, where, kind)
            values += text, len(text)
        else:
            values.append(convert(argument, where, kind))
    return values
