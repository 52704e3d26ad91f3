"""load(): a path and a contract -> a plugin object, one stage after the other."""

from __future__ import annotations

import os
from _thread import RLock
from collections.abc import Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, get_args

from .abi import SERIAL, UNSUPPORTED
from .binding import default, module_of, why_not_native
from .binding.convert import to_text
from .binding.instance import Instance
from .binding.methods import make_class
from .binding.outcome import Plugin
from .definition import contract_of
from .errors import CreateError, HardpointError, IncompatibleError, LoadError, Problem
from .file import LibraryFile, digest, open_library, pin
from .library import Library, live_slots, open_for_good
from .preflight import preflight
from .record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .manifest import Manifest
    from .preflight import Fit
    from .signature import Contract

T = TypeVar("T")
Binding = Literal["native", "cffi", "ctypes"]

_loading = RLock()
"""Held while a library is opened, so that what one load changes in the process is not taken for another's. What other
threads change meanwhile by other means cannot be told apart."""
_classes: dict[tuple[Library, Contract], type] = {}


def _renew_lock() -> None:
    global _loading  # noqa: PLW0603 - in a forked child the thread that held it is not there to release it
    _loading = RLock()


os.register_at_fork(after_in_child=_renew_lock)


class Info(Record):
    """What is known of a plugin object."""

    path: str
    """The file, as the caller named it."""
    contract: Contract
    manifest: Manifest
    binding: str
    """What calls it: `native`, `cffi` or `ctypes`."""
    sha256: str | None
    """The digest of the file that was loaded; None if that file is no longer there to be read."""
    library: str
    """What dlopen was given: an absolute path, or the name of a pinned copy's descriptor."""
    warnings: tuple[Problem, ...]
    """What speaks against the library and is no reason to refuse it."""


class _About(Record):
    """What `info` needs; an instance carries it."""

    plugin: Plugin
    library: Library
    warnings: tuple[Problem, ...]


def load(
    path: str | os.PathLike[str],
    contract: Callable[..., T],
    *,
    config: str | Mapping[str, Any] | None = None,
    binding: Binding | None = None,
    sha256: str | None = None,
) -> T:
    """Load the plugin for `contract` from the library at `path`, and give an object with the contract's methods.

    `config` goes to the plugin's create: a text, or a mapping that travels as JSON. `binding` is what calls it, `native`,
    `cffi` or `ctypes`; by default the one that the library has in this process already, or else `native` where it was built
    with the package, and `cffi` elsewhere. With `sha256`, 64 hexadecimal digits, exactly the bytes of that digest are loaded, from a copy that nothing can change.

    The library stays in the process for good. Raises PluginNotFoundError, NotAPluginError, IncompatibleError and
    StaleError before any of its code runs; LoadError, ContractBrokenError and CreateError after.
    """
    return cast("T", load_contract(path, contract_of(contract), config=config, binding=binding, sha256=sha256))


def load_contract(
    path: str | os.PathLike[str],
    contract: Contract,
    *,
    config: str | Mapping[str, Any] | None = None,
    binding: str | None = None,
    sha256: str | None = None,
) -> Any:
    """As `load`, for a contract that need not have a class: a manifest's own, say."""
    if binding is not None and binding not in get_args(Binding):
        raise ValueError(f"binding is one of {', '.join(get_args(Binding))}, not {binding!r}")
    if binding == "native" and (why := why_not_native()):
        raise LoadError(
            f"{path} cannot be called through the native binding: {why}; or leave out binding='native'",
            path=os.fspath(path),
        )
    text = _encode(config)
    with open_library(path) as found, nullcontext(found) if sha256 is None else pin(found, sha256) as file:
        fit = preflight(file, contract)
        _refuse(file, fit)
        with _loading:
            library = open_for_good(file, fit)
            slots = live_slots(file, library, fit)
            module = _bind(file, library, binding)
        assert fit.manifest is not None  # noqa: S101 - _refuse saw to it
        assert fit.vtable is not None  # noqa: S101
        plugin = Plugin(file.path, contract, fit.manifest, slots, bool(fit.vtable.flags & SERIAL))
    return _instantiate(plugin, library, module, text, fit.problems)


def _encode(config: str | Mapping[str, Any] | None) -> bytes | None:
    if config is None or isinstance(config, str):
        return None if config is None else to_text(config, "load() argument 'config'")
    if not isinstance(config, Mapping):
        raise TypeError(f"load() argument 'config' must be str, a mapping or None, not {type(config).__name__}")
    import json

    text = json.dumps(dict(config), ensure_ascii=False, allow_nan=False)
    return to_text(text, "load() argument 'config'")


def _refuse(file: LibraryFile, fit: Fit) -> None:
    fatal = fit.fatal
    if not fatal:
        return
    reasons = f": {fatal[0]}" if len(fatal) == 1 else "".join(f"\n  - {problem}" for problem in fatal)
    raise IncompatibleError(f"{file.path} does not fit {fit.contract}{reasons}", path=file.path, problems=fatal)


def _bind(file: LibraryFile, library: Library, wanted: str | None) -> Any:
    """The module of the binding; one library has one binding in a process."""
    name = wanted or library.binding or _default_binding()
    if library.binding not in {None, name}:
        raise LoadError(
            f"{file.path} is called through {library.binding} in this process, and a library has one binding, since two "
            f"can deadlock over a lock of the plugin's own; leave out binding={name!r}, or load a copy of the file",
            path=file.path,
        )
    library.binding = name
    return module_of(name)


_default: list[str] = []


def _default_binding() -> str:
    """Found out once: to look for a module that is not there takes its time."""
    if not _default:
        _default.append(default())
    return _default[0]


def _instantiate(
    plugin: Plugin, library: Library, binding: Any, config: bytes | None, problems: tuple[Problem, ...]
) -> Any:
    name, host = plugin.manifest.plugin, None
    if plugin.slots.create:
        from .logs import host_for  # imported when a plugin first wants it, as few do

        host = host_for(name)
    elif config is not None:
        raise CreateError(
            f"{plugin.path}: {name} takes no config, since it has no create; leave config out",
            path=plugin.path,
            status=UNSUPPORTED,
        )
    instance = Instance(binding.create(plugin, host, config), name=name, path=plugin.path)
    instance.about = _About(plugin, library, tuple(problem for problem in problems if not problem.fatal))
    made: Any = object.__new__(_class_of(plugin, library, binding))
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


def _instance(plugin: object) -> Instance:
    instance = getattr(plugin, "_instance", None)
    if not isinstance(instance, Instance):
        raise TypeError(f"{plugin!r} is not a plugin object that hardpoint.load gave")
    return instance


def info(plugin: object) -> Info:
    """What is known of a plugin object. TypeError if it is none."""
    about: _About = _instance(plugin).about
    return Info(
        about.plugin.path,
        about.plugin.contract,
        about.plugin.manifest,
        about.library.binding or "",
        _digest(about.library),
        about.library.path,
        about.warnings,
    )


def _digest(library: Library) -> str | None:
    if library.sha256 is None:
        try:
            with open_library(library.path) as file:
                if file.identity == library.identity:
                    library.sha256 = digest(file)
        except (HardpointError, OSError):
            return None
    return library.sha256


def close(plugin: object) -> None:
    """End a plugin's instance: later calls raise ClosedError, and its destroy runs when the last one is out.

    The library's code stays in the process. Closing again does nothing. TypeError if it is no plugin object.
    """
    _instance(plugin).close()


@contextmanager
def loaded(
    path: str | os.PathLike[str],
    contract: Callable[..., T],
    *,
    config: str | Mapping[str, Any] | None = None,
    binding: Binding | None = None,
    sha256: str | None = None,
) -> Iterator[T]:
    """Load a plugin for the length of a `with` block; it is closed at the end. Arguments and errors are load's."""
    plugin = load(path, contract, config=config, binding=binding, sha256=sha256)
    try:
        yield plugin
    finally:
        close(plugin)
