"""The program of zygote and workers, which is the library of channels too: isolation/_channel.*.so."""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # without the enum module: 2 ms
import errno
import fcntl
import os
from _imp import extension_suffixes
from typing import TYPE_CHECKING, Any

from ...ffi.libc import ffi
from ...preflight.sanitizers import has_sanitizer
from ..descriptors import own
from . import lacking
from .unpatched import posix_spawn, write

if TYPE_CHECKING:
    from io import FileIO

_BASE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "_channel")
"""Absolute at import: sys.path can be relative to an earlier directory."""
_VARIABLES = ("LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PATH", "TZ")
"""The environment of the zygote, and so of workers."""
_SANITIZING = ("LD_PRELOAD", "ASAN_OPTIONS", "LSAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS")
"""The variables that are passed on if LD_PRELOAD has a sanitizer: a plugin that was built with it needs them."""
_FOR_GOOD = os.RTLD_NOW | os.RTLD_NODELETE
"""At exit, cffi closes the library before the last channels are closed."""
_MFD_EXEC = 0x10
"""Flag of memfd_create(2) from Linux 6.3 on; sysctl vm.memfd_noexec may make memory that cannot be run without it."""
_NOT_HERE = {errno.EACCES, errno.EPERM, errno.ENOEXEC}
"""Errors of exec(2) for a file without the mode bit, or on a file system that is mounted noexec."""


class Program:
    """The shared object, by a path that can be opened and run: its file's, or that of a copy in memory."""

    def __init__(self) -> None:
        self._memory: FileIO | None = None
        files = (f"{_BASE}{suffix}" for suffix in extension_suffixes())
        self.path: str = next((path for path in files if os.path.exists(path)), "")
        if not self.path:
            self._copy(_packed())

    def library(self) -> Any:
        """Open it as a library."""
        try:
            return ffi.dlopen(self.path, _FOR_GOOD)
        except OSError:  # the file system is mounted noexec
            self._copy(_read(self.path))
        try:
            return ffi.dlopen(self.path, _FOR_GOOD)
        except OSError as error:
            raise lacking.not_runnable(_BASE, error) from error

    def spawn(self, control: int) -> int:
        """Run it as the zygote, with one end of a socket, and return its pid.

        It inherits stderr from the host, but no other descriptor, no environment beyond _VARIABLES and _SANITIZING, no
        ignored or blocked signal.
        """
        try:
            return self._spawn(control)
        except OSError as error:
            if error.errno not in _NOT_HERE or self._memory:
                raise
        self._copy(_read(self.path))
        try:
            return self._spawn(control)
        except OSError as error:
            raise lacking.not_runnable(_BASE, error) from error

    def _spawn(self, control: int) -> int:
        default = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
        with own(
            fcntl.fcntl, control, fcntl.F_DUPFD_CLOEXEC, 10
        ) as high:  # in a host without stdin, `control` may be 0
            actions = [
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_DUP2, high.fileno(), 3),
            ]
            words = ["hardpoint", "zygote", str(os.getpid()), "3"]
            return posix_spawn(self.path, words, _environment(), file_actions=actions, setsigmask=(), setsigdef=default)

    def _copy(self, data: bytes) -> None:
        """Continue with a copy in memory."""
        if self._memory is None:
            memory = _executable_memory()
            left = memoryview(data)
            while left:
                left = left[write(memory.fileno(), left) :]
            self._memory, self.path = memory, f"/proc/self/fd/{memory.fileno()}"


def _executable_memory() -> FileIO:
    try:
        return own(os.memfd_create, "hardpoint", os.MFD_CLOEXEC | _MFD_EXEC)
    except OSError as error:
        if error.errno == errno.EACCES:
            raise lacking.not_runnable(_BASE, error) from error
        if error.errno != errno.EINVAL:
            raise
    return own(os.memfd_create, "hardpoint", os.MFD_CLOEXEC)


def _environment() -> dict[str, str]:
    sanitizing = has_sanitizer()
    names = _VARIABLES + _SANITIZING * sanitizing
    found = {name: os.environ[name] for name in names if name in os.environ}
    if sanitizing:  # else the last lines, which the error quotes, are a legend
        found["ASAN_OPTIONS"] = f"print_legend=0:{found.get('ASAN_OPTIONS', '')}"
    return found


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.readall()


def _packed() -> bytes:
    """The bytes of the shared object in a package that was imported from an archive."""
    read: Any = getattr(globals().get("__loader__"), "get_data", None)
    for suffix in extension_suffixes() if read else ():
        try:
            data: bytes = read(f"{_BASE}{suffix}")
        except OSError:
            continue
        return data
    raise lacking.not_built()


_found: list[Any] = []


def program() -> Program:
    """Return the program. Raises LackingError where it was not built."""
    if not _found:
        _found[:] = [made := Program(), made.library()]
    result: Program = _found[0]
    return result


def library() -> Any:
    """Return the functions of channels. Raises LackingError where they were not built."""
    program()
    return _found[1]


def lacks() -> str | None:
    """Say why no plugin can be isolated here; None if nothing is lacking."""
    try:
        program()
    except lacking.LackingError as error:
        return str(error)
    return None
