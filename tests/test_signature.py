"""Contracts as data: canonical texts and back, versions, and bodies of methods."""

from __future__ import annotations

import string
from keyword import kwlist
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

import hardpoint
from hardpoint.definition import kinds
from hardpoint.definition.canonical_text import contract_from_texts, parse_method
from hardpoint.definition.decorators import contract_of
from hardpoint.definition.kinds import find_kind
from hardpoint.definition.model import MAX_MANIFEST, Method, Parameter, find_length, parse_version
from hardpoint.definition.reserved_names import check_contract_name, owner_of

if TYPE_CHECKING:
    from collections.abc import Callable

KINDS = [text for text, kind in kinds.KINDS.items() if kind.parameters]
RESULTS = [text for text, kind in kinds.KINDS.items() if kind.results]


def method(name: str, parameters: tuple[Parameter, ...], result: str) -> Method:
    return Method(name, parameters, find_kind(result))


def parameter(name: str, kind: str, *, positional_only: bool = False) -> Parameter:
    return Parameter(name, find_kind(kind), positional_only)


TEXTS = {
    "lang() -> str": method("lang", (), "str"),
    "greet(name: str) -> str": method("greet", (parameter("name", "str"),), "str"),
    "stop() -> None": method("stop", (), "None"),
    "mix(a: str, b: bytes, c: bytearray, d: int, e: float, f: bool) -> bytes": method(
        "mix",
        tuple(
            parameter(name, kind)
            for name, kind in zip("abcdef", ["str", "bytes", "bytearray", "int", "float", "bool"], strict=True)
        ),
        "bytes",
    ),
    "first(str, /) -> int": method("first", (parameter("_1", "str", positional_only=True),), "int"),
    "both(int, int, /) -> bool": method(
        "both", (parameter("_1", "int", positional_only=True), parameter("_2", "int", positional_only=True)), "bool"
    ),
    "some(bytes, /, b: float) -> float": method(
        "some", (parameter("_1", "bytes", positional_only=True), parameter("b", "float")), "float"
    ),
    "eight(a: int, b: int, c: int, d: int, e: int, f: int, g: int, h: int) -> int": method(
        "eight", tuple(parameter(name, "int") for name in "abcdefgh"), "int"
    ),
    f"{'m' * 64}({'p' * 64}: int) -> None": method("m" * 64, (parameter("p" * 64, "int"),), "None"),
    "match(type: str) -> str": method("match", (parameter("type", "str"),), "str"),
    "out(n_len: int, s: str) -> str": method("out", (parameter("n_len", "int"), parameter("s", "str")), "str"),
}


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_and_the_method_that_it_stands_for(text: str) -> None:
    assert parse_method(text) == TEXTS[text]
    assert TEXTS[text].text == text


def _free(name: str, *, slot: bool) -> bool:
    return name not in kwlist and owner_of(name, slot=slot) is None


names = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,63}", fullmatch=True) | st.sampled_from(
    ["x", "x_len", "a", "out", "head"]
)


@st.composite
def methods(draw: st.DrawFn) -> Method:
    """Draw a valid method; positional-only parameters have the names that parsing a text gives them."""
    parameters: list[Parameter] = []
    positional_only = draw(st.integers(0, 8))
    for index, name in enumerate(draw(st.lists(names, max_size=8, unique=True))):
        first = index < positional_only
        assume(_free(name, slot=False))
        kind = draw(st.sampled_from(KINDS))
        parameters.append(parameter(f"_{index + 1}" if first else name, kind, positional_only=first))
    assume(find_length(parameters) is None)
    name = draw(names.filter(lambda name: _free(name, slot=True)))
    return method(name, tuple(parameters), draw(st.sampled_from(RESULTS)))


@given(methods())
def test_parsing_is_the_inverse_of_the_text(drawn: Method) -> None:
    assert parse_method(drawn.text) == drawn


WRONG = {
    "nothing": "",
    "no result": "greet(name: str)",
    "no parentheses": "greet -> str",
    "a line after": "greet(name: str) -> str\n",
    "two blanks": "greet(name:  str) -> str",
    "no blank": "greet(name:str) -> str",
    "trailing comma": "greet(name: str,) -> str",
    "comma alone": "greet(, ) -> str",
    "no kind": "greet(name) -> str",
    "unknown kind": "greet(name: text) -> str",
    "kind of a result": "greet(name: None) -> str",
    "the type behind a kind": "greet(name: Buffer) -> str",
    "unknown result": "greet(name: str) -> text",
    "result of a parameter": "greet() -> bytearray",
    "default": "greet(name: str = 1) -> str",
    "keyword-only": "greet(*, name: str) -> str",
    "slash first": "greet(/) -> str",
    "slash first of several": "greet(/, name: str) -> str",
    "two slashes": "greet(str, /, int, /) -> str",
    "slash after a name": "greet(name: str, /) -> str",
    "no name and no slash": "greet(str) -> str",
    "name before the slash": "greet(str, name: str, /) -> str",
}


@pytest.mark.parametrize("case", WRONG)
def test_an_invalid_text_is_quoted(case: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_method(WRONG[case])
    assert str(caught.value) == f"{WRONG[case]!r}, which is not like 'greet(name: str) -> str'"


IDENTIFIER = "needs to be an ASCII identifier of at most 64 characters that starts with a letter"
LENGTH = "parameter 'x_len' has the name of the length of 'x' in C; choose another"
IMPOSSIBLE = {
    "(name: str) -> str": f"its name {IDENTIFIER}",
    " greet(name: str) -> str": f"its name {IDENTIFIER}",
    "gréet() -> str": f"its name {IDENTIFIER}",
    "_greet() -> str": f"its name {IDENTIFIER}",
    "1() -> str": f"its name {IDENTIFIER}",
    f"{'g' * 65}() -> str": f"its name {IDENTIFIER}",
    "greet(*names: str) -> str": f"the name of parameter '*names' {IDENTIFIER}",
    "greet(näme: str) -> str": f"the name of parameter 'näme' {IDENTIFIER}",
    "greet(_1: str) -> str": f"the name of parameter '_1' {IDENTIFIER}",
    f"greet({'n' * 65}: int) -> str": f"the name of parameter {'n' * 65!r} {IDENTIFIER}",
    "greet(a: str, b: int, a: str) -> str": "two of its parameters have the name 'a'",
    "greet(x: str, x_len: int) -> str": LENGTH,
    "greet(x_len: int, x: bytearray) -> str": LENGTH,
    f"greet({', '.join(f'{name}: int' for name in 'abcdefghi')}) -> str": "it has 9 parameters; at most 8 are allowed",
    f"greet({', '.join(['int'] * 9)}, /) -> str": "it has 9 parameters; at most 8 are allowed",
    f"greet({', '.join(['int'] * 8)}, /, x: int) -> str": "it has 9 parameters; at most 8 are allowed",
}


@pytest.mark.parametrize("text", IMPOSSIBLE)
def test_a_text_of_an_impossible_method_says_why(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_method(text)
    assert str(caught.value) == f"{text!r}, which cannot be a method of a contract: {IMPOSSIBLE[text]}"


METHOD_NAMES = {
    **dict.fromkeys(["class", "new", "default", "linux", "constexpr"], "C or C++"),
    **dict.fromkeys(["EOF", "FOO"], "C, where upper case is for macros"),
    **dict.fromkeys(["hp_x", "hardpoint_x"], "the header's own prefix"),
    **dict.fromkeys(["create", "head"], "the generated header"),
    **dict.fromkeys(["None", "lambda", "def"], "Python"),
}
PARAMETER_NAMES = {
    **dict.fromkeys(["delete", "register", "size_t"], "C or C++"),
    **dict.fromkeys(["NULL"], "C, where upper case is for macros"),
    **dict.fromkeys(["hp_x"], "the header's own prefix"),
    **dict.fromkeys(["self", "out", "result"], "the generated header"),
    **dict.fromkeys(["in", "True"], "Python"),
}


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_a_methods_name_that_a_class_cannot_have_is_refused_in_texts(name: str) -> None:
    text = f"{name}(a: int) -> str"
    with pytest.raises(ValueError) as caught:
        parse_method(text)
    why = f"its name is taken by {METHOD_NAMES[name]}; choose another"
    assert str(caught.value) == f"{text!r}, which cannot be a method of a contract: {why}"


@pytest.mark.parametrize("name", PARAMETER_NAMES)
def test_a_parameters_name_that_a_class_cannot_have_is_refused_in_texts(name: str) -> None:
    text = f"greet({name}: int) -> str"
    with pytest.raises(ValueError) as caught:
        parse_method(text)
    why = f"the name of parameter {name!r} is taken by {PARAMETER_NAMES[name]}; choose another"
    assert str(caught.value) == f"{text!r}, which cannot be a method of a contract: {why}"


HOSTILE = {
    "closing": "a(" + ") -> a" * 600,
    "opening": "a(" * 2000,
    "commas": f"a({', ' * 2000}) -> str",
    "slashes": f"a({', '.join('/' * 1300)}) -> str",
    "colons": f"a({': ' * 2000}) -> str",
    "letters": "a" * MAX_MANIFEST,
    "result": "a() -> " + "a" * 4000,
    "lines": "a(\n" * 1300,
    "parameters": f"a({', '.join(f'p{index}: int' for index in range(350))}) -> str",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_text_as_long_as_a_manifest_is_refused(case: str) -> None:
    with pytest.raises(ValueError):
        parse_method(HOSTILE[case])


def _parse_or_refuse(text: str) -> None:
    refused = ""
    try:
        assert parse_method(text).text == text
    except ValueError as error:
        refused = str(error)
    assert not refused or refused.startswith(f"{text!r}, which ")


@given(st.text(max_size=MAX_MANIFEST) | st.text("ab(): ,/->strint_", max_size=200))
def test_any_text_is_a_method_or_a_value_error(text: str) -> None:
    _parse_or_refuse(text)


@given(methods(), st.data())
@example(TEXTS["both(int, int, /) -> bool"], None)
def test_a_mutated_text_is_a_method_or_a_value_error(drawn: Method, data: st.DataObject | None) -> None:
    text = drawn.text
    if data is None:
        text = text.replace("/", "", 1)
    else:
        start, length = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, 4))
        text = text[:start] + data.draw(st.text("a_(): ,/->\n\0é1", max_size=3)) + text[start + length :]
    _parse_or_refuse(text)


# -- contracts and versions ------------------------------------------------------------------------------------------


def test_a_contract_from_texts() -> None:
    contract = contract_from_texts("greeter", "2.0", ("greet(name: str) -> str", "lang() -> str"))
    assert (contract.name, contract.major, contract.minor, str(contract)) == ("greeter", 2, 0, "greeter 2.0")
    assert (contract.struct, contract.symbol, contract.source) == ("greeter_v2", "hardpoint_greeter_v2", "")
    assert [method.text for method in contract.methods] == ["greet(name: str) -> str", "lang() -> str"]
    assert [method.has_body for method in contract.methods] == [False, False]


NO_CONTRACT: dict[str, tuple[str, str, tuple[str, ...], str]] = {
    "no methods": ("greeter", "1.0", (), "no methods"),
    "one method twice": ("greeter", "1.0", ("lang() -> str", "lang() -> str"), "two methods of the name 'lang'"),
    "one name twice": ("greeter", "1.0", ("lang() -> str", "lang(a: int) -> str"), "two methods of the name 'lang'"),
    "bad name": (
        "Greeter",
        "1.0",
        ("lang() -> str",),
        "the name 'Greeter', which is not a lower-case ASCII identifier",
    ),
    "bad version": ("greeter", "1", ("lang() -> str",), "a version is MAJOR.MINOR"),
    "bad text": (
        "greeter",
        "1.0",
        ("lang() -> str", "x"),
        "'x', which is not like 'greet(name: str) -> str'",
    ),
}


@pytest.mark.parametrize("case", NO_CONTRACT)
def test_texts_that_are_not_a_contract(case: str) -> None:
    name, version, texts, why = NO_CONTRACT[case]
    with pytest.raises(ValueError) as caught:
        contract_from_texts(name, version, texts)
    assert str(caught.value).startswith(why)


@pytest.mark.parametrize(
    ("text", "version"),
    [("1.0", (1, 0)), ("1.10", (1, 10)), ("10.1", (10, 1)), ("65535.65535", (65535, 65535))],
)
def test_versions(text: str, version: tuple[int, int]) -> None:
    assert parse_version(text) == version


@pytest.mark.parametrize("text", [
    "", ".", "1", "1.", ".1", "0.0", "0.1", "01.0", "1.00", "1.01", "+1.0", "1.-1", "1.0.0", " 1.0", "1.0\n", "1,0", "v1.0",
    "65536.0", "1.65536", "99999.0", "100000.0", "1.100000", "9" * 5000 + ".0", "\u0661.0", 1, 1.0, None, b"1.0",
], ids=lambda text: repr(text)[:20])  # fmt: skip
def test_an_invalid_version(text: object) -> None:
    with pytest.raises(ValueError) as caught:
        parse_version(text)
    assert str(caught.value) == f"a version is MAJOR.MINOR with a major from 1 on, such as '1.0', not {text!r}"


@given(st.text())
def test_any_text_is_a_version_or_a_value_error(text: str) -> None:
    try:
        major, minor = parse_version(text)
    except ValueError:
        return
    assert f"{major}.{minor}" == text


@given(st.text(string.ascii_lowercase + "_0v1", max_size=70))
def test_any_contract_name_is_free_or_a_value_error(name: str) -> None:
    try:
        check_contract_name(name)
    except ValueError:
        return
    assert name.isidentifier()
    assert name[0].islower()
    assert not name.startswith("hp_")


# -- bodies ----------------------------------------------------------------------------------------------------------


def has_body(source: str) -> bool:
    """True if a @since method with this source has a body."""
    scope: dict[str, Any] = {"__name__": "shouts", "hardpoint": hardpoint, "Protocol": Protocol}
    lines = "\n".join(f"        {line}" for line in source.split("\n"))
    exec(f"""
outer = "x"
def make():
    captured = "x"
    @hardpoint.contract("greeter", version="1.1")
    class Greeter(Protocol):
        def greet(self) -> str: ...
        @hardpoint.since("1.1")
{lines}
    return Greeter
""", scope)  # fmt: skip
    make: Callable[[], type] = scope["make"]
    return contract_of(make()).methods[1].has_body


NOTHING = ["...", "pass", "return None", "return", "...\n    pass", "pass\n    return None", "...\n    ...\n\n    return",
           "5", "# a comment\n    pass"]  # fmt: skip


@pytest.mark.parametrize(
    "doc", ["", '"""Shouts."""\n    ', "'''Shouts\n\n    a lot.'''\n\n    "], ids=["", "doc", "long doc"]
)
@pytest.mark.parametrize("body", NOTHING)
def test_statements_that_do_nothing_are_not_a_body(body: str, doc: str) -> None:
    assert not has_body(f"def shout(self) -> str:\n    {doc}{body}")


@pytest.mark.parametrize("source", ["def shout(self) -> str: ...", "def shout(self) -> str: 'Shouts.'"])
def test_one_line_that_does_nothing_is_not_a_body(source: str) -> None:
    assert not has_body(source)


SOMETHING = ["return 'x'", "return 'Shouts.'", "return ''", "return 0", "return False", "return ...", "return 1000", "return ()",
             "return self", "return self.greet()", "self.greet()", "raise NotImplementedError", "return captured",
             "return outer", "return (lambda: 'x')()", "shout = 5", "import os", "def inner(): ...", "assert self",
             "if self: pass\n    return None", "return 'None'"]  # fmt: skip


@pytest.mark.parametrize("doc", ["", '"""Shouts."""\n    '], ids=["", "doc"])
@pytest.mark.parametrize("body", SOMETHING)
def test_statements_that_do_something_are_a_body(body: str, doc: str) -> None:
    assert has_body(f"def shout(self) -> str:\n    {doc}{body}")


def test_a_replaced_docstring_is_not_a_body() -> None:
    class Greeter(Protocol):
        @hardpoint.since("1.1")
        def greet(self) -> str:
            """The first."""
            ...

    Greeter.greet.__doc__ = "Another."
    contract = contract_of(hardpoint.contract("greeter", version="1.1")(Greeter))
    assert (contract.methods[0].doc, contract.methods[0].has_body) == ("Another.", False)
