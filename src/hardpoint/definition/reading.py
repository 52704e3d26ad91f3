"""Read a Protocol class into a Contract, or refuse it with every reason."""

from __future__ import annotations

import sys
from types import FunctionType
from typing import TYPE_CHECKING, Any, ForwardRef, Protocol, runtime_checkable

from ..errors import DefinitionError
from .kinds import PARAMETERS, RESULTS, Kind
from .model import MAX_MANIFEST, Contract, Method, Parameter, check_parameters, parse_version
from .reserved_names import check_contract_name, check_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def read_class(cls: Any, name: object, version: object, scope: Mapping[str, object]) -> Contract:
    """Read a decorated class; `scope` has the local names that its annotations may use. Raises DefinitionError."""
    where = getattr(cls, "__qualname__", repr(cls))
    errors: list[DefinitionError] = []

    def refuse(why: object) -> None:
        errors.append(DefinitionError(f"{where} cannot be a contract: {why}"))

    if not isinstance(cls, type) or not getattr(cls, "_is_protocol", False):
        refuse("it needs to be a class that inherits from Protocol, as in `class Greeter(Protocol)`")
        raise errors[0]
    bases = vars(cls).get("__orig_bases__", cls.__bases__)  # the latter has Protocol for Protocol[T]
    if others := [_spelt(base) for base in bases if _spelt(base) not in {f"{module}.Protocol" for module in _TYPING}]:
        refuse(f"it inherits from {', '.join(others)}; a contract inherits from Protocol alone")
    try:
        check_contract_name(name)
    except ValueError as error:
        refuse(f"it has {error}")
    numbers = None
    try:
        numbers = parse_version(version)
    except ValueError as error:
        refuse(error)
    members = {key: value for key, value in vars(cls).items() if not _is_machinery(key, value)}
    if "__eq__" in members and members.get("__hash__", True) is None:  # set by Python beside it
        del members["__hash__"]
    members.update({key: None for key in _annotations(cls) if key not in members})
    if not members:
        refuse("it has no methods")
    methods = [_read_method(f"{where}.{key}", key, value, numbers, scope, errors) for key, value in members.items()]
    sound = tuple(method for method in methods if method is not None)
    errors += _check_order(where, sound, numbers or (1, 0))
    if errors or numbers is None:
        raise _together(where, errors)
    made = Contract(str(name), *numbers, sound, _doc(cls), f"{cls.__module__}:{where}")
    if made.manifest_size > MAX_MANIFEST:
        refuse(
            f"its manifest would have up to {made.manifest_size} bytes, and {MAX_MANIFEST} are allowed; "
            "make two contracts of it, or shorten its names"
        )
        raise errors[0]
    return made


def _together(where: str, errors: list[DefinitionError]) -> DefinitionError:
    """The only error, or one that lists them all."""
    if len(errors) == 1:
        return errors[0]
    listed = "".join(f"\n  - {error}" for error in errors)
    return DefinitionError(f"{where} cannot be a contract, for {len(errors)} reasons:{listed}")


_TYPING = frozenset({"typing", "typing_extensions"})


@runtime_checkable
class _Bare(Protocol):
    """Has the attributes that Python, abc and typing put into every Protocol class, which differ by version."""


_MACHINERY = frozenset(vars(_Bare)) | frozenset(
    # Come with type parameters, with annotations (in Python 3.14 when they are first read), with slots and with
    # typing_extensions' Protocol.
    "__parameters__ __orig_bases__ __annotations__ __annotate__ __annotate_func__ __annotations_cache__ __conditional_annotations__ __slots__ "
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


def _check_order(where: str, methods: tuple[Method, ...], version: tuple[int, int]) -> list[DefinitionError]:
    """Refuse each method behind one that came later: perhaps its own @since was forgotten."""
    errors: list[DefinitionError] = []
    newest = methods[0] if methods else None
    for method in methods:
        if newest is None or method.since >= newest.since:
            newest = method
            continue
        mark = (
            "" if method.since else f"mark {method.name} with @since('{version[0]}.{version[1]}') if it is newer, or "
        )
        why = (
            f"{where}.{method.name} cannot stand behind {newest.name}, which came in {version[0]}.{newest.since}: "
            f"a contract grows by appending, so {mark}move {newest.name} to the end"
        )
        errors.append(DefinitionError(why))
    return errors


def _read_method(
    where: str,
    name: str,
    value: Any,
    version: tuple[int, int] | None,
    scope: Mapping[str, object],
    errors: list[DefinitionError],
) -> Method | None:
    """Read a method of the contract. Appends what is wrong with it to `errors`, and returns None then."""
    before = len(errors)

    def refuse(why: object) -> None:
        errors.append(DefinitionError(f"{where} cannot be a method of a contract: {why}"))

    if not isinstance(value, FunctionType):
        refuse("a contract has methods and nothing else: no attributes, properties, static or class methods")
        return None
    try:
        check_name(name, "its name", slot=True)
    except ValueError as error:
        refuse(error)
    for why in _unfit_function(value):
        refuse(why)
    parameters = _read_parameters(where, value, scope, errors)
    try:
        check_parameters(parameters)
    except ValueError as error:
        refuse(error)
    result = _read_kind(where, "return", value, RESULTS, scope, errors)
    since = _read_since(where, value, version, errors)
    if result is None or len(errors) > before:
        return None
    return Method(name, parameters, result, since, getattr(value, "__hardpoint_quick__", False), _doc(value), value)


def _unfit_function(function: FunctionType) -> Iterator[str]:
    """Yield what a function has that a method of a contract cannot have."""
    code = function.__code__
    rest = code.co_varnames[code.co_argcount + code.co_kwonlyargcount :]
    stars = [*(["*"] if code.co_flags & 0x04 else []), *(["**"] if code.co_flags & 0x08 else [])]
    for star, name in zip(stars, rest, strict=False):
        yield f"parameter {star + name!r} cannot cross into C; name every parameter"
    if code.co_flags & (0x20 | 0x80 | 0x200):
        yield "it needs to be a plain function, not async and not a generator"
    if code.co_kwonlyargcount:
        yield f"parameter {code.co_varnames[code.co_argcount]!r} is keyword-only; leave the * out"
    if function.__defaults__:
        last = code.co_varnames[code.co_argcount - 1]
        yield f"parameter {last!r} has a default; the plugin has no way to know it"
    if not _has_self(function):
        yield "it needs `self` as its first parameter"


def _has_self(function: FunctionType) -> bool:
    code = function.__code__
    return code.co_varnames[: code.co_argcount][:1] == ("self",)


def _read_parameters(
    where: str, function: FunctionType, scope: Mapping[str, object], errors: list[DefinitionError]
) -> tuple[Parameter, ...]:
    """Read a method's parameters. Appends an error for each whose name or annotation is not allowed."""
    code = function.__code__
    names = code.co_varnames[: code.co_argcount]
    first = 1 if names and (_has_self(function) or names[0] not in _annotations(function)) else 0
    parameters: list[Parameter] = []
    for index, name in enumerate(names[first:], start=first):
        try:
            check_name(name, f"the name of parameter {name!r}", slot=False)
        except ValueError as error:
            errors.append(DefinitionError(f"{where} cannot be a method of a contract: {error}"))
        kind = _read_kind(where, name, function, PARAMETERS, scope, errors)
        if kind is not None:
            parameters.append(Parameter(name, kind, index < code.co_posonlyargcount))
    return tuple(parameters)


def _read_kind(
    where: str,
    name: str,
    function: FunctionType,
    kinds: Mapping[object, Kind],
    scope: Mapping[str, object],
    errors: list[DefinitionError],
) -> Kind | None:
    """Read the kind of a parameter, or of the result. Appends an error and returns None if it has none."""
    what = "its result" if name == "return" else f"parameter {name!r}"
    choice = f"it needs one of {', '.join(_spelt(kind) for kind in kinds)}"
    annotations = _annotations(function)
    if name not in annotations:
        errors.append(DefinitionError(f"{where}: {what} has no annotation; {choice}"))
        return None
    try:
        annotation = _evaluate(annotations[name], function, scope)
    except Exception as error:  # noqa: BLE001 - the author's own code
        made = DefinitionError(f"{where}: the annotation of {what} cannot be read: {error}; {choice}")
        made.__cause__ = error
        errors.append(made)
        return None
    try:
        return kinds[annotation]
    except (KeyError, TypeError):
        errors.append(DefinitionError(f"{where}: {what} cannot be {_spelt(annotation)}; {choice}"))
        return None


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


def _read_since(
    where: str, function: FunctionType, version: tuple[int, int] | None, errors: list[DefinitionError]
) -> int:
    """Read the minor that added the method; without a valid version of the contract, 0. Appends an error if wrong."""
    if "__hardpoint_since__" not in vars(function):
        return 0
    text = vars(function)["__hardpoint_since__"]
    try:
        major, minor = parse_version(text)
    except ValueError as error:
        errors.append(DefinitionError(f"{where}: @since: {error}"))
        return 0
    if version is None:
        return 0
    if major != version[0] or not 0 < minor <= version[1]:
        errors.append(
            DefinitionError(
                f"{where}: @since({text!r}) needs a version after {version[0]}.0 and up to the contract's own, "
                f"{version[0]}.{version[1]}"
            )
        )
    return minor


def _doc(thing: Any) -> str:
    """Clean a docstring like inspect.cleandoc (inspect takes 9 ms to import), and strip blanks at the end of lines."""
    first, *rest = (thing.__doc__ or "").expandtabs().split("\n")
    margin = min((len(line) - len(line.lstrip()) for line in rest if line.strip()), default=0)
    return "\n".join([first.strip(), *(line[margin:].rstrip() for line in rest)]).strip("\n")
