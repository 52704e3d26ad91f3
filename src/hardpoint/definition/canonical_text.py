"""Canonical texts, as a manifest has them -> methods and contracts, for tools without the contract's class."""

from __future__ import annotations

from .kinds import find_kind
from .model import Contract, Method, Parameter, check_parameters, parse_version
from .reserved_names import check_contract_name, check_name


def parse_method(text: str) -> Method:
    """Parse a method's canonical text. Raise ValueError, which quotes the text, if it is not one.

    The text has no names for positional-only parameters; here they are called `_1`, `_2`, which no contract can use.
    """
    head, _, result = text.rpartition(") -> ")
    called, _, inner = head.partition("(")
    parts = inner.split(", ") if inner else []
    slash = parts.index("/") if "/" in parts else 0
    parameters: list[Parameter] = []
    wrong = ValueError(f"{text!r}, which is not like 'greet(name: str) -> str'")
    try:
        for index, part in enumerate(part for part in parts if part != "/"):
            name, colon, kind = part.rpartition(": ")
            parameters.append(Parameter(name if colon else f"_{index + 1}", find_kind(kind), index < slash))
        method = Method(called, tuple(parameters), find_kind(result))
    except KeyError:
        raise wrong from None
    possible = method.result.results and all(parameter.kind.parameters for parameter in parameters)
    if not possible or method.text != text:
        raise wrong
    try:
        check_name(called, "its name", slot=True)
        check_parameters(parameters)
        for parameter in parameters:
            if not parameter.positional_only:
                check_name(parameter.name, f"the name of parameter {parameter.name!r}", slot=False)
    except ValueError as error:
        raise ValueError(f"{text!r}, which cannot be a method of a contract: {error}") from None
    return method


def contract_from_texts(name: str, version: str, texts: tuple[str, ...]) -> Contract:
    """Build the contract that a manifest describes, for tools without its class. Raise ValueError if it describes none.

    A text does not say which minor version added the method, so after minor 0 any of them may be absent.
    """
    check_contract_name(name)
    major, minor = parse_version(version)
    methods = tuple(parse_method(text)._replace(since=minor) for text in texts)
    names = [method.name for method in methods]
    if len(set(names)) < len(names):
        raise ValueError(f"two methods of the name {max(names, key=names.count)!r}")
    if not methods:
        raise ValueError("no methods")
    return Contract(name, major, minor, methods)
