"""The table of kinds: its rows agree with each other, with C, and with the tables in the docs."""

from __future__ import annotations

import copy
import ctypes
import pickle
import re
from pathlib import Path
from typing import Any

import pytest

import hardpoint
from hardpoint.authoring import rust_module
from hardpoint.binding.convert import CONVERSIONS
from hardpoint.binding.ctypes import c_type
from hardpoint.cli import arguments
from hardpoint.definition.kinds import KINDS, PARAMETERS, RESULTS, Kind, find_kind
from hardpoint.ffi.libc import ffi

ROOT = Path(__file__).resolve().parents[1]
EVERY = pytest.mark.parametrize("kind", KINDS.values(), ids=str)
VALUES = pytest.mark.parametrize("kind", [kind for kind in KINDS.values() if kind.is_value], ids=str)


# -- the rows ----------------------------------------------------------------------------------------------------------


def test_texts_and_letters_and_annotations_are_unique() -> None:
    assert [kind.text for kind in KINDS.values()] == list(KINDS)
    assert len({kind.letter for kind in KINDS.values()}) == len(KINDS)
    assert len(PARAMETERS) == sum(len(kind.parameters) for kind in KINDS.values())
    assert len(RESULTS) == sum(len(kind.results) for kind in KINDS.values())


@EVERY
def test_a_kind_is_found_by_its_text_and_stays_the_same_by_pickle_and_copy(kind: Kind) -> None:
    assert find_kind(kind.text) is kind
    assert pickle.loads(pickle.dumps(kind)) is kind
    assert copy.deepcopy([kind])[0] is kind
    assert (str(kind), repr(kind)) == (kind.text, f"<kind {kind.text}>")


@EVERY
def test_a_kind_equals_itself_alone(kind: Kind) -> None:
    other = kind._replace(text=kind.text)
    assert kind == kind  # noqa: PLR0124
    assert kind != other
    assert {kind: 1}.get(other) is None


def test_an_unknown_text_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        find_kind("u128")


@EVERY
def test_a_parameter_has_what_tools_need_of_it(kind: Kind) -> None:
    if not kind.parameters:
        return
    assert len(kind.samples) == 2
    assert type(kind.sample()) is kind.python
    assert kind.python(kind.zero) == kind.python()
    assert all(spelling.parameter for spelling in (kind.c, kind.cpp, kind.rust, kind.zig, kind.go))
    assert kind.python in CONVERSIONS or kind.is_buffer
    assert kind.python in arguments._PARSE
    assert kind.rust.parameter in rust_module._FROM_POINTER or not kind.is_buffer


@EVERY
def test_a_result_has_what_tools_need_of_it(kind: Kind) -> None:
    if not kind.results:
        return
    assert kind.cpp.result
    assert kind.rust.result
    assert bool(kind.c.empty) == (kind.is_buffer or kind.is_value)
    assert bool(kind.stored) == bool(kind.c.result) == kind.is_value
    assert kind.rust.result in rust_module._FROM_OUT or not kind.is_buffer


@EVERY
def test_a_pointer_to_what_the_plugin_may_not_change_is_const(kind: Kind) -> None:
    if kind.is_buffer:
        assert kind.c.parameter.startswith("const ") is not kind.writable
        assert ("const" in kind.zig.parameter) is not kind.writable


# -- C -----------------------------------------------------------------------------------------------------------------


@VALUES
def test_a_value_has_one_size_in_every_binding(kind: Kind) -> None:
    sizes = {ctypes.sizeof(c_type(name)) for name in (kind.c.parameter, kind.c.result, kind.stored)}
    assert sizes == {ffi.sizeof(kind.c.parameter)}


@VALUES
def test_a_value_within_its_limits_survives_c(kind: Kind) -> None:
    for value in (*kind.samples, kind.zero, *kind.extremes, *(kind.limits or ())):
        stored: Any = c_type(kind.stored)(value).value
        assert repr(kind.python(stored)) == repr(value)


@VALUES
def test_an_integers_limits_are_those_of_its_c_type(kind: Kind) -> None:
    assert (kind.limits is not None) is (kind.python is int)
    if kind.limits:
        assert kind.limits == (min(kind.extremes), max(kind.extremes))
        for beyond in (kind.limits[0] - 1, kind.limits[1] + 1):
            assert c_type(kind.stored)(beyond).value != beyond


# -- results from a worker ---------------------------------------------------------------------------------------------

WRONG: dict[str, list[Any]] = {
    "int": [True, 1.0, "1", None, 2**63, -(2**63) - 1],
    "float": [1, True, "1.5", None],
    "bool": [1, 0, 1.0, None],
    "None": [0, False, "", b""],
}


@VALUES
def test_the_samples_of_a_value_are_allowed(kind: Kind) -> None:
    assert all(kind.allows(value) for value in (*kind.samples, kind.zero, *kind.extremes))


@pytest.mark.parametrize(("text", "value"), [(text, value) for text, values in WRONG.items() for value in values])
def test_what_is_not_exactly_of_the_kind_is_not_allowed(text: str, value: object) -> None:
    assert not KINDS[text].allows(value)


# -- docs --------------------------------------------------------------------------------------------------------------


def _tables(page: str) -> dict[str, list[list[str]]]:
    """The tables of a page by the first cell of their head; the cells of each row, without backquotes."""
    tables: dict[str, list[list[str]]] = {}
    for block in re.findall(r"(?m)(?:^\|.*\n)+", (ROOT / page).read_text()):
        head, _, *rows = (
            [cell.strip().replace("`", "") for cell in line.split("|")[1:-1]] for line in block.splitlines()
        )
        tables[head[0]] = rows
    return tables


def _declared(kind: Kind) -> str:
    """A parameter `x` in C."""
    pointer = f"{kind.c.parameter}x, size_t x_len"
    return pointer if kind.is_buffer else f"{kind.c.parameter} x"


def _names(kind: Kind) -> str:
    names = [getattr(each, "__name__", str(each)) for each in kind.parameters]
    return ", ".join(f"hardpoint.{name}" if hasattr(hardpoint, name) else name for name in names)


def test_the_abi_has_every_kind_of_a_parameter() -> None:
    rows = _tables("docs/abi.md")["kind"]
    assert [row[:2] for row in rows] == [[kind.text, _declared(kind)] for kind in KINDS.values() if kind.parameters]


def test_the_abi_has_every_kind_of_a_result() -> None:
    rows = _tables("docs/abi.md")["result"]
    expected = [
        [kind.text, f"{kind.c.result} *result" if kind.is_value else ""] for kind in KINDS.values() if kind.results
    ]
    assert [row[:2] for row in rows] == expected


def test_the_page_for_authors_of_contracts_has_every_annotation() -> None:
    page = (ROOT / "docs/writing-contracts.md").read_text()
    rows = _tables("docs/writing-contracts.md")["in Python"]
    assert [row[:2] for row in rows] == [[_names(kind), _declared(kind)] for kind in KINDS.values() if kind.parameters]
    *first, last = [f"`{kind.text}`" for kind in KINDS.values() if kind.results]
    assert f"Results are {', '.join(first)} or {last}." in page


def test_the_cpp_header_explains_every_kind() -> None:
    table = re.search(r"in the contract .*\n((?: \*     .*\n)+)", (ROOT / "contract/hardpoint.hpp").read_text())
    assert table is not None
    rows = [line[7:].split() for line in table[1].splitlines()]
    assert [row[0] for row in rows] == list(KINDS)
    assert [row[1].rstrip(",") for row in rows] == [kind.cpp.parameter or "-" for kind in KINDS.values()]
