"""Isolation: the options of an isolated plugin, checked; and their status."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

from ..fields import Fields

if TYPE_CHECKING:
    from collections.abc import Sequence

_LEAST_MEMORY, _LEAST_FILES = 64 << 20, 32
_MOST, _MOST_MEMORY = (1 << 31) - 1, (1 << 63) - 1  # what setrlimit(2) takes through Python
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "kib": 1 << 10, "m": 1 << 20, "mib": 1 << 20, "g": 1 << 30, "gib": 1 << 30}


class Isolation(Fields):
    """The options of an isolated plugin: limits and permissions of its workers, and what follows when one dies."""

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


def checked(isolated: bool | Isolation) -> Isolation | None:  # noqa: FBT001 - as load's argument
    """Check load's `isolated`; None for False. Paths become absolute, since a reload may happen in another folder.

    Raises TypeError or ValueError, naming the option.
    """
    if not isinstance(isolated, (bool, Isolation)):
        raise TypeError(f"isolated is True, False or an Isolation(...), not {type(isolated).__name__}")
    if isolated is False:
        return None
    options = isolated if isinstance(isolated, Isolation) else Isolation()
    if options.timeout is not None and not (_is_number(options.timeout, (int, float)) and options.timeout > 0):
        raise _wrong("timeout", "seconds above 0, or None", options.timeout)
    for name, least in (("workers", 1), ("cpu", 1), ("files", _LEAST_FILES)):
        value = getattr(options, name)
        if not (_is_number(value, int) and least <= value <= _MOST) and (value is not None or name == "workers"):
            raise _wrong(name, f"a whole number from {least} to {_MOST}{', or None' * (name != 'workers')}", value)
    if options.restart not in ("on-call", "never"):
        raise _wrong("restart", "'on-call' or 'never'", options.restart)
    if not isinstance(options.sandbox, bool) and options.sandbox != "required":
        raise _wrong("sandbox", "True, False or 'required'", options.sandbox)
    for name in ("network", "processes"):
        if not isinstance(getattr(options, name), bool):
            raise _wrong(name, "True or False", getattr(options, name))
    limits(options)
    return options._replace(read=_paths("read", options.read), write=_paths("write", options.write))


def limits(options: Isolation) -> dict[str, Any]:
    """The options for a worker, by name, with the memory in bytes. Raises ValueError if that is invalid."""
    memory = None if options.memory is None else bytes_of(options.memory)
    return options._asdict() | {"memory": memory}


def _paths(option: str, given: Any) -> tuple[str, ...]:
    """Make paths absolute, and leave `..` and links in them to the kernel, which follows them for the plugin too."""
    paths = []
    for each in given if isinstance(given, (list, tuple)) else [given]:
        if not isinstance(each, (str, os.PathLike)):
            raise _wrong(option, "a path, or a list or tuple of paths", given)
        path = os.path.join(os.getcwd(), os.fspath(each))
        if not os.path.exists(path):
            raise ValueError(f"Isolation({option}=...) names {os.fspath(each)!r}, which does not exist; make it first")
        paths.append(path)
    return tuple(paths)


def _is_number(value: Any, number: type | tuple[type, ...]) -> bool:
    return isinstance(value, number) and not isinstance(value, bool)


def _wrong(option: str, needs: str, found: Any) -> ValueError:
    return ValueError(f"Isolation({option}=...) is {needs}, not {found!r}")


def bytes_of(size: int | str) -> int:
    """A size such as `256MiB` in bytes. Raises ValueError if it is malformed, or too small for any worker."""
    text = str(size).strip().lower()
    number = text.rstrip("kmgib ")
    unit = text[len(number) :].strip()
    if isinstance(size, bool) or unit not in _UNITS or not number.isdecimal() or len(number) > 4000:
        raise _wrong("memory", "a number of bytes, or a size such as '256MiB'", size)
    count = int(number) * _UNITS[unit]
    if count > _MOST_MEMORY:
        raise _wrong("memory", "less than 8 EiB, or None for no limit", size)
    if count < _LEAST_MEMORY:
        raise _wrong("memory", f"{_LEAST_MEMORY >> 20} MiB or more, since Python itself needs part of it", size)
    return count
