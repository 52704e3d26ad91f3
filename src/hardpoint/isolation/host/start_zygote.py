"""The start of the zygote: its command line, environment and descriptors."""

from __future__ import annotations

import fcntl
import os
import signal
import sys

from ... import launcher
from ...errors import LoadError
from ..descriptors import own

_VARIABLES = ("ASAN_OPTIONS", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "LD_PRELOAD", "PATH", "TZ")
"""The environment of the zygote, and so of workers."""


def _check_python() -> None:
    """Raise LoadError if `sys.executable` is no program, as in one that embeds Python."""
    path = sys.executable
    if not path or not os.access(path, os.X_OK) or not os.path.isfile(path):
        raise LoadError(
            "no process can be started for isolated plugins: needs sys.executable to be a Python of this version, "
            f"found {path!r}; set sys.executable to one that can be run"
        )


def _module_folders() -> list[str]:
    """The absolute folders of modules that the zygote needs: sys.path can be relative to an earlier directory."""
    modules = (sys.modules[name] for name in ("msgpack", "_cffi_backend"))
    files = (os.path.abspath(module.__file__ or "") for module in modules)
    return [os.path.dirname(file) if file.endswith(".so") else os.path.dirname(os.path.dirname(file)) for file in files]


def start_zygote(control: int) -> int:
    """Start the zygote with one end of a socket, and return its pid.

    It inherits stderr from the host, but no other descriptor, no environment beyond _VARIABLES, no ignored or blocked
    signal.
    """
    _check_python()
    package = os.path.dirname(os.path.abspath(launcher.__file__))
    words = launcher.command(
        "hardpoint.isolation.worker.zygote", os.getpid(), 3, package,
        setup=launcher.LEAN, flags=("-I", "-S"), folders=_module_folders(),
    )  # fmt: skip
    environment = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
    default = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
    with own(fcntl.fcntl, control, fcntl.F_DUPFD_CLOEXEC, 10) as high:  # in a host without stdin, `control` may be 0
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_DUP2, high.fileno(), 3),
        ]
        return os.posix_spawn(words[0], words, environment, file_actions=actions, setsigmask=(), setsigdef=default)
