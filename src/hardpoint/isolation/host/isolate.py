"""A file that fits -> a plugin object whose methods are calls of a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...binding.instance import Holder, Instance
from ...binding.methods import PluginObject, make_class
from ...binding.plugin import Plugin, Slots
from ...ffi.abi import SERIAL
from ...fields import Fields
from ..options import Isolation, checked
from . import spawner

if TYPE_CHECKING:
    from ...errors import Problem
    from ...file import Examine, LibraryFile
    from ...preflight.checks import Fit
    from .session import Session


class Isolated(Fields):
    """What `info` needs of an isolated plugin."""

    plugin: Plugin
    session: Session
    warnings: tuple[Problem, ...]
    options: Isolation
    config: bytes | None
    binding: str | None
    family: type[PluginObject]
    allow: Examine | None
    """What a reload asks whether the new file may be loaded."""


def isolate(
    file: LibraryFile,
    fit: Fit,
    isolated: bool | Isolation,  # noqa: FBT001 - as load's argument
    config: bytes | None,
    binding: str | None,
    family: type[PluginObject] | None = None,
    allow: Examine | None = None,
) -> Any:
    """The plugin of a file that fits, in a worker, as an object with the contract's methods.

    `family` is what the classes of an object have in common before and after a reload: a method that was looked up before
    is called after.
    """
    family = family or type("Isolated", (PluginObject,), {"__slots__": ()})
    contract, manifest = fit.contract, fit.manifest
    assert manifest is not None  # noqa: S101 - a fit without problems has it
    assert fit.vtable is not None  # noqa: S101
    options = checked(isolated)
    spawner.spawner()  # it starts while this process imports what it needs itself, which takes it 9 ms
    from . import remote
    from .session import Session

    # Between several workers, each of which serves one call at a time, calls need not wait for each other here.
    serial = bool(fit.vtable.flags & SERIAL) and options.workers == 1
    plugin = Plugin(file.path, contract, manifest, Slots(0, 0, {}), serial)
    session = Session(file, fit, plugin, options, config, binding)
    places = {method.name: at for at, method in enumerate(contract.methods, start=1) if session.present[at - 1]}
    plugin = plugin._replace(slots=Slots(0, 0, places))
    instance = Instance(Holder(session, Session.end, serial=serial), name=manifest.plugin, path=file.path)
    instance.about = Isolated(
        plugin,
        session,
        tuple(problem for problem in fit.problems if not problem.fatal),
        options,
        config,
        binding,
        family,
        allow,
    )
    made: Any = object.__new__(make_class(plugin, remote, family))
    made._instance = instance  # noqa: SLF001 - the one slot of its class
    return made
