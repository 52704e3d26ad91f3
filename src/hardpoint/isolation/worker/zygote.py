"""The process that forks workers: small, single-threaded, and gone when the host is.

Forking a host that may have threads is unsafe, and starting a Python for each worker takes ten times as long. The host
starts it (see spawner), and has the other end of its one socket: requests come from there, processes and their exits
are reported there.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # without the enum module: 2 ms
import _socket
import gc
import os
import select
import sys
from contextlib import closing

from ...inprocess import plugin
from ...preflight import platform
from .. import wire
from ..descriptors import close_from
from . import crash, worker


def _prepare() -> None:
    """Import and find out what every worker would have to: it takes a third off the first answer of each.

    The pages that are shared stay so for longer if no collection of garbage writes to them: 0.7 MiB of each worker.
    """
    plugin.default_binding()
    platform.host_glibc()
    crash.install()
    if sys.modules["typing"].__spec__ is None:  # the launcher's; later imports get the real one
        del sys.modules["typing"]
    gc.freeze()
    gc.enable()


def _serve(host: int, control: _socket.socket) -> None:
    """Fork a worker for each request, until the process `host` ends."""
    os.setsid()  # a Ctrl-C in the terminal is the host's affair
    try:
        watched = os.pidfd_open(host)
    except ProcessLookupError:
        return
    worker.die_with(host)
    _prepare()
    woken, wakes = _socket.socketpair(
        _socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC
    )
    signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    poll = select.poll()
    for fd in (watched, control.fileno(), woken.fileno()):
        poll.register(fd, select.POLLIN)
    while True:
        ready = {fd for fd, _ in poll.poll()}
        if woken.fileno() in ready:
            woken.recv(1 << 16)
            _reap(control)
        if watched in ready or (control.fileno() in ready and not _answer(control)):
            os._exit(0)  # not `return`: SIGCHLD could come after the wake-up descriptor was closed


def _answer(control: _socket.socket) -> bool:
    """Fork a worker for a request, and give the host its pid, a descriptor for it and the socket on which it waits."""
    try:
        ahead, _ = wire.receive(control)
    except ConnectionResetError:  # the host ended before it read an answer
        return False
    if ahead is None:
        return False
    try:
        pid, fds = _fork(ahead=ahead)
    except OSError as error:  # too many processes or descriptors, or too little memory
        pid, fds = -(error.errno or 1), ()
    try:
        wire.send(control, [wire.FORKED, pid], fds)
    except OSError:  # the host is gone
        return False
    finally:
        for fd in fds:
            os.close(fd)
    return True


def _fork(*, ahead: bool) -> tuple[int, tuple[int, ...]]:
    zygote = os.getpid()
    theirs, own = wire.pair()
    with closing(theirs), closing(own):
        pid = os.fork()
        if pid == 0:
            try:
                signal.set_wakeup_fd(-1)  # its number will be another descriptor's
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                worker.main(zygote, own.detach(), ahead=ahead)
            except Exception as error:  # noqa: BLE001 - a mistake of ours; the host shows what stands on stderr
                if worker.lacks_memory(error):
                    os._exit(wire.NO_MEMORY)
                sys.excepthook(type(error), error, error.__traceback__)
            finally:
                os._exit(70)
        return pid, (os.pidfd_open(pid), theirs.detach())


def _reap(control: _socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        try:
            wire.send(control, [wire.ENDED, pid, status])
        except OSError:  # the host is gone, and this process is about to be
            return


def main(host: str, control: str) -> None:
    """Start, from the command line that spawner writes."""
    close_from(int(control) + 1)  # what the host lets its children inherit
    os.set_inheritable(int(control), False)
    _serve(int(host), _socket.socket(fileno=int(control)))
    os._exit(0)
