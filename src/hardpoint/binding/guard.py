"""What stands before every call: the arguments in their order, an instance that is open, and its turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..definition.model import Method

    Caller = Callable[[Any, tuple[Any, ...]], Any]


class Arguments:
    """Puts arguments in their order, self first, and raises as Python does for too many, too few or unknown ones.

    It has Python do it: a function with the method's own parameters, made only when a call is not plainly positional.
    """

    def __init__(self, class_name: str, method: Method) -> None:
        self._class_name = class_name
        self._method = method
        self._function: Callable[..., tuple[Any, ...]] | None = None
        self.made: type = object
        """The class that the method is one of."""
        self.owner: type = object
        """The class whose objects it may be called on: the same, or a family of classes between which `reload` changes."""

    def __call__(self, /, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The arguments of a call, in their order. TypeError if they are not the method's."""
        ordered = self.function(*args, **kwargs)
        self.check(ordered[0])
        return ordered

    def check(self, plugin: object) -> None:
        """TypeError unless a method of the class may be called on the object."""
        if not isinstance(plugin, self.owner):
            name = self._method.name
            raise TypeError(
                f"descriptor {name!r} for {self._class_name!r} objects doesn't apply to a {type(plugin).__name__!r} object"
            )

    @property
    def function(self) -> Callable[..., tuple[Any, ...]]:
        """`def greet(self, name): return (self, name)`, named `Greeter.greet`."""
        function = self._function
        if function is None:
            names = ["self", *(parameter.name for parameter in self._method.parameters)]
            slash = sum(parameter.positional_only for parameter in self._method.parameters)
            parameters = [*names[: slash + 1], "/", *names[slash + 1 :]] if slash else names
            source = f"def {self._method.name}({', '.join(parameters)}): return ({', '.join(names)},)"
            scope: dict[str, Any] = {}
            exec(source, scope)  # noqa: S102 - every name in it was checked to be an identifier
            function = scope[self._method.name]
            function.__qualname__ = f"{self._class_name}.{self._method.name}"
            function.__code__ = function.__code__.replace(co_qualname=function.__qualname__)
            self._function = function
        return function


def guarded(method: Method, caller: Caller, arguments: Arguments) -> Any:
    """The method as a function, for the bindings that are written in Python."""
    count, name = len(method.parameters) + 1, method.name

    def function(*args: Any, **kwargs: Any) -> Any:
        if kwargs or len(args) != count or type(args[0]) is not arguments.made:
            args = arguments(*args, **kwargs)
        instance = args[0]._instance
        holder = instance.hold(name)
        try:
            if holder.lock is None:
                return caller(holder.pointer, args[1:])
            if holder.lock._is_owned():  # as threading.Condition asks it
                raise instance.nested(name)
            try:
                holder.lock.acquire()
                instance.hold(name)  # it may have been closed while this one waited
                return caller(holder.pointer, args[1:])
            finally:
                # In one step, with no moment before it in which a signal's handler could raise; `with` has one (seen
                # with Python 3.14).
                try:  # noqa: SIM105 - suppress would be a call, with such a moment in it
                    holder.lock.release()
                except RuntimeError:  # the wait for it was interrupted
                    pass
        finally:
            del holder  # the frame may live on in a traceback

    return function
