"""Isolation: the options of an isolated plugin, checked; and their status."""

from __future__ import annotations

import os
from operator import index
from typing import TYPE_CHECKING, Any, Literal

from ..definition.kinds import is_numpy_bool, is_real
from ..fields import Fields
from ..file import tilde_hint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_LEAST_MEMORY, _LEAST_FILES = 16 << 20, 32
_MOST, _MOST_MEMORY = (1 << 31) - 1, (1 << 63) - 1  # what setrlimit(2) takes through Python
_MOST_WORKERS, _LONGEST = 1 << 12, 100  # processes, and characters of a value in a message
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "kib": 1 << 10, "m": 1 << 20, "mib": 1 << 20, "g": 1 << 30, "gib": 1 << 30}


class Isolation(Fields):
    """The options of an isolated plugin: limits and permissions of its workers, and what follows when one dies.

    Numbers of other types are taken if they have `__index__`, or `__float__` for `timeout`, such as NumPy's. Raises
    ValueError for an option that cannot be; the message names it, what it takes, and what was given.
    """

    timeout: float | None = None
    """Seconds that loading and each call may take; then the worker is killed: TimedOutError. None for no limit."""
    restart: str = "on-call"
    """After a worker died: with `on-call`, the next call starts another; with `never`, the plugin stays dead."""
    workers: int = 1
    """Number of processes that calls are spread over; each has its own instance."""
    memory: int | str | None = "1GiB"
    """Limit of each worker's private writable memory (RLIMIT_DATA): bytes, or a text such as `256MiB`; None for no
    limit. Each calling thread takes 2 MiB of it. Allocations beyond the limit fail. Shared memory and mapped files are
    not counted. The arguments of a call together, and its result, are bounded by it too."""
    cpu: int | None = None
    """Seconds of processor time of each worker in all (RLIMIT_CPU); then it dies of SIGXCPU. None for no limit."""
    files: int | None = 1024
    """Descriptors that each worker may have open (RLIMIT_NOFILE), of which it uses six itself; None for no limit."""
    sandbox: bool | Literal["required", "strict"] = True
    """True: confine the worker as below, as far as the kernel can. `required`: LoadError if it can't do all of it.
    `strict`: the same, and it may make only the system calls that the runtimes of C, C++, Rust, Zig and Go need."""
    network: bool = False
    """True: it may use IPv4 and IPv6, and read the files that name resolution and certificates need."""
    processes: bool = False
    """True: it may start programs. They have its limits and sandbox, but may outlive it and the host."""
    read: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = ()
    """Files and folders that it may read, besides its library and what every library needs. They have to exist when the
    plugin is loaded."""
    write: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = ()
    """Files and folders that it may read, write, make and remove. It can't change modes, owners and times, nor call
    truncate(2); ftruncate(2) is allowed."""


class IsolationStatus(Fields):
    """The state of an isolated plugin's workers."""

    options: Isolation
    workers: tuple[int, ...]
    """The process ids of the workers that are running."""
    sandbox: tuple[str, ...]
    """The limits and restrictions in force, a line each, and what this kernel lacks for more."""


_new: Any = Isolation.__new__


def _make(cls: type[Isolation], *values: Any, **named: Any) -> Isolation:
    """Make the options with plain Python numbers: Isolation's __new__.

    Raises ValueError for one of the wrong type or out of its range. Type checkers take the class for a NamedTuple,
    whose body may not have it.
    """
    options: Isolation = _new(cls, *values, **named)
    plain = {name: _taken(name, getattr(options, name)) for name in _RULES}
    for name in ("read", "write"):
        _given_paths(name, getattr(options, name))
    made: Isolation = _new(cls, **options._asdict() | plain)
    return made


def _taken(name: str, value: Any) -> Any:
    needs, take = _RULES[name]
    try:
        return take(value)
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, _OptionError):
            raise
        raise _wrong(name, needs, value) from None


Isolation.__new__ = _make  # type: ignore[method-assign,assignment]


def checked(isolated: bool | Isolation) -> Isolation | None:  # noqa: FBT001 - as load's argument
    """Check load's `isolated`; None for False. Paths become absolute, since a reload may happen in another folder.

    Raises TypeError, or ValueError for a path that does not exist.
    """
    if not isinstance(isolated, (bool, Isolation)):
        raise TypeError(f"isolated is True, False or an Isolation(...), not {type(isolated).__name__}")
    if isolated is False:
        return None
    options = isolated if isinstance(isolated, Isolation) else Isolation()
    return options._replace(read=_paths("read", options.read), write=_paths("write", options.write))


def _paths(option: str, given: Any) -> tuple[str, ...]:
    """Make paths absolute, and leave `..` and links in them to the kernel, which follows them for the plugin too."""
    paths = []
    for each in _given_paths(option, given):
        path = each if each.startswith("/") else os.path.join(os.getcwd(), each)
        if not os.path.exists(path):
            raise ValueError(
                f"Isolation({option}=...) names {each!r}, which does not exist; make it first{tilde_hint(each)}"
            )
        paths.append(path)
    return tuple(paths)


def _given_paths(option: str, given: Any) -> list[str]:
    """The paths of an option, which may be a single one."""
    listed = given if isinstance(given, (list, tuple)) else [given]
    paths = [path for each in listed if (path := _path_or_none(each))]
    if len(paths) < len(listed):
        raise _wrong(option, "a path, or a list or tuple of paths", given)
    return paths


def _path_or_none(value: Any) -> str | None:
    path = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    return path if isinstance(path, str) else None


def _seconds(value: Any) -> float | None:
    if value is None:
        return None
    if is_bool(value) or not is_real(value):
        raise TypeError
    seconds = float(value)
    if not seconds > 0:
        raise ValueError
    return seconds


def _count(value: Any, least: int, most: int = _MOST) -> int:
    number = _whole(value)
    if not least <= number <= most:
        raise ValueError
    return number


def _count_or_none(value: Any, least: int) -> int | None:
    return None if value is None else _count(value, least)


def _size(value: Any) -> int | str | None:
    """The size as it was given, in plain types."""
    if value is None:
        return None
    count = bytes_of(value)
    return str(value) if isinstance(value, str) else count


def _whole(value: Any) -> int:
    if is_bool(value):
        raise TypeError
    return index(value)


def is_bool(value: Any) -> bool:
    """True for a bool of Python or NumPy."""
    return isinstance(value, bool) or is_numpy_bool(value)


def _bool(value: Any) -> bool:
    if not is_bool(value):
        raise TypeError
    return bool(value)


def _one_of(value: Any, *words: str) -> str:
    return words[words.index(value if isinstance(value, str) else "")]


_RULES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "timeout": ("seconds above 0, such as 2 or 0.5, or None for no limit", _seconds),
    "restart": ("'on-call' or 'never'", lambda value: _one_of(value, "on-call", "never")),
    "workers": (f"a whole number from 1 to {_MOST_WORKERS}", lambda value: _count(value, 1, _MOST_WORKERS)),
    "memory": ("", _size),
    "cpu": (f"a whole number from 1 to {_MOST}, or None for no limit", lambda value: _count_or_none(value, 1)),
    "files": (
        f"a whole number from {_LEAST_FILES} to {_MOST}, or None for no limit",
        lambda value: _count_or_none(value, _LEAST_FILES),
    ),
    "sandbox": (
        "True, False, 'required' or 'strict'",
        lambda value: _one_of(value, "required", "strict") if isinstance(value, str) else _bool(value),
    ),
    "network": ("True or False", _bool),
    "processes": ("True or False", _bool),
}
"""What each option needs to be, and the function that takes it; read and write have a function of their own."""


class _OptionError(ValueError):
    """The message is complete."""


def _wrong(option: str, needs: str, found: Any) -> ValueError:
    return _OptionError(f"Isolation({option}=...) is {needs}, not {_shown(found)}")


def _shown(value: Any) -> str:
    """A value's repr in one short line, and its type unless that is one of Python's own."""
    made = type(value)
    try:
        text = " ".join(repr(value).split())
    except Exception:  # noqa: BLE001 - one of somebody else's; or an int of more digits than Python may convert
        text = f"a value of the type {made.__name__}"
    else:
        text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
    return text if made.__module__ == "builtins" else f"{text} ({made.__module__}.{made.__qualname__})"


def bytes_of(size: Any) -> int:
    """A size such as `256MiB` in bytes. Raises ValueError if it is malformed, or too small for any worker."""
    likely = "256MiB"
    if isinstance(size, str):
        text = size.strip().lower()
        number = text.rstrip("kmgib ")
        unit = text[len(number) :].strip()
        if unit in {"kb", "mb", "gb"} and number.isdecimal():
            likely = f"{number}{unit[0].upper()}iB"
        count = int(number) * _UNITS[unit] if unit in _UNITS and number.isdecimal() and len(number) <= 4000 else -1
    else:
        try:
            count = _whole(size)
        except TypeError:
            count = -1
    if count < 0:
        raise _wrong("memory", f"a number of bytes, a size such as '{likely}', or None for no limit", size)
    if count > _MOST_MEMORY:
        raise _wrong("memory", "less than 8 EiB, or None for no limit", size)
    if count < _LEAST_MEMORY:
        raise _wrong("memory", f"{_LEAST_MEMORY >> 20} MiB or more, since each calling thread takes 2 MiB", size)
    return count
