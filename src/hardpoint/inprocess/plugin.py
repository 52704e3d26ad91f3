"""A file that fits -> a plugin in this process: its library opened for good, bound, ready to create instances."""

from __future__ import annotations

import os
import sys
from _thread import RLock
from typing import TYPE_CHECKING, Any, NoReturn, cast

from ..backend import Plugin
from ..binding import default, module_of, why_not_native
from ..binding.methods import make_class
from ..errors import CreateError, LoadError
from ..ffi.abi import SERIAL, UNSUPPORTED
from ..fields import Fields
from ..forks import in_child

if TYPE_CHECKING:
    from ..backend import Request
    from ..definition.model import Contract
    from ..errors import Problem
    from ..file import Identity, LibraryFile
    from ..preflight.checks import Fit
    from .library import Library

BINDINGS = ("native", "cffi", "ctypes")

_loading = RLock()
"""Held while a library is opened, so that process state changed by one load is not blamed on another. Changes that
other threads make meanwhile by other means cannot be told apart."""
_fits: dict[Identity, list[Fit]] = {}
"""Of files that are open as libraries, without their `elf`: dlopen, which the checks are for, is called once a file."""


def _renew_lock() -> None:
    global _loading  # noqa: PLW0603 - in a forked child the thread that held it is not there to release it
    _loading = RLock()


in_child(_renew_lock)


class InProcess(Fields):
    """The `Backend` of a plugin whose library is open in this process."""

    plugin: Plugin
    library: Library
    module: Any
    """The binding's module."""
    warnings: tuple[Problem, ...]
    request: Request

    @property
    def binding(self) -> str:
        """`native`, `cffi` or `ctypes`."""
        return self.library.binding or ""

    @property
    def library_path(self) -> str:
        """The dynamic linker's name for the library."""
        return self.library.path

    def sha256(self) -> str | None:
        """The digest of the file that was loaded; None if that file is gone."""
        return self.library.digest()

    def status(self) -> None:
        """No workers."""

    def object_class(self) -> type:
        """The class of the plugin's objects, cached for the library's first path only: error messages name the path."""
        plugin, classes = self.plugin, self.library.classes
        if plugin.path != self.library.first_path:
            return make_class(plugin, self.module)
        for contract, made in classes:  # to compare one takes less than its hash, which is that of all in it
            if contract == plugin.contract:
                return made
        classes.append((plugin.contract, made := make_class(plugin, self.module)))
        return made

    def create(self) -> Any:
        """Call the plugin's create. Raises CreateError."""
        check_config(self.plugin, self.request.config)
        host = None
        if self.plugin.slots.create:
            from .host_log import host_for  # 5 ms with logging; few plugins have a create

            host = host_for(self.plugin.manifest.plugin)
        return self.module.create(self.plugin, host, self.request.config)

    def end_calls_later(self, why: str) -> None:
        """Do nothing: a call in this process cannot be ended."""

    def reload(self) -> NoReturn:
        """Raise TypeError: a loaded library is never unloaded."""
        raise TypeError(
            f"{self.plugin} is not isolated: its library stays in the process for good; load it with isolated=True"
        )


_has_gil = getattr(sys, "_is_gil_enabled", lambda: True)  # since Python 3.13


def check_binding(path: str | os.PathLike[str], binding: str | None) -> None:
    """Raise ValueError for an unknown binding, LoadError for an unavailable one (all are, without a GIL)."""
    if not _has_gil():
        raise LoadError(
            f"{os.fspath(path)} cannot be loaded: this is a free-threaded Python without its GIL, which hardpoint's own state "
            "relies on; start it with PYTHON_GIL=1, or with -X gil=1",
            path=os.fspath(path),
        )
    if binding not in (None, *BINDINGS):
        raise ValueError(f"binding is one of {', '.join(BINDINGS)}, not {binding!r}")
    if binding == "native" and (why := why_not_native()):
        raise LoadError(
            f"{path} cannot be called through the native binding: {why}; or leave out binding='native'",
            path=os.fspath(path),
        )


def known_fit(file: LibraryFile, contract: Contract) -> Fit | None:
    """Return what was found when the file was opened in this process; None if it needs to be checked."""
    return next((fit for fit in _fits.get(file.identity, ()) if fit.contract == contract), None)


def keep_fit(file: LibraryFile, fit: Fit) -> None:
    """Keep what was found for later loads of a file that is open now."""
    if not file.pinned:
        _fits.setdefault(file.identity, []).append(fit._replace(elf=cast("Any", None)))


def open_in_process(file: LibraryFile, fit: Fit, request: Request) -> InProcess:
    """Open the library of a file that fits, for good, and choose its binding."""
    from .library import live_slots, open_for_good  # 1 ms, which hosts that load nothing do without

    with _loading:
        _require_binding(file, request.binding or default_binding())
        library = open_for_good(file, fit)
        slots = live_slots(file, library, fit)
        module = _bind(file, library, request.binding)
    plugin = Plugin(file.path, fit.contract, fit.manifest, slots, bool(fit.vtable.flags & SERIAL))
    return InProcess(plugin, library, module, fit.problems, request)


def _require_binding(file: LibraryFile, name: str) -> None:
    """Raise LoadError if the binding cannot be imported, before any code of the plugin runs."""
    try:
        module_of(name)
    except MemoryError as error:
        raise LoadError(
            f"{file.path} cannot be called through the {name} binding: it needs memory that is both writable and "
            "executable, which this process cannot have (systemd's MemoryDenyWriteExecute=, SELinux's execmem and "
            "prctl's PR_SET_MDWE refuse it); allow that, or use the native binding",
            path=file.path,
        ) from error


def _bind(file: LibraryFile, library: Library, wanted: str | None) -> Any:
    """The module of the binding; one library has one binding in a process."""
    name = wanted or library.binding or default_binding()
    if library.binding not in {None, name}:
        raise LoadError(
            f"{file.path} is called through {library.binding} in this process, and a library has one binding, since two "
            f"can deadlock over a lock of the plugin's own; leave out binding={name!r}, or load a copy of the file",
            path=file.path,
        )
    library.binding = name
    return module_of(name)


_default: list[str] = []


def default_binding() -> str:
    """The binding for libraries that have none yet. Kept, since looking for a missing module takes its time."""
    if not _default:
        _default.append(default())
    return _default[0]


def check_config(plugin: Plugin, config: bytes | None) -> None:
    """Raise CreateError for a config that the plugin cannot take, having no create."""
    if config is not None and not plugin.slots.create:
        raise CreateError(
            f"{plugin.path}: {plugin.manifest.plugin} takes no config, since it has no create; leave config out",
            status=UNSUPPORTED,
            **plugin.about("create"),
        )
