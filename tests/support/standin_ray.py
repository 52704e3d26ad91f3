"""Stands in for Ray, which is too large to be installed for tests: what is put is pickled, and unpickled in each task.

tests/test_docs.py puts it beside the example of docs/scaling.md, as ray.py.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Reference:
    """What stands for an object that was put."""

    def __init__(self, held: object) -> None:
        self.pickled = pickle.dumps(held)

    def get(self) -> Any:
        return pickle.loads(self.pickled)


class RemoteFunction:
    """A function whose calls are tasks."""

    def __init__(self, function: Callable[..., object]) -> None:
        self._function = function

    def remote(self, *arguments: object) -> Reference:
        return Reference(self._function(*(each.get() if isinstance(each, Reference) else each for each in arguments)))


def init() -> None:
    """Start nothing."""


def put(held: object) -> Reference:
    return Reference(held)


def remote(function: Callable[..., object]) -> RemoteFunction:
    return RemoteFunction(function)


def get(tasks: list[Reference]) -> list[Any]:
    return [task.get() for task in tasks]
