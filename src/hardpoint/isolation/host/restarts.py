"""The policy after a worker died: whether another is started, and after how long a pause."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ...errors import CrashedError
from .unpatched import sleep

__tracebackhide__ = True  # pytest shows the call in the test, not these frames

if TYPE_CHECKING:
    from ...backend import Plugin
    from ...errors import HardpointError
    from ..options import Isolation

_TRIES, _PAUSE = 4, 0.1
"""Failed starts in a row after which no more are tried; seconds before a restart, doubled after each failed one."""


class Restarts:
    """How the workers of one plugin ended, and how their starts went."""

    def __init__(self, plugin: Plugin, isolation: Isolation) -> None:
        self._plugin = plugin
        self._isolation = isolation
        self._failures: list[float] = []
        """When a start failed, of the starts since the last that went well."""
        self._last_error: tuple[type[HardpointError], str] | None = None
        """How a worker ended last; not the error itself, whose traceback would keep the caller's variables alive."""

    def has_died(self) -> None:
        """Note that a worker died; how is not known yet."""
        self._last_error = self._last_error or (CrashedError, f"{self._plugin.path}: the worker died")

    def ended_by(self, error: HardpointError) -> None:
        """Note the error of a worker that died."""
        self._last_error = type(error), str(error)

    def failed(self) -> None:
        """Note that a worker died at its start."""
        self._failures.append(time.monotonic())

    def went_well(self) -> None:
        """Note that a worker started."""
        self._failures.clear()

    def pause(self, doing: str) -> float:
        """Seconds until a worker may be started. Raises the last error again if none is to be."""
        path = self._plugin.path
        if self._last_error is not None and self._isolation.restart == "never":
            error, message = self._last_error
            raise error(
                f"{path}: {doing} cannot be called: the worker died before, and restart is 'never' ({message}); "
                "load it again",
                **self._plugin.about(doing),
            )
        if len(self._failures) >= _TRIES and self._last_error is not None:
            raise CrashedError(
                f"{path}: {doing} cannot be called: the plugin failed to start {_TRIES} times in a row, the last time "
                f"with: {self._last_error[1]}; fix it, and load it again",
                **self._plugin.about(doing),
            )
        if not self._failures:
            return 0.0
        return max(0.0, self._failures[-1] + _PAUSE * 2.0 ** len(self._failures) - time.monotonic())

    @staticmethod
    def sleep(seconds: float) -> None:
        """Wait for a pause to end."""
        sleep(seconds)
