"""Process state that one system call each tells, and how it is put back."""

from __future__ import annotations

import os
import struct
from _signal import setitimer  # type: ignore[import-not-found]  # pyright: ignore[reportMissingImports]
from typing import TYPE_CHECKING, Any

from ..ffi.libc import ffi, libc
from ..fields import Fields
from .process_values import CANNOT

_in_c: Any
try:
    from ..binding._native import system_calls as _in_c  # takes half as long as by cffi
except ImportError:
    _in_c = None

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_X86 = os.uname().machine == "x86_64"
_SIGACTION, _IOCTL, _GETITIMER, _FCNTL, _SIGALTSTACK, _GETPRIORITY, _PRCTL, _FSTATAT, _PRLIMIT = (
    (13, 16, 36, 72, 131, 140, 157, 262, 302) if _X86 else (134, 29, 102, 25, 132, 141, 167, 79, 261)
)
_STREAMS = ("stdin", "stdout", "stderr")
_LIMITS = {"CPU": 0, "FSIZE": 1, "NOFILE": 7, "AS": 9}
"""Those that end a host or fail what it does, with their numbers. Importing the module resource would take 0.5 ms."""
_TIMERS = ("ITIMER_REAL", "ITIMER_VIRTUAL", "ITIMER_PROF")
_ROUNDED = 0.1
"""Seconds; the kernel rounds timers up to its ticks."""
_TCGETS, _TCSETS, _F_GETFL, _PR_GET_DUMPABLE, _PR_SET_DUMPABLE, _AT_EMPTY_PATH = 0x5401, 0x5402, 3, 3, 4, 0x1000
_SIGCHLD = 17
_INTERNAL = 3 << 31
"""Signals 32 and 33, which glibc keeps to itself."""
_FLAGS = 0xFFFFFFFF & ~0x04000000  # without SA_RESTORER, which sigaction(2) adds

_scratch = ffi.new("uint64_t[292]")
_memory = ffi.buffer(_scratch)
_path = ffi.new("char[]", b"/")
_FILES, _LIMITS_AT, _TIMERS_AT, _STACK, _TERMINAL, _SIGNALS = 0, 8, 16, 28, 31, 36
"""Where their answers begin, in words: device and inode of the streams and of the root directory (of a struct stat, the
next answer takes the rest), soft and hard limits, interval and time left of timers, stack_t, the kernel's struct
termios and struct sigaction."""


def _at(word: int) -> int:
    return int(ffi.cast("uintptr_t", _scratch + word))


_ROOT, _EMPTY = (int(ffi.cast("uintptr_t", _path + index)) for index in range(2))
_CALLS: tuple[tuple[int, ...], ...] = (
    *((_FSTATAT, number, _EMPTY, _at(_FILES + 2 * number), _AT_EMPTY_PATH) for number in range(len(_STREAMS))),
    (_FSTATAT, 0, _ROOT, _at(_FILES + 6)),
    *((_PRLIMIT, 0, number, 0, _at(_LIMITS_AT + 2 * index)) for index, number in enumerate(_LIMITS.values())),
    *((_GETITIMER, number, _at(_TIMERS_AT + 4 * number)) for number in range(len(_TIMERS))),
    (_SIGALTSTACK, 0, _at(_STACK)),
    (_IOCTL, 0, _TCGETS, _at(_TERMINAL)),
    *((_FCNTL, number, _F_GETFL) for number in range(len(_STREAMS))),
    (_GETPRIORITY, 0, 0),
    (_PRCTL, _PR_GET_DUMPABLE),
)
_TERMINAL_CALL, _FCNTL_CALLS, _PRIORITY_CALL, _DUMPABLE_CALL = 12, 13, 16, 17
"""Numbers of calls whose results count."""


class Answers(Fields):
    """The answers of the calls, at one moment; the stack is this thread's, as is the niceness."""

    memory: bytes
    results: list[int]
    caught: int
    """The mask of the signals whose handlers were asked for: a call for each of all would take as long as the rest."""

    def handlers(self) -> dict[int, tuple[int, int, int]]:
        """Handler, mask and flags of each signal that is caught; of SIGCHLD always, as its flags count without one."""
        words = memoryview(self.memory).cast("Q")
        places = ((number, _SIGNALS + 4 * number - 4) for number in signals(self.caught))
        return {number: (words[at], words[at + 3], words[at + 1] & _FLAGS) for number, at in places}

    def root(self) -> list[int]:
        """Device and inode of the root directory."""
        return self.words(_FILES + 6, 2)

    def words(self, at: int, count: int) -> list[int]:
        """Return words of the memory."""
        return memoryview(self.memory).cast("Q")[at : at + count].tolist()

    def stream(self, number: int) -> tuple[list[int], bool] | None:
        """Device and inode, and the blocking mode; None if it is closed."""
        flags = self.results[_FCNTL_CALLS + number]
        return None if flags < 0 else (self.words(_FILES + 2 * number, 2), not flags & os.O_NONBLOCK)

    def timer(self, number: int) -> tuple[float, float]:
        """Seconds left, and the interval."""
        words = self.words(_TIMERS_AT + 4 * number, 4)
        return words[2] + words[3] / 1e6, words[0] + words[1] / 1e6


_tables: dict[int, Any] = {}
"""The calls for each mask of signals, of which a process has few: for C, or as columns for map."""


def read(caught: int) -> Answers:
    """Make the calls; `caught` is the mask of the signals that are caught."""
    table = _tables.get(caught)
    if table is None:
        handlers = ((_SIGACTION, number, 0, _at(_SIGNALS + 4 * number - 4), 8) for number in signals(caught))
        calls = [(*call, 0, 0, 0, 0)[:6] for call in (*_CALLS, *handlers)]
        table = _tables[caught] = (
            b"".join(struct.pack("6Q", *call) for call in calls) if _in_c else [*zip(*calls, strict=True)]
        )
    results = _in_c(table) if _in_c else [*map(libc.syscall, *table)]
    return Answers(_memory[:], results, caught)


def signals(caught: int) -> Iterator[int]:
    """Yield the numbers of the signals that are asked for."""
    mask = caught & ~_INTERNAL | 1 << _SIGCHLD - 1
    while mask:
        yield (mask & -mask).bit_length()
        mask &= mask - 1


# -- put back ----------------------------------------------------------------------------------------------------------


def restore_handlers(before: Answers, now: Answers, ignored: int, others: int) -> list[int]:
    """Put back what differs, and the signals of the mask `others`; return their numbers. `ignored` are those before."""
    was, is_ = before.handlers(), now.handlers()
    different = {number for number in was.keys() & is_.keys() if was[number] != is_[number]}
    different.update(number for number in signals(others) if others >> number - 1 & 1)
    for number in different:
        handler, mask, flags = was.get(number, (ignored >> number - 1 & 1, 0, 0))  # SIG_IGN is 1
        # glibc's struct sigaction has 19 words on both machines: handler, mask (16), flags, restorer
        libc.sigaction(number, ffi.new("uint64_t[19]", [handler, mask, *[0] * 15, flags]), ffi.NULL)
    return sorted(different)


def restore_limits(before: Answers, now: Answers) -> Iterator[str]:
    """Put back what differs; yield the names."""
    for index, (name, number) in enumerate(_LIMITS.items()):
        was = before.words(_LIMITS_AT + 2 * index, 2)
        if was != now.words(_LIMITS_AT + 2 * index, 2):
            failed = libc.setrlimit(number, ffi.new("uint64_t[2]", was))  # a hard one takes CAP_SYS_RESOURCE to raise
            yield f"the limit RLIMIT_{name}{CANNOT if failed else ''}"


def restore_timers(before: Answers, now: Answers, elapsed: float) -> Iterator[str]:
    """Put back what differs by more than the seconds that elapsed; yield the names."""
    for number, name in enumerate(_TIMERS):
        (left, interval), (left_now, interval_now) = before.timer(number), now.timer(number)
        expired = left and not left_now and not interval and left <= elapsed
        if (
            interval != interval_now
            or (bool(left) != bool(left_now) and not expired)
            or left_now > max(left, interval) + _ROUNDED
        ):
            setitimer(number, max(left - elapsed, 1e-6) if left else 0.0, interval)
            yield f"the timer {name}"


def restore_streams(before: Answers, now: Answers) -> Iterator[str]:
    """Put back what differs; yield the names."""
    for number, name in enumerate(_STREAMS):
        was, is_ = before.stream(number), now.stream(number)
        if was != is_:
            known = was is not None and is_ is not None and was[0] == is_[0]
            if known and was is not None:
                os.set_blocking(number, was[1])
            yield f"descriptor {number} ({name}){'' if known else CANNOT}"


def _terminal(answers: Answers) -> bytes | None:
    """The settings of the terminal that stdin is (termios(3)); None if it is none."""
    return None if answers.results[_TERMINAL_CALL] < 0 else answers.memory[8 * _TERMINAL : 8 * _SIGNALS]


def _set_terminal(was: bytes | None) -> None:
    if was is not None:
        libc.ioctl(0, _TCSETS, ffi.from_buffer(was))


_VALUES: dict[str, tuple[Callable[[Answers], Any], Callable[[Any], Any]]] = {
    "the niceness": (
        lambda answers: answers.results[_PRIORITY_CALL],
        lambda was: os.setpriority(0, 0, 20 - was),  # getpriority(2) of the kernel's own gives 20 - niceness
    ),
    "the alternate signal stack": (
        lambda answers: answers.memory[8 * _STACK : 8 * _TERMINAL],
        lambda was: libc.sigaltstack(was, ffi.NULL),
    ),
    "the settings of the terminal": (_terminal, _set_terminal),
    "the dumpable attribute": (
        lambda answers: answers.results[_DUMPABLE_CALL],
        lambda was: libc.prctl(_PR_SET_DUMPABLE, was, 0, 0, 0),
    ),
}
"""How each is found in the answers, and put back; OSError if it can't be."""


def restore_values(before: Answers, now: Answers) -> list[str]:
    """Put back what differs; return the names."""
    different = [(name, get(before)) for name, (get, _) in _VALUES.items() if get(before) != get(now)]
    for name, was in different:
        try:
            _VALUES[name][1](was)
        except OSError:
            continue
    after = read(now.caught)
    return [name + ("" if _VALUES[name][0](after) == was else CANNOT) for name, was in different]
