"""A workload: a library, methods of its contracts, their arguments, and the rows that they are measured in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..definition.model import Contract, Method

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..definition.kinds import Kind

_TEXT = "abcdefghijklmnopqrstuvwxyz"
_SHOWN = 24


class Row(NamedTuple):
    """One way to make the same call."""

    name: str
    about: str
    binding: str | None
    """The binding that the library is loaded with, or `isolated`; None for a row without the library."""
    threads: bool = True
    """True if it can be measured in several threads."""


ROWS = (
    Row("floor", "a loop in C over the vtable, arguments converted once", "native", threads=False),
    Row("python", "a pure Python method of the same shape", None),
    Row("native", "hardpoint's binding in C", "native"),
    Row("cffi", "hardpoint's binding through cffi", "cffi"),
    Row("ctypes", "hardpoint's binding through ctypes", "ctypes"),
    Row("isolated", "a plugin in a process of its own", "isolated"),
)
"""All rows, in the order of the tables."""


class Case(NamedTuple):
    """One method with its arguments. `contract` is an index into the workload's contracts."""

    contract: int
    method: Method
    values: tuple[Any, ...]
    payload: int | None = None
    """Bytes in each str, bytes and bytearray argument; None for arguments as the user gave them."""

    @property
    def label(self) -> str:
        """The call in Python, with long arguments shortened: `greet('World')`."""
        return f"{self.method.name}({', '.join(map(_short, self.values))})"


class Workload(NamedTuple):
    """A library, and the calls of it that are measured."""

    path: str
    contracts: tuple[Contract, ...]
    cases: tuple[Case, ...]
    config: str | None = None


def _short(value: Any) -> str:
    size = len(value) if isinstance(value, (str, bytes, bytearray)) else 0
    if size > _SHOWN:
        return f"{type(value).__name__} of {size_text(size)}"
    return repr(bytes(value) if isinstance(value, bytearray) else value)


def size_text(size: int) -> str:
    """1024 as "1 KiB": the largest unit that divides the size."""
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size and size % (1 << shift) == 0:
            return f"{size >> shift} {unit}"
    return f"{size} B"


def with_payloads(case: Case, payloads: list[int]) -> Iterator[Case]:
    """The case once for each size, its buffers replaced by some of that many bytes; unchanged if it has no buffers."""
    kinds = [parameter.kind for parameter in case.method.parameters]
    if not payloads or not any(kind.is_buffer for kind in kinds):
        yield case
        return
    for size in payloads:
        values = tuple(_sized(value, kind, size) for value, kind in zip(case.values, kinds, strict=True))
        yield case._replace(values=values, payload=size)


def _sized(value: Any, kind: Kind, size: int) -> Any:
    if not kind.is_buffer:
        return value
    text = (_TEXT * (size // len(_TEXT) + 1))[:size]
    return text if kind.is_text else text.encode()


# -- for the pipe to a measured process: marshal needs no import, which would falsify the start-up time ----------------

Packed = tuple[Any, ...]


def pack(workload: Workload) -> Packed:
    """The workload as plain tuples, for marshal. Functions of contract classes are left out: they are not called."""
    contracts = tuple(contract.to_wire() for contract in workload.contracts)
    cases = tuple((case.contract, case.method.name, case.values, case.payload) for case in workload.cases)
    return workload.path, contracts, cases, workload.config


def unpack(packed: Packed) -> Workload:
    """The workload that `pack` turned into tuples."""
    path, packed_contracts, packed_cases, config = packed
    contracts = tuple(map(Contract.from_wire, packed_contracts))
    cases: list[Case] = []
    for index, name, values, payload in packed_cases:
        method = next(method for method in contracts[index].methods if method.name == name)
        cases.append(Case(index, method, own_values(method, values), payload))
    return Workload(path, contracts, tuple(cases), config)


def own_values(method: Method, values: tuple[Any, ...]) -> tuple[Any, ...]:
    """The values with a new bytearray for each `bytearray` parameter: calls change it, and marshal makes it bytes."""
    kinds = [parameter.kind for parameter in method.parameters]
    return tuple(bytearray(value) if kind.writable else value for value, kind in zip(values, kinds, strict=True))
