"""The class of a plugin object: the contract's methods, which look like Python functions, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import CallError
from ..ffi.abi import UNSUPPORTED
from .guard import Arguments
from .instance import Instance

if TYPE_CHECKING:
    from ..backend import Backend, Plugin
    from ..definition.model import Method


class PluginObject:
    """The base class of every plugin object. Its slots are here so that `reload` can assign another `__class__`."""

    __slots__ = ("__weakref__", "_instance")
    _instance: Instance


def make_object(backend: Backend) -> Any:
    """Create an instance, as an object with the contract's methods."""
    made: Any = object.__new__(backend.object_class())
    made._instance = Instance(backend.create(), backend)
    return made


def make_class(plugin: Plugin, binding: Any, family: type[PluginObject] | None = None) -> type:
    """Make the class of a plugin's objects; `binding` is the module that makes the methods.

    A method can be called on objects of its own class only; with a `family`, on objects of every class made with it.
    """
    contract = plugin.contract
    name = contract.source.rpartition(".")[2].rpartition(":")[2] or contract.name
    title = str(plugin)
    members: dict[str, Any] = {
        "__slots__": (),
        "__doc__": contract.doc or None,
        "__module__": contract.source.partition(":")[0] or __name__,
        "__new__": _refuse_to_be_made,
        "__repr__": lambda _: title,
    }
    every = [Arguments(name, method) for method in contract.methods]
    for method, arguments in zip(contract.methods, every, strict=True):
        if address := plugin.slots.methods.get(method.name):
            function = binding.method(plugin, method, address, arguments)
        elif method.has_body:
            function = _fallback(method, arguments)
        else:
            function = _absent(plugin, method, arguments)
        members[method.name] = _dress(function, f"{name}.{method.name}", method, arguments)
    made = type(name, (family or PluginObject,), members)
    for arguments in every:
        arguments.made, arguments.owner = made, family or made
    return made


def _refuse_to_be_made(cls: type, *_: object, **__: object) -> None:
    raise TypeError(f"{cls.__name__} objects are made by hardpoint.load")


def _fallback(method: Method, arguments: Arguments) -> Any:
    """A method that runs the contract's own body, for a plugin that is older than the method."""
    body = method.function
    assert body is not None  # noqa: S101 - has_body says so

    def function(*args: Any, **kwargs: Any) -> Any:
        self, *rest = arguments(*args, **kwargs)
        self._instance.hold(method.name)
        return body(self, *rest)

    return function


def _absent(plugin: Plugin, method: Method, arguments: Arguments) -> Any:
    contract, manifest = plugin.contract, plugin.manifest

    def function(*args: Any, **kwargs: Any) -> Any:
        arguments(*args, **kwargs)[0]._instance.hold(method.name)
        raise CallError(
            f"{plugin.path}: {manifest.plugin} {manifest.release} does not have {method.text}, which came with "
            f"{contract.name} {contract.major}.{method.since}; use a newer release of the plugin",
            status=UNSUPPORTED,
            **plugin.about(method.name),
        )

    return function


def _dress(function: Any, qualname: str, method: Method, arguments: Arguments) -> Any:
    function.__name__, function.__qualname__ = method.name, qualname
    if method.function is not None:
        function.__doc__, function.__module__ = method.function.__doc__, method.function.__module__
        function.__annotations__ = dict(method.function.__annotations__)
    # inspect.signature follows __wrapped__; setting __signature__ would cost every host the import of inspect (9 ms).
    vars(function)["__wrapped__"] = method.function or arguments.function
    return function
