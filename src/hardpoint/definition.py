"""@contract, @since and @quick: a Protocol class read into a Contract, or refused with the reason."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import pairwise
from types import FunctionType
from typing import Any, TypeVar

from .errors import DefinitionError
from .reserved import owner_of
from .signature import (
    BUFFERS,
    IDENTIFIER,
    KINDS,
    MAX_PARAMETERS,
    RESULTS,
    Contract,
    Method,
    Parameter,
    check_contract_name,
    parse_version,
)

_C = TypeVar("_C")
_F = TypeVar("_F", bound=Callable[..., Any])

# A side table, never an attribute of the class: an attribute would become a member of the protocol (seen).
_contracts: dict[object, Contract] = {}


def quick(method: _F) -> _F:
    """Mark a method that only computes: for small inputs the GIL is kept, which saves half of a short call."""
    vars(method)["__hardpoint_quick__"] = True
    return method


def since(version: str) -> Callable[[_F], _F]:
    """Mark a method that came with this version of the contract: plugins of an older minor may lack it.

    Its body, if it does more than `...`, `pass` or `return None`, answers for them; otherwise the call raises CallError.
    """

    def mark(method: _F) -> _F:
        vars(method)["__hardpoint_since__"] = version
        return method

    return mark


def contract(name: str, *, version: str) -> Callable[[_C], _C]:
    """Make a Protocol class a contract called `name`; `version` is `MAJOR.MINOR`.

    Raises DefinitionError, naming method and parameter, for anything that the contract language does not have.
    """

    def register(cls: _C) -> _C:
        _contracts[cls] = _read_class(cls, name, version, sys._getframe(1).f_locals)  # noqa: SLF001 - names that are local to the caller
        return cls

    return register


def contract_of(cls: object) -> Contract:
    """The contract that a class was decorated with. TypeError if it is no contract."""
    try:
        return _contracts[cls]
    except (KeyError, TypeError):
        raise TypeError(f"{cls!r} is not a contract: decorate a Protocol class with @hardpoint.contract") from None


def _read_class(cls: Any, name: str, version: str, scope: dict[str, Any]) -> Contract:
    where = getattr(cls, "__qualname__", repr(cls))
    if not isinstance(cls, type) or not getattr(cls, "_is_protocol", False):
        raise DefinitionError(f"{where} cannot be a contract: it needs to be a Protocol: class {where}(Protocol)")
    if [base.__name__ for base in cls.__bases__] != ["Protocol"]:
        raise DefinitionError(f"{where} cannot be a contract: it inherits from another class; a contract stands alone")
    try:
        check_contract_name(name)
        major, minor = parse_version(version)
    except ValueError as error:
        raise DefinitionError(f"{where} cannot be a contract: {error}") from None
    members = {key: value for key, value in vars(cls).items() if not _is_machinery(cls, key, value)}
    members.update({key: None for key in cls.__annotations__ if key not in members})
    methods = tuple(_read_method(where, key, value, (major, minor), scope) for key, value in members.items())
    _check_order(where, methods)
    return Contract(name, major, minor, methods, _doc(cls), f"{cls.__module__}:{where}")


def _is_machinery(cls: type, name: str, value: object) -> bool:
    """What Protocol, abc and the compiler put into every such class, as opposed to what its author wrote."""
    if name in {"_is_protocol", "_is_runtime_protocol", "_abc_impl", "__annotate__", "__annotate_func__"}:
        return True
    written = isinstance(value, FunctionType) and value.__module__ == cls.__module__
    return name.startswith("__") and name.endswith("__") and not written


def _check_order(where: str, methods: tuple[Method, ...]) -> None:
    if not methods:
        raise DefinitionError(f"{where} cannot be a contract: it has no methods")
    for before, after in pairwise(methods):
        if after.since < before.since:
            raise DefinitionError(
                f"{where}.{after.name} cannot stand behind {before.name}, which came later: a contract grows by "
                "appending, so move the newer method to the end"
            )


def _read_method(where: str, name: str, value: Any, version: tuple[int, int], scope: dict[str, Any]) -> Method:
    where = f"{where}.{name}"

    def refuse(why: str) -> DefinitionError:
        return DefinitionError(f"{where} cannot be a method of a contract: {why}")

    if not isinstance(value, FunctionType):
        raise refuse("a contract has methods and nothing else: no attributes, properties, static or class methods")
    code = value.__code__
    if not IDENTIFIER.fullmatch(name):
        raise refuse("its name needs to be an ASCII identifier of at most 64 characters that starts with a letter")
    if owner := owner_of(name, slot=True):
        raise refuse(f"its name is taken by {owner}; choose another")
    if code.co_flags & 0x04 or code.co_flags & 0x08:
        raise refuse("*args and **kwargs cannot cross into C; name every parameter")
    if code.co_flags & (0x20 | 0x80 | 0x200):
        raise refuse("it needs to be a plain function, not async and not a generator")
    if code.co_kwonlyargcount:
        raise refuse(f"parameter {code.co_varnames[code.co_argcount]!r} is keyword-only; leave the * out")
    if value.__defaults__:
        raise refuse(
            f"parameter {code.co_varnames[code.co_argcount - 1]!r} has a default; the plugin has no way to know it"
        )
    if not code.co_argcount:
        raise refuse("it needs `self` as its first parameter")
    parameters = _read_parameters(where, value, scope)
    return Method(
        name,
        parameters,
        _read_kind(where, "return", value, RESULTS, scope),
        _read_since(where, value, version),
        getattr(value, "__hardpoint_quick__", False),
        _doc(value),
        value,
        _has_body(value),
    )


def _read_parameters(where: str, function: FunctionType, scope: dict[str, Any]) -> tuple[Parameter, ...]:
    code = function.__code__
    names = code.co_varnames[1 : code.co_argcount]
    if len(names) > MAX_PARAMETERS:
        raise DefinitionError(f"{where} has {len(names)} parameters; a method has at most {MAX_PARAMETERS}")
    parameters: list[Parameter] = []
    for index, name in enumerate(names, start=1):
        if not IDENTIFIER.fullmatch(name):
            raise DefinitionError(f"{where}: parameter {name!r} needs an ASCII name that starts with a letter")
        if owner := owner_of(name, slot=False):
            raise DefinitionError(f"{where}: parameter {name!r} has a name that is taken by {owner}; choose another")
        kind = _read_kind(where, name, function, KINDS, scope)
        parameters.append(Parameter(name, kind, index < code.co_posonlyargcount))
    for parameter in parameters:
        if parameter.kind in BUFFERS and f"{parameter.name}_len" in names:
            raise DefinitionError(
                f"{where}: parameter '{parameter.name}_len' has the name of the length of {parameter.name!r} in C; "
                "choose another"
            )
    return tuple(parameters)


def _read_kind(where: str, name: str, function: FunctionType, kinds: dict[object, str], scope: dict[str, Any]) -> str:
    what = "its result" if name == "return" else f"parameter {name!r}"
    choice = f"it needs one of {', '.join(_spelt(kind) for kind in kinds)}"
    try:
        annotation = function.__annotations__[name]
        if isinstance(annotation, str):
            # As typing.get_type_hints does, but one at a time, so that the error can name the parameter.
            annotation = eval(annotation, function.__globals__, scope)  # noqa: S307 - the author's own source
    except KeyError:
        raise DefinitionError(f"{where}: {what} has no annotation; {choice}") from None
    except Exception as error:
        raise DefinitionError(f"{where}: the annotation of {what} cannot be read: {error}; {choice}") from error
    try:
        return kinds[annotation]
    except (KeyError, TypeError):
        raise DefinitionError(f"{where}: {what} cannot be {_spelt(annotation)}; {choice}") from None


def _spelt(annotation: object) -> str:
    return annotation.__name__ if isinstance(annotation, type) else repr(annotation)


def _read_since(where: str, function: FunctionType, version: tuple[int, int]) -> int:
    text = getattr(function, "__hardpoint_since__", None)
    if text is None:
        return 0
    try:
        major, minor = parse_version(text)
    except ValueError as error:
        raise DefinitionError(f"{where}: @since: {error}") from None
    if major != version[0] or not 0 < minor <= version[1]:
        raise DefinitionError(
            f"{where}: @since({text!r}) needs a version after {version[0]}.0 and up to the contract's own, "
            f"{version[0]}.{version[1]}"
        )
    return minor


def _doc(thing: Any) -> str:
    """The docstring, its indentation taken off as inspect.cleandoc does (inspect costs 9 ms of start-up)."""
    first, _, rest = (thing.__doc__ or "").expandtabs().partition("\n")
    lines = rest.split("\n")
    margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return "\n".join([first.strip(), *(line[margin:].rstrip() for line in lines)]).strip()


def _empty(self: object) -> None: ...


def _empty_with_doc(self: object) -> None:
    """Nothing."""


_NO_BODY = frozenset({_empty.__code__.co_code, _empty_with_doc.__code__.co_code})


def _has_body(function: FunctionType) -> bool:
    """Whether it does more than `...`, `pass` or `return None`, which all compile alike."""
    code = function.__code__
    others = [constant for constant in code.co_consts if constant is not None and constant != function.__doc__]
    return code.co_code not in _NO_BODY or None not in code.co_consts or bool(others)
