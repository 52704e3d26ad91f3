"""A file and a contract -> a plugin object in this process: checked, opened for good, bound, and an instance made."""

from __future__ import annotations

import os
import sys
from _thread import RLock
from typing import TYPE_CHECKING, Any

from ..binding import default, module_of, why_not_native
from ..binding.instance import Instance
from ..binding.methods import make_class
from ..binding.plugin import Plugin
from ..errors import CreateError, IncompatibleError, LoadError, Problem, reasons
from ..ffi.abi import SERIAL, UNSUPPORTED
from ..fields import Fields
from ..preflight.checks import preflight
from .library import Library, live_slots, open_for_good

if TYPE_CHECKING:
    from ..definition.model import Contract
    from ..file import LibraryFile
    from ..preflight.checks import Fit

BINDINGS = ("native", "cffi", "ctypes")

_loading = RLock()
"""Held while a library is opened, so that what one load changes in the process is not taken for another's. What other
threads change meanwhile by other means cannot be told apart."""
_classes: dict[tuple[Library, Contract], type] = {}


def _renew_lock() -> None:
    global _loading  # noqa: PLW0603 - in a forked child the thread that held it is not there to release it
    _loading = RLock()


os.register_at_fork(after_in_child=_renew_lock)


class Opened(Fields):
    """A plugin whose library is open, and what calls it."""

    plugin: Plugin
    library: Library
    binding: Any
    warnings: tuple[Problem, ...]


_has_gil = getattr(sys, "_is_gil_enabled", lambda: True)  # since Python 3.13


def check_binding(path: str | os.PathLike[str], binding: str | None) -> None:
    """ValueError for a binding that there is not; LoadError for one that cannot be had here, as none can without the GIL."""
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


def check_fit(file: LibraryFile, contract: Contract) -> Fit:
    """Hold the file against the contract. Raises as `preflight`, and IncompatibleError with all problems."""
    fit = preflight(file, contract)
    fatal = fit.fatal
    if fatal:
        raise IncompatibleError(f"{file.path} does not fit {contract}{reasons(fatal)}", path=file.path, problems=fatal)
    return fit


def open_plugin(file: LibraryFile, fit: Fit, binding: str | None) -> Opened:
    """Open the library of a file that fits, for good."""
    assert fit.manifest is not None  # noqa: S101 - a fit without problems has both
    assert fit.vtable is not None  # noqa: S101
    with _loading:
        library = open_for_good(file, fit)
        slots = live_slots(file, library, fit)
        module = _bind(file, library, binding)
    plugin = Plugin(file.path, fit.contract, fit.manifest, slots, bool(fit.vtable.flags & SERIAL))
    return Opened(plugin, library, module, tuple(problem for problem in fit.problems if not problem.fatal))


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
    """The binding that is taken if none is asked for. Found out once: to look for a module that is not there takes its time."""
    if not _default:
        _default.append(default())
    return _default[0]


def check_config(plugin: Plugin, config: bytes | None) -> None:
    """CreateError if there is a config that the plugin has no use for."""
    if config is not None and not plugin.slots.create:
        raise CreateError(
            f"{plugin.path}: {plugin.manifest.plugin} takes no config, since it has no create; leave config out",
            path=plugin.path,
            status=UNSUPPORTED,
        )


def make_object(opened: Opened, config: bytes | None) -> Any:
    """An instance, as an object with the contract's methods."""
    plugin, name, host = opened.plugin, opened.plugin.manifest.plugin, None
    check_config(plugin, config)
    if plugin.slots.create:
        from .host_log import host_for  # imported when a plugin first wants it, as few do

        host = host_for(name)
    instance = Instance(opened.binding.create(plugin, host, config), name=name, path=plugin.path)
    instance.about = opened
    made: Any = object.__new__(_class_of(plugin, opened.library, opened.binding))
    made._instance = instance  # noqa: SLF001 - the one slot of its class
    return made


def _class_of(plugin: Plugin, library: Library, binding: Any) -> type:
    """The class for the plugin's objects, which knows the path that errors name; kept for the library's first path alone."""
    made = _classes.get((library, plugin.contract))
    if made is None or plugin.path != library.first_path:
        made = make_class(plugin, binding)
        if plugin.path == library.first_path:
            _classes[library, plugin.contract] = made
    return made
