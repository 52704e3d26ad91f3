"""load(): a path and a contract -> a plugin object, in this process or isolated."""

from __future__ import annotations

from _thread import RLock
from collections.abc import Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from .backend import Request
from .binding.convert import to_text
from .binding.instance import Instance
from .binding.methods import make_object
from .definition.decorators import contract_of
from .errors import LoadError, reasons
from .fields import Fields
from .file import open_library, path_of, pin
from .forks import in_child, notice
from .inprocess.plugin import check_binding, keep_fit, known_fit, open_in_process
from .isolation.options import checked
from .preflight.checks import require_fit

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    from .backend import Backend
    from .definition.model import Contract
    from .errors import Problem
    from .file import Examine, LibraryFile
    from .isolation.options import Isolation, IsolationStatus
    from .preflight.checks import Fit
    from .preflight.manifest import Manifest

T = TypeVar("T")
Binding = Literal["native", "cffi", "ctypes"]
_reloading = RLock()
"""Held while an object changes over, so that it gets class and instance from one and the same reload."""


def _renew_lock() -> None:
    global _reloading  # noqa: PLW0603 - in a forked child the thread that held it is not there to release it
    _reloading = RLock()


in_child(_renew_lock)


class Info(Fields):
    """Facts about a plugin object."""

    path: str
    """The file, as the caller named it."""
    contract: Contract
    manifest: Manifest
    binding: str
    """The binding in use, in the worker if it is isolated: `native`, `cffi` or `ctypes`."""
    sha256: str | None
    """The digest of the file that was loaded; None if that file is gone."""
    library: str
    """The dynamic linker's name for it: an absolute path, or a pinned copy's descriptor; isolated, the file's path."""
    warnings: tuple[Problem, ...]
    """Problems of the library that are no reason to refuse it."""
    isolation: IsolationStatus | None = None
    """The workers and their limits, if it is isolated."""


def load(
    path: str | os.PathLike[str],
    contract: Callable[..., T],
    *,
    config: str | Mapping[str, Any] | None = None,
    binding: Binding | None = None,
    sha256: str | None = None,
    isolated: bool | Isolation = False,
) -> T:
    """Load the plugin for `contract` from the library at `path`; return an object with the contract's methods.

    `config` goes to the plugin's create: a text, or a mapping that is sent as JSON. `binding` makes the calls:
    `native`, `cffi` or `ctypes`; the default is the one that the library has in this process already, or else `native`
    where it was built with the package, and `cffi` elsewhere. With `sha256`, 64 hexadecimal digits, exactly the bytes
    of that digest are loaded, from a copy that cannot change.

    With `isolated`, the plugin runs in a process of its own, which can crash, hang, be closed and replaced (`reload`)
    while this one goes on; an `Isolation` sets its limits. Its calls raise CrashedError and TimedOutError beside the
    others.

    The file that was checked is the file that is opened, even if another one takes its place meanwhile. What is left:
    a library that needs or may ask for its own folder ($ORIGIN, dladdr, dlopen, dlinfo), and any library where /proc is
    closed, which the dynamic linker opens by its path, so that one put there in the microseconds before runs, and
    StaleError comes after; a file that is rewritten in place, before that or at any time later, which can also crash
    the process; and the libraries that it needs. `sha256` closes the first two, as the copy has neither a path nor
    writers.

    What loading changes in the process, such as signal handlers, the signal mask, timers, the environment or the limits
    CPU, FSIZE, NOFILE and AS, is put back as far as possible, and named in a HardpointWarning. Not looked at, as that
    would take as long as the load itself: other limits, scheduling, personality, namespaces, attributes of prctl(2),
    descriptors but 0 to 2, threads, timers of timer_create(2). `hardpoint test` looks at these.

    The library stays in the process for good, unless it is isolated. While its file is the same (device, inode, size
    and time), later loads for the same contract compare the vtable in memory, and check nothing else again.

    Raises PluginNotFoundError, NotAPluginError, IncompatibleError and StaleError before any of its code runs;
    LoadError, ContractBrokenError, CreateError, and for an isolated one CrashedError and TimedOutError, after. Raises
    TypeError or ValueError for arguments that cannot be.
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
    """Load for a contract that needs no class, such as one read from a manifest. Arguments and errors are load's."""
    path = path_of(path, "path")
    check_binding(path, binding)
    text, isolation = encode(config), checked(isolated)
    file = open_library(path)
    return load_file(file, Request(file.absolute, contract, text, binding, isolation, sha256))


def load_file(file: LibraryFile, request: Request, allow: Examine | None = None) -> Any:
    """Load from an open file, which is closed. `allow` is asked first, and again at each reload."""
    notice()
    with file:
        if allow is not None:
            request = request._replace(sha256=allow(file))
        with nullcontext(file) if request.sha256 is None else pin(file, request.sha256) as pinned:
            known = known_fit(pinned, request.contract) if request.isolation is None else None
            fit = known or require_fit(pinned, request.contract)
            backend: Backend
            try:
                if request.isolation is None:
                    backend = open_in_process(pinned, fit, request)
                    if known is None:
                        keep_fit(pinned, fit)
                else:
                    from .isolation.host.isolate import isolate  # 9 ms, and few ask for it

                    backend = isolate(pinned, _in_worker(fit), request, allow)
            except LoadError as error:
                raise _explained(error, pinned, fit, request) from error.__cause__
    return make_object(backend)


_ONLY_HOST = (
    "this process could load it, and the plugin's own, which starts without the libraries that this one has loaded, could "
    "not: link the plugin with every library that it uses"
)


def _in_worker(fit: Fit) -> Fit:
    """Leave out the warnings of libraries that this process has loaded: a worker has loaded none."""
    return fit._replace(problems=tuple(problem for problem in fit.problems if problem.code != "soname-loaded"))


def _explained(error: LoadError, file: LibraryFile, fit: Fit, request: Request) -> LoadError:
    """Ask the dynamic linker who needs what, after it refused the file: dlopen names the first symbol alone."""
    if "[loader-refused]" not in str(error):
        return error
    from .preflight.loader import ask  # 15 ms with subprocess, for the error alone

    problems = [problem for problem in ask(file, fit.elf) if problem.fatal]
    if request.isolation is not None and not problems:
        return LoadError(f"{error}; {_ONLY_HOST}", path=file.path, problems=error.problems)
    if request.isolation is None and (hidden := [each for each in fit.problems if each.code == "soname-loaded"]):
        problems = [*(problems or error.problems), *hidden]
    if not problems:
        return error
    return LoadError(f"{file.path} cannot be loaded{reasons(problems)}", path=file.path, problems=problems)


def encode(config: str | Mapping[str, Any] | None) -> bytes | None:
    """Encode a config as UTF-8, a mapping as JSON. Raises TypeError or ValueError if that is not possible."""
    if config is None or isinstance(config, str):
        return None if config is None else to_text(config, "load() argument 'config'")
    if not isinstance(config, Mapping):
        raise TypeError(f"load() argument 'config' must be str, a mapping or None, not {type(config).__name__}")
    import json  # 3 ms, for configs that are mappings

    try:
        text = json.dumps(dict(config), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        why = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise kind(f"load() argument 'config' cannot travel as JSON: {why}") from error
    return to_text(text, "load() argument 'config'")


def instance_of(plugin: object) -> Instance:
    """The instance behind a plugin object. Raises TypeError for anything else."""
    instance = getattr(plugin, "_instance", None)
    if not isinstance(instance, Instance):
        raise TypeError(f"{plugin!r} is not a plugin object that hardpoint.load gave")
    return instance


def reload(plugin: object) -> None:
    """Replace an isolated plugin's worker by one that runs the file that stands at its path now.

    The new worker has the same options and config, and takes over once it has loaded the file; calls under way finish
    in the old one, which is ended then. Raises what load raises if the new file does not fit, and the old worker keeps
    serving. Raises TypeError if the plugin is not isolated: a library that was loaded in the process stays.
    """
    instance = instance_of(plugin)
    backend = instance.backend.reload()
    holder, changed = backend.create(), backend.object_class()
    with _reloading:
        instance.exchange(holder, backend)
        plugin.__class__ = changed


def info(plugin: object) -> Info:
    """Facts about a plugin object. Raises TypeError for anything else."""
    backend = instance_of(plugin).backend
    return Info(
        backend.plugin.path,
        backend.plugin.contract,
        backend.plugin.manifest,
        backend.binding,
        backend.sha256(),
        backend.library_path,
        backend.warnings,
        backend.status(),
    )


def close(plugin: object) -> None:
    """End a plugin's instance: later calls raise ClosedError, and its destroy runs when the last call has returned.

    The library's code stays in the process. Closing again does nothing. Raises TypeError for anything but a plugin
    object.
    """
    instance_of(plugin).close()


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
    """Load a plugin for a `with` block, and close it at the end. Arguments and errors are load's."""
    plugin = load(path, contract, config=config, binding=binding, sha256=sha256, isolated=isolated)
    try:
        yield plugin
    finally:
        close(plugin)
