"""A file that fits -> a plugin in workers, ready to be called."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from ...backend import Plugin, Slots
from ...binding.instance import Holder
from ...binding.methods import PluginObject, make_class
from ...ffi.abi import SERIAL
from ...fields import Fields
from ...file import open_library, pin
from ...preflight.checks import require_fit
from ..options import Isolation
from . import spawner

if TYPE_CHECKING:
    from ...backend import Request
    from ...errors import Problem
    from ...file import Examine, LibraryFile
    from ...preflight.checks import Fit
    from ..options import IsolationStatus
    from .session import Session


class Isolated(Fields):
    """The `Backend` of a plugin that runs in workers."""

    plugin: Plugin
    session: Session
    warnings: tuple[Problem, ...]
    request: Request
    allow: Examine | None
    """Asked at each reload whether the new file may be loaded."""
    family: type[PluginObject]
    """Common base of an object's classes before and after a reload, so that bound methods go on working."""

    @property
    def binding(self) -> str:
        """The binding that the worker uses."""
        return self.session.binding

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
        from . import remote  # imported by isolate() while the worker starts

        return make_class(self.plugin, remote, self.family)

    def create(self) -> Holder:
        """Hold the session; the instance in the worker was created with it."""
        return Holder(self.session, type(self.session).end, serial=self.plugin.serial)

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
    spawner.spawner()  # it starts while this process imports what it needs itself, which takes 9 ms
    from . import remote  # noqa: F401 - see object_class
    from .session import Session

    # Each of several workers serves one call at a time by itself; calls need not wait for each other here.
    options = request.isolation or Isolation()
    serial = bool(fit.vtable.flags & SERIAL) and options.workers == 1
    plugin = Plugin(file.path, fit.contract, fit.manifest, Slots(0, 0, {}), serial)
    session = Session(file, fit, plugin, options, request.config, request.binding)
    numbers = {method.name: at for at, method in enumerate(fit.contract.methods, start=1) if session.present[at - 1]}
    plugin = plugin._replace(slots=Slots(0, 0, numbers))
    family = family or type("Isolated", (PluginObject,), {"__slots__": ()})
    return Isolated(plugin, session, fit.problems, request, allow, family)
