"""Ctrl-C while a plugin runs in this process: Python's handler acts only when the plugin's function has returned."""

from __future__ import annotations

import os
import select
import signal
from _thread import start_new_thread

_GRACE = 0.5
"""Seconds that the main thread has to end by itself, which destroys the plugin; it has them unless it hangs."""


def end_at_ctrl_c() -> None:
    """End the process soon after SIGINT, even while a plugin hangs or has blocked the signal on its thread."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # ignored, as a shell has it for `&`
        return
    try:
        reads, writes = os.pipe()
        os.set_blocking(writes, False)
        start_new_thread(_watch, (reads,))
    except (OSError, RuntimeError):  # out of descriptors or threads: the call is made all the same
        return
    signal.set_wakeup_fd(writes, warn_on_full_buffer=False)


def _watch(reads: int) -> None:
    """Wait for the byte that Python's handler writes. The kernel runs it on this thread if the others block SIGINT."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    try:
        while signal.SIGINT not in os.read(reads, 64):
            pass
        select.select([reads], [], [], _GRACE)  # or until Ctrl-C again
    except OSError:  # the plugin closed the pipe
        return
    os._exit(130)
