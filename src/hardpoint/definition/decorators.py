"""@contract, @since and @quick: read a Protocol class into a Contract, or refuse it with the reason."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from itertools import pairwise
from types import FunctionType
from typing import Any, ForwardRef, Protocol, TypeVar, runtime_checkable

from ..errors import DefinitionError
from .kinds import PARAMETERS, RESULTS, Kind
from .model import MAX_MANIFEST, Contract, Method, Parameter, check_parameters, parse_version
from .reserved_names import check_contract_name, check_name

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

    Raises DefinitionError, which names method and parameter, for anything that the contract language lacks.
    """

    def register(cls: _C) -> _C:
        local = sys._getframe(1).f_locals  # noqa: SLF001 - annotations may use the caller's local names
        made = _contracts[cls] = _read_class(cls, name, version, local)
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


def _read_class(cls: Any, name: object, version: object, scope: Mapping[str, object]) -> Contract:
    where = getattr(cls, "__qualname__", repr(cls))

    def refuse(why: str) -> DefinitionError:
        return DefinitionError(f"{where} cannot be a contract: {why}")

    if not isinstance(cls, type) or not getattr(cls, "_is_protocol", False):
        raise refuse("it needs to be a class that inherits from Protocol, as in `class Greeter(Protocol)`")
    bases = vars(cls).get("__orig_bases__", cls.__bases__)  # the latter has Protocol for Protocol[T]
    if others := [_spelt(base) for base in bases if _spelt(base) not in {f"{module}.Protocol" for module in _TYPING}]:
        raise refuse(f"it inherits from {', '.join(others)}; a contract inherits from Protocol alone")
    try:
        check_contract_name(name)
    except ValueError as error:
        raise refuse(f"it has {error}") from None
    try:
        major, minor = parse_version(version)
    except ValueError as error:
        raise refuse(str(error)) from None
    members = {key: value for key, value in vars(cls).items() if not _is_machinery(key, value)}
    members.update({key: None for key in _annotations(cls) if key not in members})
    if not members:
        raise refuse("it has no methods")
    methods = tuple(_read_method(where, key, value, (major, minor), scope) for key, value in members.items())
    _check_order(where, methods)
    made = Contract(str(name), major, minor, methods, _doc(cls), f"{cls.__module__}:{where}")
    if made.manifest_size > MAX_MANIFEST:
        raise refuse(
            f"its manifest would have up to {made.manifest_size} bytes, and {MAX_MANIFEST} are allowed; "
            "make two contracts of it, or shorten its names"
        )
    return made


_TYPING = frozenset({"typing", "typing_extensions"})


@runtime_checkable
class _Bare(Protocol):
    """Has the attributes that Python, abc and typing put into every Protocol class, which differ by version."""


_MACHINERY = frozenset(vars(_Bare)) | frozenset(
    # Come with annotations (in Python 3.14 when they are first read), with slots and with typing_extensions' Protocol.
    "__annotations__ __annotate__ __annotate_func__ __annotations_cache__ __conditional_annotations__ __slots__ "
    "__protocol_attrs__ __callable_proto_members_only__ __non_callable_proto_members__".split()
)


def _is_machinery(name: str, value: object) -> bool:
    """True if the class has it although its author did not write it."""
    if name in {"__init__", "__subclasshook__"}:  # typing adds its own if the author wrote none
        return getattr(value, "__module__", None) in _TYPING
    return name in _MACHINERY


def _annotations(thing: Any) -> dict[str, Any]:
    """The annotations of a class or function, by name."""
    try:
        found: dict[str, Any] = thing.__annotations__
    except Exception:
        if sys.version_info >= (3, 14):
            # They are evaluated together, now, and one of them fails; as strings they can be evaluated one by one.
            from annotationlib import Format, get_annotations

            return get_annotations(thing, format=Format.STRING)
        raise
    return found


def _check_order(where: str, methods: tuple[Method, ...]) -> None:
    for before, after in pairwise(methods):
        if after.since < before.since:
            raise DefinitionError(
                f"{where}.{after.name} cannot stand behind {before.name}, which came later: a contract grows by "
                "appending, so move the newer method to the end"
            )


def _read_method(where: str, name: str, value: Any, version: tuple[int, int], scope: Mapping[str, object]) -> Method:
    where = f"{where}.{name}"

    def refuse(why: str) -> DefinitionError:
        return DefinitionError(f"{where} cannot be a method of a contract: {why}")

    if not isinstance(value, FunctionType):
        raise refuse("a contract has methods and nothing else: no attributes, properties, static or class methods")
    code = value.__code__
    try:
        check_name(name, "its name", slot=True)
    except ValueError as error:
        raise refuse(str(error)) from None
    if code.co_flags & (0x04 | 0x08):
        rest = "*" if code.co_flags & 0x04 else "**"
        rest += code.co_varnames[code.co_argcount + code.co_kwonlyargcount]
        raise refuse(f"parameter {rest!r} cannot cross into C; name every parameter")
    if code.co_flags & (0x20 | 0x80 | 0x200):
        raise refuse("it needs to be a plain function, not async and not a generator")
    if code.co_kwonlyargcount:
        raise refuse(f"parameter {code.co_varnames[code.co_argcount]!r} is keyword-only; leave the * out")
    if value.__defaults__:
        raise refuse(
            f"parameter {code.co_varnames[code.co_argcount - 1]!r} has a default; the plugin has no way to know it"
        )
    if code.co_varnames[: code.co_argcount][:1] != ("self",):
        raise refuse("it needs `self` as its first parameter")
    try:
        parameters = _read_parameters(where, value, scope)
    except ValueError as error:
        raise refuse(str(error)) from None
    return Method(
        name,
        parameters,
        _read_kind(where, "return", value, RESULTS, scope),
        _read_since(where, value, version),
        getattr(value, "__hardpoint_quick__", False),
        _doc(value),
        value,
    )


def _read_parameters(where: str, function: FunctionType, scope: Mapping[str, object]) -> tuple[Parameter, ...]:
    """Read a method's parameters. Raise ValueError if their names or their number are not allowed."""
    code = function.__code__
    names = code.co_varnames[1 : code.co_argcount]
    parameters: list[Parameter] = []
    for index, name in enumerate(names, start=1):
        check_name(name, f"the name of parameter {name!r}", slot=False)
        kind = _read_kind(where, name, function, PARAMETERS, scope)
        parameters.append(Parameter(name, kind, index < code.co_posonlyargcount))
    check_parameters(parameters)
    return tuple(parameters)


def _read_kind(
    where: str, name: str, function: FunctionType, kinds: Mapping[object, Kind], scope: Mapping[str, object]
) -> Kind:
    what = "its result" if name == "return" else f"parameter {name!r}"
    choice = f"it needs one of {', '.join(_spelt(kind) for kind in kinds)}"
    annotations = _annotations(function)
    if name not in annotations:
        raise DefinitionError(f"{where}: {what} has no annotation; {choice}")
    try:
        annotation = _evaluate(annotations[name], function, scope)
    except Exception as error:
        raise DefinitionError(f"{where}: the annotation of {what} cannot be read: {error}; {choice}") from error
    try:
        return kinds[annotation]
    except (KeyError, TypeError):
        raise DefinitionError(f"{where}: {what} cannot be {_spelt(annotation)}; {choice}") from None


def _evaluate(annotation: Any, function: FunctionType, scope: Mapping[str, object]) -> object:
    """Evaluate an annotation like typing.get_type_hints, but only one, so that errors name the parameter."""
    for _ in range(2):  # a quoted one under `from __future__ import annotations` is a string in a string
        if isinstance(annotation, ForwardRef):
            annotation = annotation.__forward_arg__
        if isinstance(annotation, str):
            annotation = eval(annotation, function.__globals__, scope)  # noqa: S307 - the author's own source
    return annotation


def _spelt(annotation: object) -> str:
    """An annotation about as its author wrote it: `str`, `hardpoint.Buffer`, `list[int]`."""
    if not isinstance(annotation, type):
        return repr(annotation)
    module = annotation.__module__
    return annotation.__qualname__ if module == "builtins" else f"{module}.{annotation.__qualname__}"


def _read_since(where: str, function: FunctionType, version: tuple[int, int]) -> int:
    if "__hardpoint_since__" not in vars(function):
        return 0
    text = vars(function)["__hardpoint_since__"]
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
    """Clean a docstring like inspect.cleandoc (inspect takes 9 ms to import), and strip blanks at the end of lines."""
    first, *rest = (thing.__doc__ or "").expandtabs().split("\n")
    margin = min((len(line) - len(line.lstrip()) for line in rest if line.strip()), default=0)
    return "\n".join([first.strip(), *(line[margin:].rstrip() for line in rest)]).strip("\n")
