"""Callers -> the class of a plugin object: the contract's methods, as Python functions would be, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..abi import UNSUPPORTED
from ..errors import CallError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FunctionType

    from ..signature import Method
    from .outcome import Plugin

    Caller = Callable[[int, tuple[Any, ...]], Any]


def make_class(plugin: Plugin, callers: dict[str, Caller]) -> type:
    """A class whose objects have an `_instance`, and the contract's methods."""
    contract = plugin.contract
    name = contract.source.rpartition(".")[2].rpartition(":")[2] or contract.name
    title = f"<{plugin.manifest.plugin} {plugin.manifest.release}, a plugin for {contract} from {plugin.path}>"
    members: dict[str, Any] = {
        "__slots__": ("__weakref__", "_instance"),
        "__doc__": contract.doc or None,
        "__module__": contract.source.partition(":")[0] or __name__,
        "__new__": _refuse_to_be_made,
        "__reduce_ex__": _refuse_to_travel,
        "__repr__": lambda _: title,
    }
    for method in contract.methods:
        signature = _Arguments(name, method)
        if method.name in callers:
            function = _native(method, callers[method.name], signature)
        elif method.has_body:
            function = _fallback(method)
        else:
            function = _absent(plugin, method, signature)
        members[method.name] = _dress(function, f"{name}.{method.name}", method, signature)
    return type(name, (), members)


def _refuse_to_be_made(cls: type, *_: object, **__: object) -> None:
    raise TypeError(f"{cls.__name__} objects are made by hardpoint.load")


def _refuse_to_travel(plugin: object, _: object) -> None:
    raise TypeError(f"{plugin!r} cannot be copied or pickled: load it again where it is wanted")


class _Arguments:
    """Puts arguments in their order, and raises as Python does for too many, too few or unknown ones.

    It has Python do it: a function with the method's own parameters, made only when a call is not plainly positional.
    """

    def __init__(self, owner: str, method: Method) -> None:
        self._owner = owner
        self._method = method
        self._function: Callable[..., tuple[Any, ...]] | None = None

    @property
    def function(self) -> Callable[..., tuple[Any, ...]]:
        """`def greet(self, name): return (name,)`, named `Greeter.greet`."""
        function = self._function
        if function is None:
            names = [parameter.name for parameter in self._method.parameters]
            slash = sum(parameter.positional_only for parameter in self._method.parameters)
            parameters = ["self", *names]
            if slash:
                parameters.insert(slash + 1, "/")
            source = (
                f"def {self._method.name}({', '.join(parameters)}): return ({' '.join(f'{name},' for name in names)})"
            )
            scope: dict[str, Any] = {}
            exec(source, scope)  # noqa: S102 - every name in it was checked to be an identifier
            function = scope[self._method.name]
            function.__qualname__ = f"{self._owner}.{self._method.name}"
            function.__code__ = function.__code__.replace(co_qualname=function.__qualname__)
            self._function = function
        return function


def _native(method: Method, caller: Caller, arguments: _Arguments) -> Any:
    count, name = len(method.parameters), method.name

    def function(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        if kwargs or len(args) != count:
            args = arguments.function(self, *args, **kwargs)
        instance = self._instance
        holder = instance.hold(name)
        try:
            if instance.lock is None:
                return caller(holder.pointer, args)
            instance.check_turn(name)
            try:
                instance.lock.acquire()
                instance.hold(name)  # it may have been closed while this one waited
                return caller(holder.pointer, args)
            finally:
                # In one step, with no moment before it in which a signal's handler could raise; `with` has one (seen
                # with Python 3.14).
                try:  # noqa: SIM105 - suppress would be a call, with such a moment in it
                    instance.lock.release()
                except RuntimeError:  # the wait for it was interrupted
                    pass
        finally:
            del holder  # the frame may live on in a traceback

    return function


def _fallback(method: Method) -> Any:
    """The contract's own body answers for a plugin that is too old to have the method."""
    body = method.function
    assert body is not None  # noqa: S101 - has_body says so

    def function(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        self._instance.hold(method.name)
        return body(self, *args, **kwargs)

    return function


def _absent(plugin: Plugin, method: Method, arguments: _Arguments) -> Any:
    contract, manifest = plugin.contract, plugin.manifest

    def function(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        arguments.function(self, *args, **kwargs)
        self._instance.hold(method.name)
        raise CallError(
            f"{plugin.path}: {manifest.plugin} {manifest.release} does not have {method.text}, which came with "
            f"{contract.name} {contract.major}.{method.since}; use a newer release of the plugin",
            path=plugin.path,
            status=UNSUPPORTED,
        )

    return function


def _dress(function: FunctionType, qualname: str, method: Method, arguments: _Arguments) -> FunctionType:
    function.__name__, function.__qualname__ = method.name, qualname
    if method.function is not None:
        function.__doc__, function.__module__ = method.function.__doc__, method.function.__module__
        function.__annotations__ = dict(method.function.__annotations__)
    # inspect.signature follows this; a __signature__ of its own would cost every host the import of inspect (9 ms).
    vars(function)["__wrapped__"] = method.function or arguments.function
    return function
