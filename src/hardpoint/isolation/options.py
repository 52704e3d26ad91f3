"""Isolation: how an isolated plugin is kept."""

from __future__ import annotations

from typing import Any

from ..record import Record

_UNITS = {"": 1, "b": 1, "k": 1 << 10, "kib": 1 << 10, "m": 1 << 20, "mib": 1 << 20, "g": 1 << 30, "gib": 1 << 30}


class Isolation(Record):
    """How the worker of an isolated plugin is kept: what it may use, how long it may take, what follows when it dies."""

    timeout: float | None = None
    """Seconds that loading and each call may take; None for ever. What takes longer is killed: TimedOutError."""
    restart: str = "on-call"
    """After a worker died: `on-call`, the next call starts another; `never`, the plugin stays dead."""
    workers: int = 1
    """Processes among which calls are spread; each has an instance of its own."""
    memory: int | str | None = "1GiB"
    """Bytes of private writable memory of each worker (RLIMIT_DATA), as a number or such as `256MiB`; None for no limit."""
    cpu: int | None = None
    """Seconds of processor time that each worker has in all (RLIMIT_CPU)."""
    files: int | None = 256
    """Descriptors that each worker may have open (RLIMIT_NOFILE)."""


class InForce(Record):
    """How an isolated plugin is kept right now."""

    options: Isolation
    workers: tuple[int, ...]
    """The process ids of the workers that are running."""
    sandbox: tuple[str, ...]
    """What they gave up, a line each; and what this kernel lacks for that."""


def checked(isolated: bool | Isolation) -> Isolation:  # noqa: FBT001 - as load's argument
    """What load's `isolated` asks for. TypeError or ValueError, naming the option, for what it cannot be."""
    options = isolated if isinstance(isolated, Isolation) else Isolation()
    for name in ("timeout", "cpu", "files", "workers"):
        value = getattr(options, name)
        if value is not None and not (isinstance(value, (int, float)) and value > 0):
            raise ValueError(f"Isolation({name}=...) is a number above 0, not {value!r}")
    if options.restart not in {"on-call", "never"}:
        raise ValueError(f"Isolation(restart=...) is 'on-call' or 'never', not {options.restart!r}")
    if options.memory is not None:
        bytes_of(options.memory)
    return options


def limits(options: Isolation) -> dict[str, Any]:
    """What a worker is told of them."""
    memory = None if options.memory is None else bytes_of(options.memory)
    return {**options._asdict(), "memory": memory}


def bytes_of(size: int | str) -> int:
    """A size such as `256MiB` in bytes. ValueError if it is none."""
    if isinstance(size, int) and size > 0:
        return size
    text = str(size).strip().lower()
    number = text.rstrip("kmgib ")
    unit = text[len(number) :].strip()
    if unit not in _UNITS or not number.isdecimal():
        raise ValueError(f"a size is a number of bytes, or one such as '256MiB', not {size!r}")
    return int(number) * _UNITS[unit]
