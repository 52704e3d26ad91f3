"""Isolation: the options of an isolated plugin, checked; and their status."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

from ..fields import Fields
from ..file import tilde_hint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_LEAST_MEMORY, _LEAST_FILES = 64 << 20, 32
_MOST, _MOST_MEMORY = (1 << 31) - 1, (1 << 63) - 1  # what setrlimit(2) takes through Python
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "kib": 1 << 10, "m": 1 << 20, "mib": 1 << 20, "g": 1 << 30, "gib": 1 << 30}


class Isolation(Fields):
    """The options of an isolated plugin: limits and permissions of its workers, and what follows when one dies.

    Raises ValueError for an option that cannot be; the message names it, what it takes, and what was given.
    """

    timeout: float | None = None
    """Seconds that loading and each call may take; then the worker is killed: TimedOutError. None for no limit."""
    restart: str = "on-call"
    """After a worker died: with `on-call`, the next call starts another; with `never`, the plugin stays dead."""
    workers: int = 1
    """Number of processes that calls are spread over; each has its own instance."""
    memory: int | str | None = "1GiB"
    """Limit of each worker's private writable memory (RLIMIT_DATA): bytes, or a text such as `256MiB`; None for no
    limit. A worker starts with 30 MiB. Shared memory and mapped files are not counted; allocations beyond the limit
    fail."""
    cpu: int | None = None
    """Seconds of processor time of each worker in all (RLIMIT_CPU); then it dies of SIGXCPU. None for no limit."""
    files: int | None = 1024
    """Descriptors that each worker may have open (RLIMIT_NOFILE), two for each calling thread; None for no limit."""
    sandbox: bool | Literal["required"] = True
    """True: confine the worker as below, as far as the kernel can. `required`: LoadError if it can't do all of it."""
    network: bool = False
    """True: it may use IPv4 and IPv6, and read the files that name resolution and certificates need."""
    processes: bool = False
    """True: it may start programs. They have its limits and sandbox, but may outlive it and the host."""
    read: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = ()
    """Files and folders that it may read, besides its library and what every library needs."""
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


def _check(options: Isolation, *_: Any, **__: Any) -> None:
    """Raise ValueError for an option of the wrong type or out of its range: Isolation's __init__.

    Type checkers take the class for a NamedTuple, whose body may not have one.
    """
    for name, (needs, fits) in _RULES.items():
        value = getattr(options, name)
        if not fits(value):
            raise _wrong(name, needs, value)
    if options.memory is not None:
        bytes_of(options.memory)
    for name in ("read", "write"):
        _given_paths(name, getattr(options, name))


Isolation.__init__ = _check  # type: ignore[method-assign,assignment]


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


def limits(options: Isolation) -> dict[str, Any]:
    """The options for a worker, by name, with the memory in bytes."""
    memory = None if options.memory is None else bytes_of(options.memory)
    return options._asdict() | {"memory": memory}


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


def _is_seconds(value: Any) -> bool:
    return value is None or (_is_number(value, (int, float)) and value > 0)


def _is_count(value: Any, least: int) -> bool:
    return _is_number(value, int) and least <= value <= _MOST


def _is_number(value: Any, number: type | tuple[type, ...]) -> bool:
    return isinstance(value, number) and not isinstance(value, bool)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


_RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "timeout": ("seconds above 0, such as 2 or 0.5, or None for no limit", _is_seconds),
    "restart": ("'on-call' or 'never'", lambda value: isinstance(value, str) and value in {"on-call", "never"}),
    "workers": (f"a whole number from 1 to {_MOST}", lambda value: _is_count(value, 1)),
    "cpu": (
        f"a whole number from 1 to {_MOST}, or None for no limit",
        lambda value: value is None or _is_count(value, 1),
    ),
    "files": (
        f"a whole number from {_LEAST_FILES} to {_MOST}, or None for no limit",
        lambda value: value is None or _is_count(value, _LEAST_FILES),
    ),
    "sandbox": (
        "True, False or 'required'",
        lambda value: value == "required" if isinstance(value, str) else _is_bool(value),
    ),
    "network": ("True or False", _is_bool),
    "processes": ("True or False", _is_bool),
}
"""What each option needs to be; memory, read and write have functions of their own."""


def _wrong(option: str, needs: str, found: Any) -> ValueError:
    return ValueError(f"Isolation({option}=...) is {needs}, not {found!r}")


def bytes_of(size: int | str) -> int:
    """A size such as `256MiB` in bytes. Raises ValueError if it is malformed, or too small for any worker."""
    text = str(size).strip().lower()
    number = text.rstrip("kmgib ")
    unit = text[len(number) :].strip()
    if isinstance(size, bool) or unit not in _UNITS or not number.isdecimal() or len(number) > 4000:
        likely = f"{number}{unit[0].upper()}iB" if unit in {"kb", "mb", "gb"} and number.isdecimal() else "256MiB"
        raise _wrong("memory", f"a number of bytes, a size such as '{likely}', or None for no limit", size)
    count = int(number) * _UNITS[unit]
    if count > _MOST_MEMORY:
        raise _wrong("memory", "less than 8 EiB, or None for no limit", size)
    if count < _LEAST_MEMORY:
        raise _wrong("memory", f"{_LEAST_MEMORY >> 20} MiB or more, since Python itself needs part of it", size)
    return count
