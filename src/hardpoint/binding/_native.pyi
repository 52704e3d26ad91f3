from collections.abc import Callable
from typing import Any, Self, final

from typing_extensions import Buffer

@final
class Holder:
    pointer: int

class NativeMethod:
    address: int

    def __new__(
        cls,
        address: int,
        kinds: str,
        result: str,
        quick: bool,
        name: str,
        arguments: Callable[..., tuple[Any, ...]],
        convert: Callable[[int, Any, BaseException | None], Any],
        conclude: Callable[..., Any],
        /,
    ) -> Self: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

@final
class RemoteMethod(NativeMethod):
    def __new__(
        cls,
        index: int,
        kinds: str,
        result: str,
        quick: bool,
        name: str,
        arguments: Callable[..., tuple[Any, ...]],
        convert: Callable[[int, Any, BaseException | None], Any],
        conclude: Callable[..., Any],
        method: Any,
        plugin: Any,
        timeout: int,
        /,
    ) -> Self: ...

def remote_set_up(connection: type, /) -> None: ...
def remote_holder(session: Any, plugin: Any, free: list[Any], is_pool: bool, serial: bool, /) -> Holder: ...
def create(
    create: int, destroy: int, serial: bool, host: int, config: bytes | None, conclude: Callable[..., Any], /
) -> Holder: ...
def set_up(instance: type, /) -> None: ...
def system_calls(table: Buffer, /) -> list[int]: ...
