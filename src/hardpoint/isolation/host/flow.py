"""The output of one plugin's workers together: a bound of processor time, and warnings of dropped records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...inprocess.host_log import Drops
from .pace import Pace
from .reader import reader

if TYPE_CHECKING:
    import logging
    from mmap import mmap

    from . import green


class Flow:
    """One plugin's share of the reader, whichever number of workers it has."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.pace = Pace()
        self._counters: list[mmap] = []
        self._ended = 0
        """Records that workers dropped which have ended."""
        self._drops = Drops(name, self._dropped, _logger)

    def count(self, counter: mmap) -> None:
        """Add the counter of a worker's dropped records."""
        self._counters.append(counter)

    def end_count(self, counter: mmap) -> None:
        """Take the number of a worker that has ended; of the last one, warn at once."""
        self._counters.remove(counter)
        self._ended += _number(counter)
        self.check(end=not self._counters)

    def check(self, *, end: bool = False) -> float | None:
        """Warn of dropped records as Drops.check does."""
        return self._drops.check(end=end)

    def _dropped(self) -> int:
        return self._ended + sum(map(_number, list(self._counters)))


def _number(counter: mmap) -> int:
    return int.from_bytes(counter[:8], "little")


def _logger(name: str) -> logging.Logger | green.Logger:
    return reader().logger(name)
