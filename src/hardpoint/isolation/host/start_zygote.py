"""The start of the zygote: its command line, environment and descriptors."""

from __future__ import annotations

import fcntl
import os
import signal
import sys

from ... import launcher
from ...errors import LoadError
from ...preflight.dependencies import has_sanitizer
from ..descriptors import own

_VARIABLES = ("LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PATH", "TZ")
"""The environment of the zygote, and so of workers."""
_SANITIZING = ("LD_PRELOAD", "ASAN_OPTIONS", "LSAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS")
"""The variables that are passed on if LD_PRELOAD has a sanitizer: a plugin that was built with it needs them."""


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


def _environment() -> dict[str, str]:
    sanitizing = has_sanitizer()
    names = _VARIABLES + _SANITIZING * sanitizing
    found = {name: os.environ[name] for name in names if name in os.environ}
    if sanitizing:  # else the last lines, which the error quotes, are a legend
        found["ASAN_OPTIONS"] = f"print_legend=0:{found.get('ASAN_OPTIONS', '')}"
    return found


def start_zygote(control: int) -> int:
    """Start the zygote with one end of a socket, and return its pid.

    It inherits stderr from the host, but no other descriptor, no environment beyond _VARIABLES and _SANITIZING, no
    ignored or blocked signal.
    """
    _check_python()
    package = os.path.dirname(os.path.abspath(launcher.__file__))
    words = launcher.command(
        "hardpoint.isolation.worker.zygote", os.getpid(), 3, package,
        setup=launcher.LEAN, flags=("-I", "-S"), folders=_module_folders(),
    )  # fmt: skip
    default = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
    with own(fcntl.fcntl, control, fcntl.F_DUPFD_CLOEXEC, 10) as high:  # in a host without stdin, `control` may be 0
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_DUP2, high.fileno(), 3),
        ]
        return os.posix_spawn(words[0], words, _environment(), file_actions=actions, setsigmask=(), setsigdef=default)
