"""The hp_host that a plugin is given; its log socket leads to `logging`.

A plugin sends datagrams and never calls back, so a record needs no GIL and cannot deadlock, from any thread. One daemon
thread reads them. It starts with the first plugin that has a `create`, since only `create` receives an hp_host.
"""

from __future__ import annotations

import os
import sys
from _thread import RLock
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..errors import one_line
from ..ffi.abi import ABI
from ..ffi.libc import ffi, libc
from ..forks import in_child
from ..version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

_AF_UNIX, _SOCK_DGRAM, _SOCK_CLOEXEC = 1, 2, 0o2000000
_END = b"\0"
LONGEST = 2048
"""Bytes; more than any record has."""
_QUIET, _AT_MOST = 1.0, 30.0
"""Seconds: a warning of dropped records comes so long after the last of them, or so long after the first."""

_forever: list[Any] = []
"""Memory that plugins may read until the process exits."""


def _host(dropped: Any, source: int, fd: int) -> Any:
    name, version = ffi.new("char[]", b"hardpoint"), ffi.new("char[]", __version__.encode())
    host = ffi.new("hp_host *")
    host.size, host.abi_major, host.abi_minor = ffi.sizeof("hp_host"), *ABI
    host.name, host.version = name, version
    host.log_dropped, host.log_source, host.log_fd = dropped, source, fd
    _forever.append((name, version, dropped, host))
    return host


def record_of(datagram: bytes) -> tuple[int, int, str] | None:
    """Parse a log record: source, level (1 to 50, as in logging) and text, on one line. None if it is malformed."""
    size = ffi.sizeof("hp_log_record")
    if len(datagram) < size:
        return None
    level = int.from_bytes(datagram[8:12], "little", signed=True)
    text = datagram[size:].decode(errors="replace").rstrip("\r\n")
    return int.from_bytes(datagram[:8], "little"), min(max(level, 1), 50), one_line(text)


def _logger(name: str) -> Any:
    import logging  # 5 ms, if nothing was logged before

    return logging.getLogger(name)


class Drops:
    """Warns of dropped log records of one plugin: once after each burst, with their number."""

    def __init__(self, plugin: str, count: Callable[[], int], logger: Callable[[str], Any] = _logger) -> None:
        self._plugin = plugin
        self._logger = logger
        self._count = count
        """Reads the plugin's counter, which only grows."""
        self._reported = self._seen = 0
        self._first = self._last = 0.0

    def check(self, *, end: bool = False) -> float | None:
        """Warn if the burst is over, or at its end; otherwise return the seconds until it may be, None without one."""
        count, now = self._count(), monotonic()
        if count == self._reported:
            return None
        if self._seen == self._reported:
            self._first = now
        if count != self._seen:
            self._seen, self._last = count, now
        wait = min(self._last + _QUIET, self._first + _AT_MOST) - now
        if wait > 0 and not end:
            return wait
        lost, self._reported = count - self._reported, count
        self._logger("hardpoint.plugin").warning(
            "%d log records of %s were dropped, since they came too fast", lost, self._plugin
        )
        return None


class _Channel:
    """One socket pair and the thread that reads it."""

    def __init__(self) -> None:
        # 10 ms together; only hosts whose plugins can log pay it
        import atexit
        import logging
        import select
        import threading

        self._logging = logging
        pair = ffi.new("int[2]")
        if libc.socketpair(_AF_UNIX, _SOCK_DGRAM | _SOCK_CLOEXEC, 0, pair):
            raise OSError("no socket for the logs of plugins: too many open files")
        self._reads: int = pair[0]
        self._writes: int = pair[1]
        os.set_blocking(self._writes, False)
        self._poll = select.poll()
        self._poll.register(self._reads, select.POLLIN)
        self._names: list[str] = []
        self._hosts: dict[str, Any] = {}
        self._drops: list[Drops] = []
        self._ending = False
        self._threading = threading
        self._thread = threading.Thread(target=self._read, name="hardpoint-logs", daemon=True)
        self._thread.start()
        # Registered after logging's own handler, so it runs first: records sent until then still arrive.
        self._pid = os.getpid()
        atexit.register(self._drain)

    def host_for(self, plugin: str) -> Any:
        """The hp_host of the plugin of that name."""
        if plugin not in self._hosts:
            dropped = ffi.new("uint64_t *")
            self._drops.append(Drops(plugin, lambda: int(dropped[0])))
            self._names.append(f"hardpoint.plugin.{plugin}")
            self._hosts[plugin] = _host(dropped, len(self._names) - 1, self._writes)
        return self._hosts[plugin]

    def _read(self) -> None:
        wait: float | None = None
        ended = False
        while not ended:
            try:
                if self._poll.poll(None if wait is None else 1000 * wait):
                    datagram = os.read(self._reads, LONGEST)
                    ended = datagram == _END and self._ending
                    self._pass_on(datagram)
                waits = [drops.check(end=ended) for drops in self._drops]
                wait = min((each for each in waits if each is not None), default=None)
            except BaseException:  # noqa: BLE001 - a logging handler's; reported like any thread's, and reading goes on
                self._threading.excepthook(self._threading.ExceptHookArgs((*sys.exc_info(), self._thread)))

    def _pass_on(self, datagram: bytes) -> None:
        record = record_of(datagram)
        if record and record[0] < len(self._names):
            source, level, text = record
            self._logging.getLogger(self._names[source]).log(level, "%s", text)

    def _drain(self) -> None:
        """At exit: wait for the records that were sent, but not for a handler that hangs."""
        if os.getpid() != self._pid:
            return
        self._ending = True
        for _ in range(100):
            try:
                os.write(self._writes, _END)
                break
            except BlockingIOError:  # full; let the thread read
                self._thread.join(0.01)
            except OSError:  # a plugin closed it, so the thread reads nothing more
                return
        self._thread.join(1.0)


_channel: _Channel | None = None
_lock = RLock()


def host_for(plugin: str) -> Any:
    """The hp_host for plugins of that name; the same one until the process exits or forks."""
    global _channel  # noqa: PLW0603 - one a process, made at the first use
    with _lock:
        if _channel is None:
            try:
                _channel = _Channel()
            except (OSError, RuntimeError):  # out of descriptors or threads: records are dropped
                return _host(ffi.new("uint64_t *"), 0, -1)
        return _channel.host_for(plugin)


def _forget() -> None:
    """In a forked child: the thread does not exist here, and the socket is the parent's."""
    global _channel, _lock  # noqa: PLW0603
    _lock = RLock()
    if _channel is not None:
        _forever.append(_channel)
    _channel = None


in_child(_forget)
