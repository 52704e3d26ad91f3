"""Per-call checks: order the arguments, require an open instance, serialise if HP_SERIAL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__tracebackhide__ = True  # pytest shows the call in the test, not these frames

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..definition.model import Method


class Arguments:
    """Put arguments in order, self first. TypeError, worded as Python words it, for missing, surplus or unknown ones.

    Python itself does it, in a function with the method's parameters; that is made for the first call which needs it.
    """

    def __init__(self, class_name: str, method: Method) -> None:
        self._class_name = class_name
        self._method = method
        self._function: Callable[..., tuple[Any, ...]] | None = None
        self.made: type = object
        """The class that the method belongs to."""
        self.owner: type = object
        """The class whose objects it may be called on: `made`, or the base of the classes that `reload` assigns."""

    def __call__(self, /, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Return the arguments of a call in order. TypeError if they do not match the method's parameters."""
        ordered = self.function(*args, **kwargs)
        self.check(ordered[0])
        return ordered

    def check(self, plugin: object) -> None:
        """Raise TypeError if the method cannot be called on the object."""
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


def _same(pointer: Any) -> Any:
    return pointer


def _acquire(lock: Any, _: Any) -> None:
    lock.acquire()


def guarded(
    method: Method,
    call: Callable[[Any, tuple[Any, ...]], Any],
    arguments: Arguments,
    *,
    begin: Callable[[Any], Any] = _same,
    wait: Callable[[Any, Any], None] = _acquire,
) -> Any:
    """Wrap `call(pointer, arguments)` in the checks, for the bindings that are written in Python.

    `begin` may make something else of the pointer, such as a call with a deadline; `wait(lock, pointer)` waits for the
    turn of a call, and raises if that takes too long.
    """
    count, name = len(method.parameters) + 1, method.name

    def function(*args: Any, **kwargs: Any) -> Any:
        if kwargs or len(args) != count or type(args[0]) is not arguments.made:
            args = arguments(*args, **kwargs)
        instance = args[0]._instance
        holder = instance.hold(name)
        try:
            pointer = begin(holder.pointer)
            if holder.lock is None:
                return call(pointer, args[1:])
            if holder.lock._is_owned():  # threading.Condition uses it as well
                raise instance.nested(name)
            try:
                wait(holder.lock, pointer)
                instance.hold(name)  # the instance may have been closed while this call waited
                return call(pointer, args[1:])
            finally:
                # A signal handler must not be able to raise between the call and the release. With `with holder.lock`
                # it can (seen with Python 3.14).
                try:  # noqa: SIM105 - suppress is a call, during which a handler can raise
                    holder.lock.release()
                except RuntimeError:  # not acquired: a signal interrupted the wait
                    pass
        finally:
            holder = pointer = None  # a traceback may keep this frame alive, and with it the instance

    return function
