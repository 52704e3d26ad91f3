"""The contract `transformer`."""

from typing import Protocol, runtime_checkable

from hardpoint import contract, quick


@contract("transformer", version="1.0")
@runtime_checkable
class Transformer(Protocol):
    """Transforms texts."""

    @quick
    def transform(self, text: str) -> str:
        """The transformed `text`."""
        ...
