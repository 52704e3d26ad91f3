"""Manifests from notes: valid ones, and a problem in place of each malformed one."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardpoint import Problem
from hardpoint.definition.model import MAX_MANIFEST
from hardpoint.elf.constants import Note
from hardpoint.preflight import manifest
from hardpoint.preflight.manifest import Manifest, read_manifests

if TYPE_CHECKING:
    from hardpoint.elf.reader import ElfFile


class Notes:
    """The part of an ElfFile that read_manifests uses."""

    def __init__(self, *notes: Note) -> None:
        self._notes = list(notes)

    def notes(self) -> list[Note]:
        return self._notes


def read_notes(*notes: Note) -> list[Manifest | Problem]:
    return read_manifests(cast("ElfFile", Notes(*notes)))


def read(description: bytes) -> Manifest | Problem:
    (found,) = read_notes(Note(b"hardpoint", 1, description))
    return found


GOOD: dict[str, Any] = {
    "abi": "1.0",
    "contract": "greeter",
    "version": "1.2",
    "plugin": "english",
    "release": "1.0.0",
    "methods": ["greet(name: str) -> str", "lang() -> str"],
}


def note(fields: object) -> bytes:
    return json.dumps(fields).encode() + b"\0"


def changed(**fields: object) -> bytes:
    return note(GOOD | fields)


def test_a_good_manifest() -> None:
    manifest = read(note(GOOD))
    assert manifest == Manifest(
        (1, 0), "greeter", (1, 2), "english", "1.0.0", ("greet(name: str) -> str", "lang() -> str"), note(GOOD)[:-1]
    )
    assert str(manifest) == "greeter 1.2"


ACCEPTED: dict[str, dict[str, object]] = {
    "a later ABI": {"abi": "65535.65535"},
    "a later version": {"version": "9.9"},
    "the longest names": {"plugin": "a" * 64, "release": "Z" * 64, "contract": "c" * 64},
    "a name with everything": {"plugin": "a-b_c9", "release": "0.1-rc.2+build_7"},
    "a method of a kind that is not known yet": {"methods": ["solve(m: matrix) -> matrix"]},
    "a field that is not known yet": {"author": "somebody", "since": 2030, "more": {"deep": [1.5, None, True, -0.0, 1e999]}},
    "32 levels, and many more side by side": {"x": json.loads("[" * 31 + "]" * 31), "y": [{"z": []}] * 99},
    "brackets in texts": {"x": "[{" * 99},
    "both halves of a character": {"x": "\U0001f600", "\U0001f600": ["\U00010000\U0010ffff"]},
    "a backslash before what looks like half a character": {"x": "\\ud800"},
    "escapes in method texts and of controls": {"x": "\0\x1f\x7f\u2028"},
    "the largest that fits": {"x": "y" * (MAX_MANIFEST - len(changed(x="")))},
}  # fmt: skip


@pytest.mark.parametrize("case", ACCEPTED)
def test_valid_manifests(case: str) -> None:
    text = changed(**ACCEPTED[case]).replace(b"Infinity", b"1e999")
    manifest = read(text)
    assert isinstance(manifest, Manifest)
    fields = {**GOOD, **ACCEPTED[case]}
    assert (manifest.plugin, manifest.release, manifest.contract) == (
        fields["plugin"], fields["release"], fields["contract"],
    )  # fmt: skip
    assert list(manifest.methods) == fields["methods"]
    assert manifest.text == text[:-1]


def test_json_may_have_blanks_escapes_and_any_order() -> None:
    fields = dict(reversed(GOOD.items()))
    text = json.dumps(fields, indent=2).replace("greeter", "\\u0067reeter").encode()
    text = (
        text.replace(b'"abi"', b'"\\u0061\\u0062i"').replace(b"1.0.0", b"1.\\u0030.0").replace(b"lang(", b"lan\\u0067(")
    )
    assert read(text + b"\0") == cast("Manifest", read(note(GOOD)))._replace(text=text)


def test_a_number_may_have_any_number_of_digits() -> None:
    """Python's own limit is a setting of the program."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        assert isinstance(read(changed(x="HERE").replace(b'"HERE"', b"9" * 3000)), Manifest)
    finally:
        sys.set_int_max_str_digits(before)


def test_every_manifest_in_the_files_order_and_only_those() -> None:
    other, broken = changed(contract="transformer"), b"x\0"
    found = read_notes(
        Note(b"GNU", 1, note(GOOD)),
        Note(b"hardpoint", 1, other),
        Note(b"hardpoint", 2, note(GOOD)),
        Note(b"hardpoint", 1, broken),
        Note(b"Hardpoint", 1, note(GOOD)),
        Note(b"", 1, note(GOOD)),
        Note(b"hardpoint", 0, b""),
        Note(b"hardpoint", 1, note(GOOD)),
    )
    assert found == [read(other), read(broken), read(note(GOOD))]
    assert read_notes() == []


FIX = "rebuild the plugin with its contract's header, which writes the manifest"
MACRO = "change it where the plugin's macro is used"
JSON = "a manifest in JSON"
OBJECT = "a manifest that is a JSON object"
CONTRACT = "the manifest's field 'contract' to be a contract's name, like 'greeter'"
IDENTIFIER = "which is not a lower-case ASCII identifier of at most 64 characters that starts with a letter"
VERSION = "the manifest's field {!r} to be MAJOR.MINOR with a major of at least 1, like '1.0'"
PLUGIN = "the manifest's field 'plugin' to be like 'english' ([a-z][a-z0-9_-]{0,63})"
RELEASE = "the manifest's field 'release' to be like '1.0.0' ([0-9A-Za-z.+_-]{1,64})"
METHODS = "the manifest's field 'methods' to be a list of at least one text"
ASCII = "the manifest's methods in printable ASCII"
DEPTH = "a manifest of at most 32 levels of objects and arrays"

MALFORMED: dict[str, tuple[bytes, str, str]] = {
    "nothing": (b"", "a manifest that ends in a NUL", "one without it"),
    "no NUL": (note(GOOD)[:-1], "a manifest that ends in a NUL", "one without it"),
    "NUL alone": (b"\0", JSON, "Expecting value: line 1 column 1 (char 0)"),
    "two NULs": (b"{}\0\0", JSON, "Extra data: line 1 column 3 (char 2)"),
    "NUL inside": (b'{"a\0": 1}\0', JSON, "Invalid control character at: line 1 column 4 (char 3)"),
    "too large": (b" " * 4096 + b"\0", "a manifest of at most 4096 bytes", "4097 bytes"),
    "no JSON": (b"{oops\0", JSON, "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
    "cut short": (note(GOOD)[:-2] + b"\0", JSON, "Expecting ',' delimiter: line 1 column 153 (char 152)"),
    "no UTF-8": (b'{"a": "\xff"}\0', JSON, "'utf-8' codec can't decode byte 0xff in position 7: invalid start byte"),
    "encoded surrogate": (b'"\xed\xa0\x80"\0', JSON, "'utf-8' codec can't decode byte 0xed in position 1: invalid continuation byte"),
    "byte order mark": (b"\xef\xbb\xbf{}\0", JSON, "a byte order mark"),
    "UTF-16": ("{}".encode("utf-16-le") + b"\0", JSON, "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
    "NaN": (changed(x=float("nan")), JSON, "NaN, which is not JSON"),
    "infinity": (changed(x=[float("inf")]), JSON, "Infinity, which is not JSON"),
    "field twice": (b'{"abi": "1.0", "abi": "1.0"}\0', JSON, "a duplicate field"),
    "forged": (note(GOOD)[:-2] + b', "plugin": "admin"}\0', JSON, "a duplicate field"),
    "field twice within another": (b'{"x": [{"a": 1, "b": 2, "a": 1}]}\0', JSON, "a duplicate field"),
    "one escaped, one not": (b'{"plugin": "a", "\\u0070lugin": "b"}\0', JSON, "a duplicate field"),
    "half a character in an unknown field": (changed(x=[{"y": "a\ud800b"}]), JSON, "the lone surrogate U+D800"),
    "half a character in an unknown name": (changed(**{"\udfff": 1}), JSON, "the lone surrogate U+DFFF"),
    "half a character in capitals": (changed(x="HERE").replace(b"HERE", b"\\uDBFF"), JSON, "the lone surrogate U+DBFF"),
    "the halves of a character in the wrong order": (changed(x="\ude00\ud83d"), JSON, "the lone surrogate U+DE00"),
    "33 levels of lists": (changed(x="HERE").replace(b'"HERE"', b"[" * 32 + b"]" * 32), DEPTH, "33 levels"),
    "33 levels of objects": (changed(x="HERE").replace(b'"HERE"', b'{"":' * 32 + b"0" + b"}" * 32), DEPTH, "33 levels"),
    "900 levels beside others": (changed(x="HERE", y=[]).replace(b'"HERE"', b"[" * 900 + b"]" * 900), DEPTH, "901 levels"),
    "list": (note([GOOD]), OBJECT, "a list"),
    "string": (note("abi"), OBJECT, "a string"),
    "number": (note(5), OBJECT, "a number"),
    "fraction": (note(0.5), OBJECT, "a number"),
    "huge number": (b"9" * 4000 + b"\0", OBJECT, "a number"),
    "truth": (note(True), OBJECT, "true or false"),
    "null": (note(None), OBJECT, "null"),
    "contract in upper case": (changed(contract="Greeter"), CONTRACT, f"the name 'Greeter', {IDENTIFIER}"),
    "contract empty": (changed(contract=""), CONTRACT, f"the name '', {IDENTIFIER}"),
    "contract with a major": (changed(contract="greeter_v1"), CONTRACT, "the name 'greeter_v1', which ends in a version; leave that out"),
    "contract of C's": (changed(contract="int"), CONTRACT, "the name 'int', which is taken by C or C++; choose another"),
    "contract of a slot": (changed(contract="create"), CONTRACT, "the name 'create', which is taken by the generated header; choose another"),
    "contract of a header": (changed(contract="time"), CONTRACT, "the name 'time', which is taken by a header of the system; choose another"),
    "contract of hardpoint.h": (changed(contract="hp_x"), CONTRACT, "the name 'hp_x', which is taken by the header's own prefix; choose another"),
    "ABI with three parts": (changed(abi="1.0.0"), VERSION.format("abi"), "'1.0.0'"),
    "ABI 0": (changed(abi="0.9"), VERSION.format("abi"), "'0.9'"),
    "ABI beyond 16 bits": (changed(abi="1.65536"), VERSION.format("abi"), "'1.65536'"),
    "version as a word": (changed(version="new"), VERSION.format("version"), "'new'"),
    "version with a line end": (changed(version="1.0\n"), VERSION.format("version"), r"'1.0\n'"),
    "plugin in upper case": (changed(plugin="English"), PLUGIN, "'English'"),
    "plugin empty": (changed(plugin=""), PLUGIN, "''"),
    "plugin too long": (changed(plugin="a" * 65), PLUGIN, repr("a" * 65)),
    "plugin with a path": (changed(plugin="../english"), PLUGIN, "'../english'"),
    "plugin with a line end": (changed(plugin="english\n"), PLUGIN, r"'english\n'"),
    "plugin with an escape": (changed(plugin="a\x1b[2J\x7f\u202e"), PLUGIN, r"'a\x1b[2J\x7f\u202e'"),
    "plugin with half a character": (changed(plugin="a\ud800"), JSON, "the lone surrogate U+D800"),
    "release empty": (changed(release=""), RELEASE, "''"),
    "release too long": (changed(release="1" * 65), RELEASE, repr("1" * 65)),
    "release with a blank": (changed(release="1.0 beta"), RELEASE, "'1.0 beta'"),
    "release not ASCII": (changed(release="1.0é"), RELEASE, "'1.0é'"),
    "release with a NUL": (changed(release="1\0"), RELEASE, r"'1\x00'"),
    "methods none": (changed(methods=[]), METHODS, "an empty list"),
    "methods a text": (changed(methods="lang() -> str"), METHODS, "'lang() -> str'"),
    "methods an object": (changed(methods={"lang": 1}), METHODS, "an object"),
    "methods null": (changed(methods=None), METHODS, "null"),
    "methods with a number": (changed(methods=["lang() -> str", 5]), METHODS, "a number in it"),
    "methods within methods": (changed(methods=[["lang() -> str"]]), METHODS, "a list in it"),
    "method not ASCII": (changed(methods=["läng() -> str"]), ASCII, "'läng() -> str'"),
    "method with an escape": (changed(methods=["\x1b[2J"]), ASCII, r"'\x1b[2J'"),
    "method with half a character": (changed(methods=["\udc00"]), JSON, "the lone surrogate U+DC00"),
    "method with a line end": (changed(methods=["lang() -> str\n"]), ASCII, r"'lang() -> str\n'"),
}  # fmt: skip


def _fix(problem: Problem) -> str:
    """The names of the plugin and release are in the author's source, all else in the header."""
    return MACRO if problem.needs in {PLUGIN, RELEASE} else FIX


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_manifest_is_a_problem(case: str) -> None:
    description, needs, found = MALFORMED[case]
    problem = read(description)
    assert isinstance(problem, Problem)
    assert problem == Problem("manifest-malformed", needs, found, _fix(problem))
    assert str(problem) == f"needs {needs}, found {found}; {problem.fix} [manifest-malformed]"
    assert str(problem).isprintable()


@pytest.mark.parametrize("name", GOOD)
def test_a_missing_field_is_named(name: str) -> None:
    problem = read(note({field: value for field, value in GOOD.items() if field != name}))
    assert problem == Problem("manifest-malformed", f"the field {name!r} in the manifest", "none", FIX)


NOT_STRINGS: dict[str, list[object]] = {
    "a number": [0, 1.0, -1, 10**999], "a list": [[], ["1.0"]], "an object": [{}], "null": [None],
    "true or false": [True, False],
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in GOOD if name != "methods"])
@pytest.mark.parametrize("found", NOT_STRINGS)
def test_a_field_that_is_not_a_string(name: str, found: str) -> None:
    for value in NOT_STRINGS[found]:
        problem = read(changed(**{name: value}))
        assert isinstance(problem, Problem)
        assert problem.needs.startswith(f"the manifest's field {name!r} to be ")
        assert (problem.code, problem.found, problem.fix) == ("manifest-malformed", found, _fix(problem))


@pytest.mark.parametrize("depth", [10, 500, 990, 1900])
@pytest.mark.parametrize("field", [*GOOD, "unknown"])
def test_deep_nesting_is_not_a_crash(field: str, depth: int) -> None:
    for start, end, levels in (("[", "]", depth), ('{"":', "}", depth // 3)):
        deep = f"{start * levels}5{end * levels}".encode()
        found = read(changed(**{field: "HERE"}).replace(b'"HERE"', deep))
        if isinstance(found, Manifest):
            assert field == "unknown"
        else:
            assert (found.code, found.fix) == ("manifest-malformed", _fix(found))


@pytest.mark.parametrize("text", [b"[" * 4095, b'{"a":' * 819], ids=["lists", "objects"])
def test_deep_nesting_without_an_end_is_a_problem(text: bytes) -> None:
    problem = read(text + b"\0")
    assert isinstance(problem, Problem)
    assert (problem.code, problem.needs) == ("manifest-malformed", JSON)


def test_nesting_too_deep_for_python_is_a_clear_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_deep(*_: object, **__: object) -> None:
        raise RecursionError

    monkeypatch.setattr(manifest, "_scanner", lambda: too_deep)
    problem = read(note(GOOD))
    assert problem == Problem("manifest-malformed", JSON, "lists or objects that are nested too deeply", FIX)


# -- random input ------------------------------------------------------------------------------------------------------


def _hold(description: bytes) -> None:
    """Any text is either a valid manifest or one printable problem."""
    found = read(description)
    if isinstance(found, Problem):
        assert (found.code, found.fix, found.fatal) == ("manifest-malformed", _fix(found), True)
        assert str(found).isprintable()
        return
    assert re.fullmatch(r"[a-z][a-z0-9_-]{0,63}", found.plugin)
    assert re.fullmatch(r"[0-9A-Za-z.+_-]{1,64}", found.release)
    assert found.text + b"\0" == description
    assert all(text.isascii() and text.isprintable() for text in found.methods)
    fields = json.loads(found.text)
    assert fields["methods"] == list(found.methods)
    json.dumps(fields, ensure_ascii=False).encode()


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["1.0", "greeter", "lang() -> str"])
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
)


@given(st.binary(max_size=MAX_MANIFEST + 8))
def test_random_bytes(data: bytes) -> None:
    _hold(data)
    _hold(data + b"\0")


@given(values)
def test_random_json(value: object) -> None:
    _hold(json.dumps(value).encode() + b"\0")


@given(st.dictionaries(st.sampled_from([*GOOD, "x"]), values), st.sets(st.sampled_from(list(GOOD))))
def test_random_fields(fields: dict[str, object], without: set[str]) -> None:
    _hold(note({name: value for name, value in {**GOOD, **fields}.items() if name not in without}))


@given(st.lists(st.tuples(st.integers(0, len(note(GOOD))), st.integers(0, 3), st.binary(max_size=3)), max_size=3))
def test_mutated_manifests(changes: list[tuple[int, int, bytes]]) -> None:
    data = note(GOOD)
    for at, length, new in changes:
        data = data[:at] + new + data[at + length :]
    _hold(data)
