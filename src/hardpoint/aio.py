"""A plugin's methods as coroutines, for asyncio: calls are made on a thread, so that the loop is free."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from .loading import info

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import ParamSpec, TypeVar

    P = ParamSpec("P")
    R = TypeVar("R")


class Awaitable:
    """The plugin, with coroutines for methods."""

    __slots__ = ("_methods", "_plugin")

    def __init__(self, plugin: object) -> None:
        self._plugin = plugin
        self._methods = frozenset(method.name for method in info(plugin).contract.methods)

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        if name not in self._methods:
            raise AttributeError(f"{self!r} has no method {name!r}", name=name, obj=self)
        return _coroutine(getattr(self._plugin, name))

    def __dir__(self) -> list[str]:
        return sorted(self._methods)

    def __repr__(self) -> str:
        return f"<awaitable {self._plugin!r}>"


def _coroutine(function: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
    from asyncio import to_thread  # imported already by whoever awaits

    async def method(*args: P.args, **kwargs: P.kwargs) -> R:
        return await to_thread(function, *args, **kwargs)

    return method


@overload
def awaitable(  # type: ignore[overload-overlap]  # a plugin object cannot be called
    plugin: Callable[P, R], /
) -> Callable[P, Coroutine[Any, Any, R]]: ...
@overload
def awaitable(plugin: object) -> Awaitable: ...
def awaitable(plugin: object) -> Any:
    """Wrap a plugin object so that its methods are coroutines, or one of its methods, which keeps its types.

    `await awaitable(english).greet("World")`, `await awaitable(english.greet)("World")`

    Type checkers know the arguments and the result of the second alone: Python's type system cannot turn all methods of
    a class into coroutines. Each call runs on a thread of the loop's own pool, since a plugin may block. Giving up the
    wait (`asyncio.timeout`) does not stop the plugin; `Isolation(timeout=...)` does. Raises TypeError for any other
    object.
    """
    owner = getattr(plugin, "__self__", None)
    if owner is not None and callable(plugin):
        info(owner)
        return _coroutine(plugin)
    return Awaitable(plugin)
