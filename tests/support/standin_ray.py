"""A substitute for Ray, which is too large to install for tests: `put` pickles, and each task unpickles.

tests/test_docs.py copies it beside the example of docs/scaling.md, as ray.py.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Reference:
    """A reference to an object that was put."""

    def __init__(self, held: object) -> None:
        self.pickled = pickle.dumps(held)

    def get(self) -> Any:
        return pickle.loads(self.pickled)


class RemoteFunction:
    """A remote function, whose calls are tasks."""

    def __init__(self, function: Callable[..., object]) -> None:
        self._function = function

    def remote(self, *arguments: object) -> Reference:
        return Reference(self._function(*(each.get() if isinstance(each, Reference) else each for each in arguments)))


def init() -> None:
    """Do nothing."""


def put(held: object) -> Reference:
    return Reference(held)


def remote(function: Callable[..., object]) -> RemoteFunction:
    return RemoteFunction(function)


def get(tasks: list[Reference]) -> list[Any]:
    return [task.get() for task in tasks]
