"""load(): a path and a contract -> a plugin object, in this process or isolated."""

from __future__ import annotations

import os
from _thread import RLock
from collections.abc import Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from .binding.convert import to_text
from .binding.instance import Instance
from .definition.decorators import contract_of
from .errors import HardpointError, StaleError
from .fields import Fields
from .file import check_digest, digest, open_library, path_of, pin
from .inprocess.plugin import Opened, check_binding, check_fit, make_object, open_plugin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .definition.model import Contract
    from .errors import Problem
    from .file import Examine, LibraryFile
    from .inprocess.library import Library
    from .isolation.options import Isolation, IsolationStatus
    from .preflight.manifest import Manifest

T = TypeVar("T")
Binding = Literal["native", "cffi", "ctypes"]
_reloading = RLock()
"""Held while an object changes over, so that it gets class and instance from one and the same reload."""


class Info(Fields):
    """What is known of a plugin object."""

    path: str
    """The file, as the caller named it."""
    contract: Contract
    manifest: Manifest
    binding: str
    """What calls it, in the worker if it is isolated: `native`, `cffi` or `ctypes`."""
    sha256: str | None
    """The digest of the file that was loaded; None if that file is no longer there to be read."""
    library: str
    """What dlopen was given: an absolute path, or the name of a pinned copy's descriptor; isolated, the path of the file."""
    warnings: tuple[Problem, ...]
    """What speaks against the library and is no reason to refuse it."""
    isolation: IsolationStatus | None = None
    """How it is kept, if it is isolated."""


def load(
    path: str | os.PathLike[str],
    contract: Callable[..., T],
    *,
    config: str | Mapping[str, Any] | None = None,
    binding: Binding | None = None,
    sha256: str | None = None,
    isolated: bool | Isolation = False,
) -> T:
    """Load the plugin for `contract` from the library at `path`, and give an object with the contract's methods.

    `config` goes to the plugin's create: a text, or a mapping that travels as JSON. `binding` is what calls it, `native`,
    `cffi` or `ctypes`; by default the one that the library has in this process already, or else `native` where it was built
    with the package, and `cffi` elsewhere. With `sha256`, 64 hexadecimal digits, exactly the bytes of that digest are
    loaded, from a copy that nothing can change.

    With `isolated`, the plugin runs in a process of its own, which can crash, hang, be closed and replaced (`reload`) while
    this one goes on; an Isolation says how it is kept. Its calls raise CrashedError and TimedOutError beside the others.

    The library stays in the process for good, unless it is isolated. Raises PluginNotFoundError, NotAPluginError,
    IncompatibleError and StaleError before any of its code runs; LoadError, ContractBrokenError, CreateError, and for an
    isolated one CrashedError and TimedOutError, after.
    """
    return cast(
        "T",
        load_contract(path, contract_of(contract), config=config, binding=binding, sha256=sha256, isolated=isolated),
    )


def load_contract(
    path: str | os.PathLike[str],
    contract: Contract,
    *,
    config: str | Mapping[str, Any] | None = None,
    binding: str | None = None,
    sha256: str | None = None,
    isolated: bool | Isolation = False,
) -> Any:
    """As `load`, for a contract that need not have a class: a manifest's own, say."""
    path = path_of(path, "path")
    check_binding(path, binding)
    text = encode(config)
    return load_file(open_library(path), contract, text, binding, isolated, sha256)


def load_file(
    found: LibraryFile,
    contract: Contract,
    config: bytes | None,
    binding: str | None,
    isolated: bool | Isolation,  # noqa: FBT001 - as load's argument
    sha256: str | None = None,
    allow: Examine | None = None,
) -> Any:
    """As `load`, from an open file, which it closes. `allow` is asked first, and a reload of the plugin asks it again."""
    with found:
        if allow is not None:
            sha256 = allow(found)
        with nullcontext(found) if sha256 is None else pin(found, sha256) as file:
            fit = check_fit(file, contract)
            if isolated:
                from .isolation.host.isolate import isolate  # what it needs costs milliseconds, and few ask for it

                made = isolate(file, fit, isolated, config, binding, allow=allow)
            else:
                made = open_plugin(file, fit, binding)
    plugin = made if isolated else make_object(made, config)
    instance = _instance(plugin)
    how = instance.about.options if isolated else False  # with absolute paths
    instance.origin = Origin(found.absolute, contract, config, binding, how, sha256 is not None)
    return plugin


def encode(config: str | Mapping[str, Any] | None) -> bytes | None:
    """A config as it travels. TypeError or ValueError if it cannot."""
    if config is None or isinstance(config, str):
        return None if config is None else to_text(config, "load() argument 'config'")
    if not isinstance(config, Mapping):
        raise TypeError(f"load() argument 'config' must be str, a mapping or None, not {type(config).__name__}")
    import json

    try:
        text = json.dumps(dict(config), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"load() argument 'config' cannot travel as JSON: {error}") from error
    return to_text(text, "load() argument 'config'")


def _instance(plugin: object) -> Instance:
    instance = getattr(plugin, "_instance", None)
    if not isinstance(instance, Instance):
        raise TypeError(f"{plugin!r} is not a plugin object that hardpoint.load gave")
    return instance


def reload(plugin: object) -> None:
    """Have an isolated plugin's object go on with the file that stands at its path now; calls under way end with the old.

    A new worker loads that file with the same options and config, and takes over once it has; the old one is then ended.
    Raises what load raises if the new file does not fit, and the old worker keeps serving. TypeError if the plugin is not
    isolated: a library that was loaded in the process stays.
    """
    instance = _instance(plugin)
    about = instance.about
    if isinstance(about, Opened):
        raise TypeError(
            f"{plugin!r} is not isolated: its library stays in the process for good; load it with isolated=True"
        )
    from .isolation.host.isolate import isolate  # it has been imported for the plugin

    with open_library(about.session.library, about.plugin.path) as found:
        pinned = about.allow(found) if about.allow else about.session.pinned
        with nullcontext(found) if pinned is None else pin(found, pinned) as file:
            fit = check_fit(file, about.plugin.contract)
            new = isolate(file, fit, about.options, about.config, about.binding, about.family, about.allow)
    with _reloading:
        instance.exchange(_instance(new))
        plugin.__class__ = type(new)


class Origin(Fields):
    """What a plugin object was loaded with: it travels, by pickle, to be loaded so again in another process."""

    path: str
    contract: Contract
    config: bytes | None
    binding: str | None
    isolated: bool | Isolation
    pinned: bool

    def reduce(self, instance: Instance) -> tuple[Any, ...]:
        """What pickle keeps: how to open the very bytes that were loaded. StaleError if the file is no longer there."""
        sha256 = _info(instance).sha256
        if sha256 is None:
            raise StaleError(
                f"{instance.path} cannot be sent elsewhere: the file that was loaded is no longer there; put it back, or "
                "load the new one in a new process",
                path=instance.path,
            )
        return reopen, (*self, sha256)


def reopen(
    path: str,
    contract: Contract,
    config: bytes | None,
    binding: str | None,
    isolated: bool | Isolation,  # noqa: FBT001 - as pickle kept it
    pinned: bool,  # noqa: FBT001
    sha256: str,
) -> Any:
    """What unpickling a plugin object calls: the same file, checked again, with a new instance.

    Raises what load raises, and IncompatibleError if the file has other bytes than the one that was pickled.
    """
    check_binding(path, binding)
    found = open_library(path)
    if not pinned:
        try:
            check_digest(found, sha256)
        except BaseException:
            os.close(found.fd)
            raise
    return load_file(found, contract, config, binding, isolated, sha256 if pinned else None)


def info(plugin: object) -> Info:
    """What is known of a plugin object. TypeError if it is none."""
    return _info(_instance(plugin))


def _info(instance: Instance) -> Info:
    about = instance.about
    if not isinstance(about, Opened):
        session = about.session
        how = session.binding, session.sha256(), session.library
        in_force = session.in_force()
    else:
        library, in_force = about.library, None
        how = library.binding or "", _digest(library), library.path
    path, contract, manifest = about.plugin[:3]
    return Info(path, contract, manifest, *how, about.warnings, in_force)


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
    isolated: bool | Isolation = False,
) -> Iterator[T]:
    """Load a plugin for the length of a `with` block; it is closed at the end. Arguments and errors are load's."""
    plugin = load(path, contract, config=config, binding=binding, sha256=sha256, isolated=isolated)
    try:
        yield plugin
    finally:
        close(plugin)
