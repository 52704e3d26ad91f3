"""The contract `hostile`: every way in which a plugin can harm the process that it is in."""

from typing import Protocol, runtime_checkable

from hardpoint import contract


@contract("hostile", version="1.0")
@runtime_checkable
class Hostile(Protocol):
    """Does harm when it is made, when it is called, or when it is ended; the config is `create:WHAT` or `destroy:WHAT`."""

    def harm(self, what: str) -> str:
        """Do one thing; what it says if it lives."""
        ...

    def write(self, text: str, times: int) -> None:
        """Write a text to stdout and stderr, so many times."""
        ...

    def count(self) -> int:
        """How many calls this process has seen."""
        ...
