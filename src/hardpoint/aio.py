"""A plugin's methods as coroutines, for asyncio: calls are made on a thread, so that the loop is free."""

from __future__ import annotations

from typing import Any

from .loading import info


class Awaitable:
    """The plugin, with coroutines for methods."""

    __slots__ = ("_methods", "_plugin")

    def __init__(self, plugin: object) -> None:
        self._plugin = plugin
        self._methods = frozenset(method.name for method in info(plugin).contract.methods)

    def __getattr__(self, name: str) -> Any:
        if name not in self._methods:
            raise AttributeError(f"{self!r} has no method {name!r}", name=name, obj=self)
        from asyncio import to_thread  # imported already by whoever awaits

        function = getattr(self._plugin, name)

        async def method(*args: Any, **kwargs: Any) -> Any:
            return await to_thread(function, *args, **kwargs)

        return method

    def __dir__(self) -> list[str]:
        return sorted(self._methods)

    def __repr__(self) -> str:
        return f"<awaitable {self._plugin!r}>"


def awaitable(plugin: object) -> Any:
    """Wrap a plugin object so that its methods are coroutines. Raises TypeError for anything else.

    `await awaitable(english).greet("World")`

    Each call runs on a thread of the loop's own pool, since a plugin may block. Giving up the wait (`asyncio.timeout`)
    does not stop the plugin; `Isolation(timeout=...)` does.
    """
    return Awaitable(plugin)
