"""Contracts and their methods as data, and their canonical texts."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..fields import Fields
from .kinds import BUFFERS, KINDS, RESULTS
from .reserved_names import check_contract_name, check_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, FunctionType

MAX_PARAMETERS = 8
MAX_MANIFEST = 4096
"""Bytes in a manifest with its NUL: HP_MANIFEST_MAX in hardpoint.h."""


class Parameter(Fields):
    """One parameter of a method. `name` is in the canonical text unless it is positional-only."""

    name: str
    kind: str
    positional_only: bool = False


class Method(Fields):
    """One method of a contract."""

    name: str
    parameters: tuple[Parameter, ...]
    result: str
    since: int = 0
    """The contract's minor that brought it; plugins of an older minor lack it."""
    quick: bool = False
    """It only computes: a binding may keep the GIL for small inputs."""
    doc: str = ""
    function: FunctionType | None = None
    """The function in the Protocol class; None if the method was read off a manifest."""

    @property
    def text(self) -> str:
        """The canonical text, as header and manifest have it: `greet(name: str) -> str`."""
        return _text(self.name, self.parameters, self.result)

    @property
    def has_body(self) -> bool:
        """Whether `function` does more than `...`, `pass` or `return None`; it answers for plugins without the method."""
        return self.function is not None and not _is_empty(self.function.__code__)

    def where(self, index: int) -> str:
        """How an error names the parameter at `index`: `greet() argument 'name'`, as Python's own do."""
        parameter = self.parameters[index]
        return f"{self.name}() argument {index + 1 if parameter.positional_only else repr(parameter.name)}"

    def to_wire(self) -> tuple[Any, ...]:
        """The method as `Contract.to_wire` writes it."""
        return self.name, tuple(map(tuple, self.parameters)), self.result, self.since, self.quick

    @classmethod
    def from_wire(cls, wire: Sequence[Any]) -> Method:
        """The method that `to_wire` wrote."""
        name, parameters, *others = wire
        return cls(name, tuple(Parameter(*each) for each in parameters), *others)


@lru_cache(1024)  # each load compares every method's
def _text(name: str, parameters: tuple[Parameter, ...], result: str) -> str:
    parts: list[str] = []
    for index, parameter in enumerate(parameters):
        parts.append(parameter.kind if parameter.positional_only else f"{parameter.name}: {parameter.kind}")
        following = parameters[index + 1 : index + 2]
        if parameter.positional_only and not (following and following[0].positional_only):
            parts.append("/")
    return f"{name}({', '.join(parts)}) -> {result}"


class Contract(Fields):
    """What a plugin must do: a name, a version, and methods in the order of their slots."""

    name: str
    major: int
    minor: int
    methods: tuple[Method, ...]
    doc: str = ""
    source: str = ""
    """`module:Class`, or "" if the contract was read off a manifest."""

    @property
    def version(self) -> str:
        """`MAJOR.MINOR`."""
        return f"{self.major}.{self.minor}"

    @property
    def manifest_size(self) -> int:
        """The most bytes that a manifest for it can have with its NUL: names of plugin and release take 64 at most."""
        fields = '{"abi": "1.65535", "contract": "", "version": "", "plugin": "", "release": "", "methods": []}'
        texts = sum(len(method.text) + len('"", ') for method in self.methods)
        return len(fields) + len(self.name) + len(self.version) + 2 * 64 + texts + 1

    @property
    def struct(self) -> str:
        """The C name of the vtable's type."""
        return f"{self.name}_v{self.major}"

    @property
    def symbol(self) -> str:
        """The name under which a library exports the vtable."""
        return f"hardpoint_{self.struct}"

    def to_wire(self) -> tuple[Any, ...]:
        """The contract as plain tuples, for msgpack, marshal or JSON; documentation and functions are left out."""
        return self.name, self.major, self.minor, tuple(method.to_wire() for method in self.methods)

    @classmethod
    def from_wire(cls, wire: Sequence[Any]) -> Contract:
        """The contract that `to_wire` wrote; JSON and msgpack may have made lists of the tuples."""
        name, major, minor, methods = wire
        return cls(name, major, minor, tuple(map(Method.from_wire, methods)))

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def parse_version(text: object) -> tuple[int, int]:
    """`"1.2"` as (1, 2). ValueError for anything else; the major starts at 1, and both parts fit in 16 bits."""
    first, _, second = text.partition(".") if isinstance(text, str) else ("", "", "")
    major, minor = _parse_number(first), _parse_number(second)
    if major is None or minor is None or major == 0:
        raise ValueError(f"a version is MAJOR.MINOR with a major from 1 on, such as '1.0', not {text!r}")
    return major, minor


def _parse_number(text: str) -> int | None:
    """A number of 16 bits in decimal ASCII digits, the first of which is 0 in "0" alone; None for anything else."""
    plain = text.isascii() and text.isdigit() and len(text) <= 5 and (text == "0" or text[0] != "0")
    return int(text) if plain and int(text) <= 0xFFFF else None


def check_parameters(parameters: Sequence[Parameter]) -> None:
    """Raise ValueError unless a method can have these parameters: so many, and each of a name of its own."""
    if len(parameters) > MAX_PARAMETERS:
        raise ValueError(f"it has {len(parameters)} parameters; at most {MAX_PARAMETERS} are allowed")
    names = [parameter.name for parameter in parameters]
    if len(set(names)) < len(names):
        raise ValueError(f"two of its parameters have the name {max(names, key=names.count)!r}")
    if clash := find_length(parameters):
        buffer, name = clash
        raise ValueError(f"parameter {name!r} has the name of the length of {buffer.name!r} in C; choose another")


def find_length(parameters: Sequence[Parameter]) -> tuple[Parameter, str] | None:
    """A buffer, and the parameter of the name that its length has in C; None if there is none such."""
    names = {parameter.name for parameter in parameters}
    for parameter in parameters:
        if parameter.kind in BUFFERS and f"{parameter.name}_len" in names:
            return parameter, f"{parameter.name}_len"
    return None


def parse_method(text: str) -> Method:
    """The method that a canonical text describes. ValueError, quoting the text, if it is not one.

    Positional-only parameters have no name in the text; here they get one that no contract can have: `_1`, `_2`.
    """
    head, _, result = text.rpartition(") -> ")
    called, _, inner = head.partition("(")
    parts = inner.split(", ") if inner else []
    slash = parts.index("/") if "/" in parts else 0
    parameters: list[Parameter] = []
    for index, part in enumerate(part for part in parts if part != "/"):
        name, colon, kind = part.rpartition(": ")
        parameters.append(Parameter(name if colon else f"_{index + 1}", kind, index < slash))
    method = Method(called, tuple(parameters), result)
    known = result in RESULTS.values() and all(parameter.kind in KINDS.values() for parameter in parameters)
    if not known or method.text != text:
        raise ValueError(f"{text!r}, which is not like 'greet(name: str) -> str'")
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
    """The contract that a manifest describes, for tools that have no class for it. ValueError if it describes none.

    A text does not say since when a method is there, so after a minor version any of them may be absent.
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


def _empty(self: object) -> None: ...


def _empty_with_doc(self: object) -> None:
    """Nothing."""


def _is_empty(code: CodeType) -> bool:
    """Whether it is the code of `_empty` or `_empty_with_doc`, and gives None as theirs does."""
    return any(
        _steps(code) == _steps(empty)
        and all(code.co_consts[index] is None for index, constant in enumerate(empty.co_consts) if constant is None)
        for empty in (_empty.__code__, _empty_with_doc.__code__)
    )


def _steps(code: CodeType) -> list[bytes]:
    """Its instructions, without those that a `...` or `pass` leaves where another line follows."""
    from opcode import opmap  # half a millisecond that only a plugin older than its contract pays

    steps = (code.co_code[start : start + 2] for start in range(0, len(code.co_code), 2))
    return [step for step in steps if step[0] != opmap["NOP"]]
