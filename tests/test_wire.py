"""Contracts and requests to load, as they travel to other processes."""

from __future__ import annotations

import json
import marshal
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
from probe import Probe

from hardpoint.definition.decorators import contract_of
from hardpoint.definition.model import Contract
from hardpoint.file import Identity
from hardpoint.isolation.options import Isolation, limits
from hardpoint.isolation.wire import LoadRequest, pack_load, unpack_load
from hardpoint.preflight.manifest import Manifest
from hardpoint.preflight.vtable import Vtable

if TYPE_CHECKING:
    from collections.abc import Callable


def bare(contract: Contract) -> Contract:
    """The contract without what only the process has that defined it."""
    methods = tuple(method._replace(doc="", function=None) for method in contract.methods)
    return contract._replace(doc="", source="", methods=methods)


FORMATS: dict[str, Callable[[Any], Any]] = {
    "as-it-is": lambda value: value,
    "json": lambda value: json.loads(json.dumps(value)),
    "marshal": lambda value: marshal.loads(marshal.dumps(value)),
    "msgpack": lambda value: msgpack.unpackb(msgpack.packb(value)),
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_contract_travels(name: str) -> None:
    contract = contract_of(Probe)
    travelled = Contract.from_wire(FORMATS[name](contract.to_wire()))
    assert travelled == bare(contract)
    assert [method.text for method in travelled.methods] == [method.text for method in contract.methods]
    assert hash(travelled) == hash(bare(contract))


def test_a_request_to_load_travels() -> None:
    request = LoadRequest(
        "bad\udcff.so", "/home/bad\udcff.so", Identity(1, 2, 3, 1 << 62), "0" * 64, bare(contract_of(Probe)),
        Manifest((1, 0), "probe", (1, 2), "some", "1.0", ("text() -> str",), b"{}"), Vtable(4096, 64, (1, 0), 1 << 63, (0, None, 4096)),
        "cffi", limits(Isolation(read=("/a", "/b\udcff"), memory="1GiB")), b"\0config",
    )  # fmt: skip
    assert unpack_load(pack_load(request)) == request
