"""A plugin's methods as coroutines, for asyncio: the call is made on a thread, and the loop goes on."""

from __future__ import annotations

from typing import Any

from .loading import info


class Awaitable:
    """The same plugin, with methods that are to be awaited."""

    __slots__ = ("_methods", "_plugin")

    def __init__(self, plugin: object) -> None:
        self._plugin = plugin
        self._methods = frozenset(method.name for method in info(plugin).contract.methods)

    def __getattr__(self, name: str) -> Any:
        if name not in self._methods:
            raise AttributeError(f"{self!r} has no method {name!r}", name=name, obj=self)
        from asyncio import to_thread  # who awaits has imported it

        function = getattr(self._plugin, name)

        async def method(*args: Any, **kwargs: Any) -> Any:
            return await to_thread(function, *args, **kwargs)

        return method

    def __dir__(self) -> list[str]:
        return sorted(self._methods)

    def __repr__(self) -> str:
        return f"<awaitable {self._plugin!r}>"


def awaitable(plugin: object) -> Any:
    """Give the plugin with methods that are to be awaited. TypeError if it is no plugin object.

    `await awaitable(english).greet("World")`

    Each call runs on a thread of the loop's own pool, since a plugin may block. To stop waiting (`asyncio.timeout`) does
    not stop the plugin; `Isolation(timeout=...)` does.
    """
    return Awaitable(plugin)
