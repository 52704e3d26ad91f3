"""Contract, Method and Parameter: a contract as data, with the canonical texts of its methods."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..fields import Fields
from .kinds import Kind, find_kind

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, FunctionType

MAX_PARAMETERS = 8
MAX_MANIFEST = 4096
"""Bytes in a manifest with its NUL: HP_MANIFEST_MAX in hardpoint.h."""


class Parameter(Fields):
    """A parameter of a method. The canonical text leaves out the name of a positional-only one."""

    name: str
    kind: Kind
    positional_only: bool = False


class Method(Fields):
    """A method of a contract."""

    name: str
    parameters: tuple[Parameter, ...]
    result: Kind
    since: int = 0
    """The contract's minor version that added it; plugins of an older minor lack it."""
    quick: bool = False
    """It only computes: a binding may keep the GIL for small inputs."""
    doc: str = ""
    function: FunctionType | None = None
    """The function in the Protocol class; None if the method was parsed from a manifest."""

    @property
    def text(self) -> str:
        """The canonical text, which stands in headers and manifests: `greet(name: str) -> str`."""
        return _text(self.name, self.parameters, self.result)

    @property
    def has_body(self) -> bool:
        """True if `function` does more than `...`, `pass` or `return None`: plugins without the method use it."""
        return self.function is not None and not _is_empty(self.function.__code__)

    def where(self, index: int) -> str:
        """The parameter at `index` in the words of Python's own errors: `greet() argument 'name'`."""
        parameter = self.parameters[index]
        return f"{self.name}() argument {index + 1 if parameter.positional_only else repr(parameter.name)}"

    def to_wire(self) -> tuple[Any, ...]:
        """The method as plain tuples, for `Contract.to_wire`."""
        parameters = tuple((each.name, each.kind.text, each.positional_only) for each in self.parameters)
        return self.name, parameters, self.result.text, self.since, self.quick

    @classmethod
    def from_wire(cls, wire: Sequence[Any]) -> Method:
        """Read the method that `to_wire` wrote."""
        name, parameters, result, *others = wire
        made = tuple(Parameter(each, find_kind(kind), only) for each, kind, only in parameters)
        return cls(name, made, find_kind(result), *others)


@lru_cache(1024)  # each load compares the texts of all methods
def _text(name: str, parameters: tuple[Parameter, ...], result: Kind) -> str:
    parts: list[str] = []
    for index, parameter in enumerate(parameters):
        parts.append(parameter.kind.text if parameter.positional_only else f"{parameter.name}: {parameter.kind}")
        following = parameters[index + 1 : index + 2]
        if parameter.positional_only and not (following and following[0].positional_only):
            parts.append("/")
    return f"{name}({', '.join(parts)}) -> {result}"


class Contract(Fields):
    """What a plugin must do: a name, a version, and methods in the order of their slots in the vtable."""

    name: str
    major: int
    minor: int
    methods: tuple[Method, ...]
    doc: str = ""
    source: str = ""
    """`module:Class`, or "" if the contract was parsed from a manifest."""

    @property
    def version(self) -> str:
        """`MAJOR.MINOR`."""
        return f"{self.major}.{self.minor}"

    @property
    def manifest_size(self) -> int:
        """The largest manifest for it, in bytes with the NUL: plugin and release have at most 64 characters."""
        fields = '{"abi": "1.65535", "contract": "", "version": "", "plugin": "", "release": "", "methods": []}'
        texts = sum(len(method.text) + len('"", ') for method in self.methods)
        return len(fields) + len(self.name) + len(self.version) + 2 * 64 + texts + 1

    @property
    def struct(self) -> str:
        """The C name of the vtable's type."""
        return f"{self.name}_v{self.major}"

    @property
    def symbol(self) -> str:
        """The symbol under which a library exports the vtable."""
        return f"hardpoint_{self.struct}"

    def to_wire(self) -> tuple[Any, ...]:
        """The contract as plain tuples for another process, without documentation and functions."""
        return self.name, self.major, self.minor, tuple(method.to_wire() for method in self.methods)

    @classmethod
    def from_wire(cls, wire: Sequence[Any]) -> Contract:
        """Read the contract that `to_wire` wrote; JSON has made lists of the tuples."""
        name, major, minor, methods = wire
        return cls(name, major, minor, tuple(map(Method.from_wire, methods)))

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def parse_version(text: object) -> tuple[int, int]:
    """Parse `"1.2"` to (1, 2). Raise ValueError for anything else: the major starts at 1, both parts fit in 16 bits."""
    first, _, second = text.partition(".") if isinstance(text, str) else ("", "", "")
    major, minor = _parse_number(first), _parse_number(second)
    if major is None or minor is None or major == 0:
        raise ValueError(f"a version is MAJOR.MINOR with a major from 1 on, such as '1.0', not {text!r}")
    return major, minor


def _parse_number(text: str) -> int | None:
    """Parse a 16-bit number of decimal ASCII digits without leading zeros; None for anything else."""
    plain = text.isascii() and text.isdigit() and len(text) <= 5 and (text == "0" or text[0] != "0")
    return int(text) if plain and int(text) <= 0xFFFF else None


def check_parameters(parameters: Sequence[Parameter]) -> None:
    """Raise ValueError if they are too many, or if two have the same name in Python or in C."""
    if len(parameters) > MAX_PARAMETERS:
        raise ValueError(f"it has {len(parameters)} parameters; at most {MAX_PARAMETERS} are allowed")
    names = [parameter.name for parameter in parameters]
    if len(set(names)) < len(names):
        raise ValueError(f"two of its parameters have the name {max(names, key=names.count)!r}")
    if clash := find_length(parameters):
        buffer, name = clash
        raise ValueError(f"parameter {name!r} has the name of the length of {buffer.name!r} in C; choose another")


def find_length(parameters: Sequence[Parameter]) -> tuple[Parameter, str] | None:
    """Find a buffer whose length has the name of another parameter in C: the buffer and that name, or None."""
    names = {parameter.name for parameter in parameters}
    for parameter in parameters:
        if parameter.kind.is_buffer and f"{parameter.name}_len" in names:
            return parameter, f"{parameter.name}_len"
    return None


def _empty(self: object) -> None: ...


def _empty_with_doc(self: object) -> None:
    """Nothing."""


def _is_empty(code: CodeType) -> bool:
    """True if it is the code of `_empty` or `_empty_with_doc`, and returns None as they do."""
    return any(
        _steps(code) == _steps(empty)
        and all(code.co_consts[index] is None for index, constant in enumerate(empty.co_consts) if constant is None)
        for empty in (_empty.__code__, _empty_with_doc.__code__)
    )


def _steps(code: CodeType) -> list[bytes]:
    """Its instructions without NOPs, which `...` and `pass` leave where another line follows."""
    from opcode import opmap  # 0.5 ms, needed only for plugins older than their contract

    steps = (code.co_code[start : start + 2] for start in range(0, len(code.co_code), 2))
    return [step for step in steps if step[0] != opmap["NOP"]]
