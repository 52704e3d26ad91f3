"""A file that fits -> a plugin in workers, ready to be called."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from ...backend import Plugin, Slots
from ...binding.methods import PluginObject, make_class
from ...ffi.abi import SERIAL
from ...fields import Fields
from ...file import open_library, pin
from ...inprocess.plugin import check_config, default_binding
from ...preflight.checks import require_fit
from ..options import Isolation
from . import failures, lacking, spawner

if TYPE_CHECKING:
    from ...backend import Request
    from ...errors import Problem
    from ...file import Examine, LibraryFile
    from ...preflight.checks import Fit
    from ..options import IsolationStatus
    from .session import Session

_FIRST_METHOD = 3  # among the slots, after create, destroy and query


class Isolated(Fields):
    """The `Backend` of a plugin that runs in workers."""

    plugin: Plugin
    session: Session
    binding: str
    """How calls are converted for a channel, in this process."""
    warnings: tuple[Problem, ...]
    request: Request
    allow: Examine | None
    """Asked at each reload whether the new file may be loaded."""
    family: type[PluginObject]
    """Common base of an object's classes before and after a reload, so that bound methods go on working."""

    @property
    def library_path(self) -> str:
        """The file's path; the worker opens it."""
        return self.session.library

    def sha256(self) -> str | None:
        """The digest of the file."""
        return self.session.sha256()

    def status(self) -> IsolationStatus:
        """The workers and their limits."""
        return self.session.in_force()

    def object_class(self) -> type:
        """The class of the plugin's objects, whose methods call a worker."""
        methods = _module_of(self.binding).methods_for(self.session.timeout_ns)
        return make_class(self.plugin, methods, self.family)

    def create(self) -> Any:
        """Hold the session; the instance in the worker was created with it."""
        return _module_of(self.binding).holder(self.session, self.plugin)

    def end_calls_later(self, why: str) -> None:
        """End the calls under way that do not return soon."""
        self.session.end_calls_later(why)

    def reload(self) -> Isolated:
        """Start workers with the file that stands at the path now."""
        with open_library(self.session.library, self.plugin.path) as file:
            sha256 = self.allow(file) if self.allow else self.session.pinned
            with nullcontext(file) if sha256 is None else pin(file, sha256) as checked:
                fit = require_fit(checked, self.plugin.contract)
                request = self.request._replace(sha256=sha256)
                return isolate(checked, fit, request, self.allow, self.family)


def isolate(
    file: LibraryFile,
    fit: Fit,
    request: Request,
    allow: Examine | None = None,
    family: type[PluginObject] | None = None,
) -> Isolated:
    """Start the workers for a file that fits; `request.isolation` says how many, and their limits."""
    options = request.isolation or Isolation()
    plugin = _plugin_of(file, fit, options)
    check_config(plugin, request.config)
    _require_system(plugin)
    from .loaded import warn_changed
    from .session import Session  # the zygote starts meanwhile

    session = Session(file, fit, plugin, options, request.config)
    warn_changed(file.path, session.changed, fit)
    family = family or type("Isolated", (PluginObject,), {"__slots__": ()})
    return Isolated(plugin, session, request.binding or default_binding(), fit.problems, request, allow, family)


def _plugin_of(file: LibraryFile, fit: Fit, options: Isolation) -> Plugin:
    """The plugin. A method's address is its index in the contract plus one, since 0 is an empty slot."""
    # Each of several workers serves one call at a time by itself; calls need not wait for each other here.
    serial = bool(fit.vtable.flags & SERIAL) and options.workers == 1
    slots = fit.vtable.slots
    filled = [each != 0 for each in slots[_FIRST_METHOD:]]
    numbers = {
        method.name: at
        for at, (method, has) in enumerate(zip(fit.contract.methods, filled, strict=False), start=1)
        if has
    }
    return Plugin(file.path, fit.contract, fit.manifest, Slots(int(slots[0] != 0), int(slots[1] != 0), numbers), serial)


def _require_system(plugin: Plugin) -> None:
    """Raise LoadError where the system lacks something, and start the zygote."""
    try:
        if why := lacking.no_threads() or lacking.no_proc():
            raise why
        spawner.zygote()
    except lacking.LackingError as error:
        raise failures.unavailable(plugin, "loading", error) from error
    except OSError as error:
        raise failures.shortage(plugin, "loading", error) from error


def _module_of(binding: str) -> Any:
    """The module that makes methods for a binding."""
    if binding == "native":
        from . import native

        return native
    from . import remote

    return remote.cffi if binding == "cffi" else remote.ctypes
