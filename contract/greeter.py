"""The contract `greeter`."""

from typing import Protocol, runtime_checkable

from hardpoint import contract, quick


@contract("greeter", version="1.0")
@runtime_checkable
class Greeter(Protocol):
    """Greets people in one language."""

    @quick
    def greet(self, name: str) -> str:
        """The greeting for the person called `name`."""
        ...

    @quick
    def lang(self) -> str:
        """The language's name for itself."""
        ...
