"""@contract, @since and @quick, and the contracts that classes were decorated with."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import DefinitionError

if TYPE_CHECKING:
    from .model import Contract

_C = TypeVar("_C")
_F = TypeVar("_F", bound=Callable[..., Any])

# Not an attribute of the class, which would become a member of the protocol (seen).
_contracts: dict[object, Contract] = {}
_MARK = "__hardpoint_contract__"


def quick(method: _F) -> _F:
    """Mark a method that only computes: the GIL is held for small inputs, which halves the time of a short call."""
    return _mark(method, "__hardpoint_quick__", True)


def since(version: str) -> Callable[[_F], _F]:
    """Mark a method that was added in this version of the contract: plugins of an older minor may lack it.

    For those, the method's own body is called if it does more than `...`, `pass` or `return None`; otherwise the call
    raises CallError.
    """
    if callable(version):
        method = getattr(version, "__qualname__", version)
        raise DefinitionError(f"{method}: @since needs a version, such as @since('1.1')")
    return lambda method: _mark(method, "__hardpoint_since__", version)


def _mark(method: _F, name: str, value: object) -> _F:
    function: object = method
    if isinstance(function, FunctionType):  # @contract refuses anything else, with its name
        vars(function)[name] = value
    return method


def contract(name: str, *, version: str) -> Callable[[_C], _C]:
    """Make a Protocol class a contract called `name`; `version` is `MAJOR.MINOR`.

    Raises DefinitionError for anything that the contract language lacks; it names method and parameter, and lists all
    errors of the class.
    """

    def register(cls: _C) -> _C:
        from .reading import read_class  # 0.5 ms, which `import hardpoint` alone need not take

        local = sys._getframe(1).f_locals  # noqa: SLF001 - annotations may use the caller's local names
        made = _contracts[cls] = read_class(cls, name, version, local)
        for method in made.methods:
            if method.function is not None:
                vars(method.function).setdefault(_MARK, {})[made.source] = made
        return cls

    return register


def contract_of(cls: object) -> Contract:
    """Return the contract that a class was decorated with. Raise TypeError if it was not."""
    try:
        found = _contracts.get(cls) or _unpickled(cls)
    except TypeError:  # not hashable
        found = None
    if found is None:
        raise TypeError(f"{cls!r} is not a contract: decorate a Protocol class with @hardpoint.contract")
    return found


def _unpickled(cls: object) -> Contract | None:
    """Find the contract of a class that was pickled by value, as cloudpickle does for scripts: its methods carry it."""
    if not isinstance(cls, type):
        return None
    source = f"{cls.__module__}:{cls.__qualname__}"
    for value in vars(cls).values():
        marks = vars(value).get(_MARK, {}) if isinstance(value, FunctionType) else {}
        if source in marks:
            return _contracts.setdefault(cls, marks[source])
    return None
