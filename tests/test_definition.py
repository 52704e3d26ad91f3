"""@contract, @since and @quick: contracts, and refusals that name class, method and parameter."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import textwrap
from types import new_class
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import pytest
from conftest import ROOT
from hypothesis import example, given
from hypothesis import strategies as st

import hardpoint
from hardpoint import Buffer, WritableBuffer
from hardpoint.authoring.c_header import render
from hardpoint.definition.decorators import contract_of
from hardpoint.definition.reserved_names import owner_of

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Compiler

    from hardpoint.definition.model import Contract

PREAMBLE = """
import abc, functools, hardpoint, typing
from collections.abc import Callable
from typing import *
from hardpoint import Buffer, WritableBuffer, contract, quick, since
T = TypeVar("T")
class Other(Protocol):
    def other(self) -> str: ...
"""


def define(
    body: str,
    *,
    head: str = "class Greeter(Protocol):",
    name: object = "greeter",
    version: object = "1.0",
    first: str = "",
) -> Contract:
    """Define a contract whose class has this body, in exec, since type checkers would reject most bodies here."""
    decorator = f"@contract({name!r}, version={version!r})"
    source = "\n".join([first, PREAMBLE, decorator, head, textwrap.indent(textwrap.dedent(body), "    ")])
    scope: dict[str, Any] = {"__name__": "greetings"}
    exec(compile(source, "greetings.py", "exec", dont_inherit=True), scope)
    return contract_of(scope["Greeter"])


def refusal(body: str, **options: Any) -> str:
    with pytest.raises(hardpoint.DefinitionError) as caught:
        define(body, **options)
    assert issubclass(hardpoint.DefinitionError, TypeError)
    assert issubclass(hardpoint.DefinitionError, hardpoint.HardpointError)
    assert caught.value.path is None
    return str(caught.value)


GREET = "def greet(self, name: str) -> str: ..."
PROTOCOL = "it needs to be a class that inherits from Protocol, as in `class Greeter(Protocol)`"
HEADS = {
    "no base": ("class Greeter:", PROTOCOL),
    "abstract class": ("class Greeter(abc.ABC):", PROTOCOL),
    "implementation of a protocol": ("class Greeter(Other):", PROTOCOL),
    "function": ("def Greeter():", PROTOCOL),
    "another protocol": (
        "class Greeter(Other, Protocol):", "it inherits from greetings.Other; a contract inherits from Protocol alone",
    ),
    "generic": (
        "class Greeter(Protocol[T]):", "it inherits from typing.Protocol[~T]; a contract inherits from Protocol alone",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", HEADS)
def test_a_class_that_is_not_a_plain_protocol_is_refused(case: str) -> None:
    head, why = HEADS[case]
    assert refusal(GREET, head=head) == f"Greeter cannot be a contract: {why}"


def test_an_object_that_is_not_a_class_is_refused() -> None:
    mark: Any = hardpoint.contract("greeter", version="1.0")
    with pytest.raises(hardpoint.DefinitionError, match=r"^\['x'\] cannot be a contract: it needs to be a class"):
        mark(["x"])


LOWER = "is not a lower-case ASCII identifier of at most 64 characters that starts with a letter"
NAMES: dict[object, str] = {
    **dict.fromkeys(
        ["", "Greeter", "gréeter", "1st", "a-b", "_a", "a.b", "greeter\n", "a" * 65, "EOF", 5, None], LOWER
    ),
    **dict.fromkeys(["int", "class", "errno"], "is taken by C or C++; choose another"),
    **dict.fromkeys(["string", "stdio", "time"], "is taken by a header of the system; choose another"),
    **dict.fromkeys(["hp", "hp_x", "hardpoint", "hardpoint_x"], "is taken by the header's own prefix; choose another"),
    "create": "is taken by the generated header; choose another",
    "greeter_v1": "ends in a version; leave that out",
}


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_a_bad_contract_name_is_refused(name: object) -> None:
    assert refusal(GREET, name=name) == f"Greeter cannot be a contract: it has the name {name!r}, which {NAMES[name]}"


VERSIONS = [
    "",
    "1",
    "0.1",
    "1.0.0",
    "01.0",
    "1.00",
    "1.-1",
    "1.65536",
    "65536.0",
    "1.0\n",
    "1.x",
    "\u0661.0",
    1,
    1.0,
    None,
]


@pytest.mark.parametrize("version", VERSIONS, ids=repr)
def test_a_bad_version_is_refused(version: object) -> None:
    assert refusal(GREET, version=version) == (
        f"Greeter cannot be a contract: a version is MAJOR.MINOR with a major from 1 on, such as '1.0', not {version!r}"
    )


def test_a_contract_without_methods_is_refused() -> None:
    assert refusal('"""Nothing."""') == "Greeter cannot be a contract: it has no methods"


MEMBERS = {
    "annotated": ("greet: str", "greet"),
    "annotated with a name that is not there": ("greet: 'NoSuchName'", "greet"),
    "annotated callable": ("greet: Callable[[], str]", "greet"),
    "assigned": ("greet = 5", "greet"),
    "annotated and assigned": ("greet: int = 5", "greet"),
    "property": ("@property\ndef greet(self) -> str: ...", "greet"),
    "quick property": ("@quick\n@property\ndef greet(self) -> str: ...", "greet"),
    "property since": ("@since('1.0')\n@property\ndef greet(self) -> str: ...", "greet"),
    "staticmethod": ("@staticmethod\ndef greet() -> str: ...", "greet"),
    "classmethod": ("@classmethod\ndef greet(cls) -> str: ...", "greet"),
    "cached": ("@functools.cache\ndef greet(self) -> str: ...", "greet"),
    "nested class": ("class Greeting: ...", "Greeting"),
    "special attribute": ("__version__ = '1'", "__version__"),
    "special class method": ("def __init_subclass__(cls) -> None: ...", "__init_subclass__"),
    "subscript": ("def __class_getitem__(cls, item): ...", "__class_getitem__"),
    "hash": ("__hash__ = None", "__hash__"),
    "hook": ("@classmethod\ndef __subclasshook__(cls, other): ...", "__subclasshook__"),
}


@pytest.mark.parametrize("case", MEMBERS)
@pytest.mark.parametrize("beside", ["", GREET.replace("greet", "lang")], ids=["alone", "beside a method"])
def test_a_member_that_is_not_a_method_is_refused(case: str, beside: str) -> None:
    body, member = MEMBERS[case]
    assert refusal(f"{beside}\n{body}") == (
        f"Greeter.{member} cannot be a method of a contract: a contract has methods and nothing else: no attributes, "
        "properties, static or class methods"
    )


IDENTIFIER = "its name needs to be an ASCII identifier of at most 64 characters that starts with a letter"
METHOD_NAMES = {
    **dict.fromkeys(["gréet", "_greet", "__call__", "__len__", "__init__", "__eq__", "g" * 65], IDENTIFIER),
    **dict.fromkeys(
        "default register int restrict bool new delete template concept contract_assert".split(), "C or C++"
    ),
    **dict.fromkeys("linux errno stdin size_t hp_out AF_DECnet".split(), "C or C++"),
    **dict.fromkeys(["NULL", "EOF", "INT_MAX", "GREETER_PLUGIN"], "C, where upper case is for macros"),
    **dict.fromkeys("head flags create destroy query".split(), "the generated header"),
    **dict.fromkeys("hp_x hp_ hardpoint hardpoint_greeter_v1".split(), "the header's own prefix"),
}


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_a_bad_method_name_is_refused(name: str) -> None:
    why = METHOD_NAMES[name]
    why = why if why is IDENTIFIER else f"its name is taken by {why}; choose another"
    assert refusal(f"def {name}(self) -> str: ...") == f"Greeter.{name} cannot be a method of a contract: {why}"


PARAMETER_NAMES = {
    **dict.fromkeys(["näme", "_name", "_", "n" * 65], None),
    **dict.fromkeys("default register new delete linux size_t".split(), "C or C++"),
    **dict.fromkeys("self result out".split()[1:], "the generated header"),
    **dict.fromkeys(["SOL_SOCKET", "EOF"], "C, where upper case is for macros"),
    **dict.fromkeys("hp_x hardpoint".split(), "the header's own prefix"),
}


@pytest.mark.parametrize("name", PARAMETER_NAMES)
def test_a_bad_parameter_name_is_refused(name: str) -> None:
    owner = PARAMETER_NAMES[name]
    why = f"is taken by {owner}; choose another" if owner else IDENTIFIER.removeprefix("its name ")
    assert refusal(f"def greet(self, x: int, {name}: str) -> str: ...") == (
        f"Greeter.greet cannot be a method of a contract: the name of parameter {name!r} {why}"
    )


@pytest.mark.parametrize("name", ["def", "from", "None"])
def test_a_python_keyword_is_refused_even_if_set_at_run_time(name: str) -> None:
    """Such a method could not be called, nor such an argument be passed by name."""

    def greet(self: object, name: str) -> None: ...

    def refusal_of(method: str) -> str:
        made = new_class("Greeter", (Protocol,), exec_body=lambda members: members.update({method: greet}))
        with pytest.raises(hardpoint.DefinitionError) as caught:
            hardpoint.contract("greeter", version="1.0")(made)
        return str(caught.value)

    why = "is taken by Python; choose another"
    assert refusal_of(name) == f"Greeter.{name} cannot be a method of a contract: its name {why}"
    greet.__code__ = greet.__code__.replace(co_varnames=("self", name))
    greet.__annotations__ = {name: str, "return": str}
    assert (
        refusal_of("greet") == f"Greeter.greet cannot be a method of a contract: the name of parameter {name!r} {why}"
    )


def test_names_that_are_reserved_elsewhere() -> None:
    contract = define("""
        def out(self, create: int, head: int, x_len: int, N: int, class_: int) -> int: ...
        def result(self, flags: float, query: bool, destroy: str) -> None: ...
        def S(self) -> None: ...
    """)
    assert [method.name for method in contract.methods] == ["out", "result", "S"]


def test_every_macro_of_the_headers_is_reserved(compiler: Compiler) -> None:
    words = [*compiler.command, "-std=gnu11", "-dM", "-E", "-xc", "-include", "hardpoint.h", f"-I{ROOT / 'contract'}"]
    macros = subprocess.run([*words, "/dev/null"], capture_output=True, text=True, check=True).stdout
    names = re.findall(r"^#define ([A-Za-z]\w*)(?= |$)", macros, re.MULTILINE)
    assert len(names) > 100
    assert [name for name in names if owner_of(name, slot=True) is None or owner_of(name, slot=False) is None] == []


@pytest.mark.parametrize("kind", ["str", "bytes", "Buffer", "bytearray", "WritableBuffer"])
@pytest.mark.parametrize("order", ["x: {0}, x_len: int", "x_len: int, x: {0}", "x: {0}, x_len: int, /"])
def test_the_name_of_a_buffers_length_is_reserved(kind: str, order: str) -> None:
    assert refusal(f"def greet(self, {order.format(kind)}) -> str: ...") == (
        "Greeter.greet cannot be a method of a contract: parameter 'x_len' has the name of the length of 'x' in C; "
        "choose another"
    )


PARAMETERS = "it needs one of str, bytes, hardpoint.Buffer, bytearray, hardpoint.WritableBuffer, int, float, bool"
RESULTS = "it needs one of str, bytes, int, float, bool, None"
SIGNATURES = {
    "*args": ("def greet(self, *names: str) -> str: ...", "parameter '*names' cannot cross into C; name every parameter"),
    "**kwargs": ("def greet(self, **names: str) -> str: ...", "parameter '**names' cannot cross into C; name every parameter"),
    "default": ("def greet(self, a: int, name: str = 'x') -> str: ...", "parameter 'name' has a default; the plugin has no way to know it"),
    "default None": ("def greet(self, name: str = None) -> str: ...", "parameter 'name' has a default; the plugin has no way to know it"),
    "keyword-only": ("def greet(self, a: int, *, name: str) -> str: ...", "parameter 'name' is keyword-only; leave the * out"),
    "nothing": ("def greet() -> str: ...", "it needs `self` as its first parameter"),
    "no self": ("def greet(name: str) -> str: ...", "it needs `self` as its first parameter"),
    "no self but a local one": ("def greet() -> str: self = 1", "it needs `self` as its first parameter"),
    "async": ("async def greet(self) -> str: ...", "it needs to be a plain function, not async and not a generator"),
    "generator": ("def greet(self) -> str: yield 'x'", "it needs to be a plain function, not async and not a generator"),
    "async generator": ("async def greet(self) -> str: yield 'x'", "it needs to be a plain function, not async and not a generator"),
}  # fmt: skip


@pytest.mark.parametrize("case", SIGNATURES)
def test_a_signature_that_c_does_not_have_is_refused(case: str) -> None:
    body, why = SIGNATURES[case]
    assert refusal(body) == f"Greeter.greet cannot be a method of a contract: {why}"


ORDER = (
    "Greeter.older cannot stand behind newer, which came in 1.1: a contract grows by appending, so mark older with "
    "@since('1.1') if it is newer, or move newer to the end"
)


def test_all_errors_of_a_class_at_once() -> None:
    body = """
        volume: int
        def greet(self, a: int, *rest: str, b: int, **more: str) -> str: ...
        def int(self, name: list, register: str) -> "Missing": ...
        async def lang(this, loud: bool = True): ...
        @hardpoint.since("2.0")
        def shout(self) -> str: ...
        @hardpoint.since("1.1")
        def newer(self) -> str: ...
        def older(self) -> str: ...
    """
    methods = "Greeter.{} cannot be a method of a contract: ".format
    assert refusal(body, name="Greeter", version="1.1", head="class Greeter(Other, Protocol):").split("\n  - ") == [
        "Greeter cannot be a contract, for 16 reasons:",
        "Greeter cannot be a contract: it inherits from greetings.Other; a contract inherits from Protocol alone",
        f"Greeter cannot be a contract: it has the name 'Greeter', which {LOWER}",
        methods("greet") + "parameter '*rest' cannot cross into C; name every parameter",
        methods("greet") + "parameter '**more' cannot cross into C; name every parameter",
        methods("greet") + "parameter 'b' is keyword-only; leave the * out",
        methods("int") + "its name is taken by C or C++; choose another",
        f"Greeter.int: parameter 'name' cannot be list; {PARAMETERS}",
        methods("int") + "the name of parameter 'register' is taken by C or C++; choose another",
        f"Greeter.int: the annotation of its result cannot be read: name 'Missing' is not defined; {RESULTS}",
        methods("lang") + "it needs to be a plain function, not async and not a generator",
        methods("lang") + "parameter 'loud' has a default; the plugin has no way to know it",
        methods("lang") + "it needs `self` as its first parameter",
        f"Greeter.lang: its result has no annotation; {RESULTS}",
        "Greeter.shout: @since('2.0') needs a version after 1.0 and up to the contract's own, 1.1",
        methods("volume")
        + "a contract has methods and nothing else: no attributes, properties, static or class methods",
        ORDER,
    ]


def test_nine_parameters_are_refused() -> None:
    names = ", ".join(f"{name}: int" for name in "abcdefghi")
    assert refusal(f"def greet(self, {names}) -> str: ...") == (
        "Greeter.greet cannot be a method of a contract: it has 9 parameters; at most 8 are allowed"
    )


def test_a_manifest_that_no_plugin_could_have_is_refused(compiler: Compiler, tmp_path: Path) -> None:
    """The limit is the header's: the longest names that fit compile, and one method more would not."""

    def methods(count: int) -> str:
        return "\n".join(f"def method_{number:03}(self, text: str) -> str: ..." for number in range(count))

    longest = next(count for count in range(1, 200) if _why_not(methods(count)))
    assert re.fullmatch(
        r"Greeter cannot be a contract: its manifest would have up to 4\d\d\d bytes, and 4096 are allowed; "
        r"make two contracts of it, or shorten its names",
        _why_not(methods(longest)),
    )
    contract = define(methods(longest - 1))
    (tmp_path / "greeter.h").write_text(render(contract))
    slots = ", ".join(f".{method.name} = f" for method in contract.methods)
    (tmp_path / "plugin.c").write_text(
        f'#include "{tmp_path}/greeter.h"\n'
        "static hp_status f(void *s, const char *t, size_t l, hp_out *o) { (void)s; return hp_write(o, t, l); }\n"
        f'GREETER_PLUGIN("{"p" * 64}", "{"1" * 64}", {slots});\n'
    )
    compiler.run(
        "-c", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-o", str(tmp_path / "plugin.o"), str(tmp_path / "plugin.c")
    )


def _why_not(body: str) -> str:
    try:
        define(body)
    except hardpoint.DefinitionError as error:
        return str(error)
    return ""


ANNOTATIONS = {  # Python 3.14 spells Optional differently
    "list[int]": "list[int]", "Optional[str]": repr(str | None) if sys.version_info >= (3, 14) else "typing.Optional[str]", "str | None": "str | None",
    "Any": "typing.Any", "object": "object", "complex": "complex", "memoryview": "memoryview", "None": "None",
    "type(None)": "NoneType", "Annotated[str, 'x']": "typing.Annotated[str, 'x']", "Annotated[str, []]": "typing.Annotated[str, []]",
    "T": "~T", "Literal['x']": "typing.Literal['x']", "Other": "greetings.Other", "NewType('Name', str)": "greetings.Name",
    "abc.ABC": "abc.ABC", "5": "5", "[]": "[]",
}  # fmt: skip


@pytest.mark.parametrize("first", ["", "from __future__ import annotations"], ids=["as they are", "as strings"])
@pytest.mark.parametrize("annotation", [name for name in ANNOTATIONS if name != "None"])
def test_an_annotation_that_has_no_kind_is_refused(annotation: str, first: str) -> None:
    spelt = ANNOTATIONS[annotation]
    parameter, result = (f"def greet(self, name: {annotation}) -> str: ...", f"def greet(self) -> {annotation}: ...")
    assert refusal(parameter, first=first) == f"Greeter.greet: parameter 'name' cannot be {spelt}; {PARAMETERS}"
    assert refusal(result, first=first) == f"Greeter.greet: its result cannot be {spelt}; {RESULTS}"


def test_kinds_that_only_go_one_way() -> None:
    assert refusal("def greet(self, name: None) -> str: ...").endswith(f"parameter 'name' cannot be None; {PARAMETERS}")
    for kind in ("bytearray", "hardpoint.Buffer", "hardpoint.WritableBuffer"):
        assert refusal(f"def greet(self) -> {kind}: ...") == f"Greeter.greet: its result cannot be {kind}; {RESULTS}"


def test_a_missing_annotation_is_refused() -> None:
    assert refusal("def greet(self, a: int, name) -> str: ...") == (
        f"Greeter.greet: parameter 'name' has no annotation; {PARAMETERS}"
    )
    assert refusal("def greet(self, a: int): ...") == f"Greeter.greet: its result has no annotation; {RESULTS}"


UNREADABLE = {
    "'NoSuchName'": "name 'NoSuchName' is not defined",
    "'typing.NoSuchName'": "module 'typing' has no attribute 'NoSuchName'",
    "'1 / 0'": "division by zero",
    "'{}[5]'": "5",
}


@pytest.mark.parametrize("annotation", UNREADABLE)
def test_an_annotation_that_cannot_be_read_is_refused(annotation: str) -> None:
    why = UNREADABLE[annotation]
    assert refusal(f"def greet(self, a: int, name: {annotation}) -> str: ...") == (
        f"Greeter.greet: the annotation of parameter 'name' cannot be read: {why}; {PARAMETERS}"
    )
    assert refusal(f"def greet(self, a: int) -> {annotation}: ...") == (
        f"Greeter.greet: the annotation of its result cannot be read: {why}; {RESULTS}"
    )


def _late(text: object) -> str:
    return f"Greeter.greet: @since({text!r}) needs a version after 1.0 and up to the contract's own, 1.2"


def _malformed(text: object) -> str:
    return f"Greeter.greet: @since: a version is MAJOR.MINOR with a major from 1 on, such as '1.0', not {text!r}"


SINCE: dict[object, str] = {text: _late(text) for text in ("1.3", "1.0", "2.0", "2.1")}
SINCE |= {text: _malformed(text) for text in ("", "1", "0.1", "1.1.0", "1.1\n", 1.1, None)}


@pytest.mark.parametrize("version", SINCE, ids=repr)
def test_since_a_later_version_than_the_contracts_is_refused(version: object) -> None:
    assert refusal(f"@since({version!r})\n{GREET}", version="1.2") == SINCE[version]


def test_since_without_a_version_is_refused() -> None:
    assert refusal(f"@since\n{GREET}") == "Greeter.greet: @since needs a version, such as @since('1.1')"


@pytest.mark.parametrize("decorator", ["", "@since('1.1')"])
def test_an_older_method_after_a_newer_one_is_refused(decorator: str) -> None:
    body = f"@since('1.2')\ndef lang(self) -> str: ...\n{decorator}\n{GREET}"
    mark = "" if decorator else "mark greet with @since('1.2') if it is newer, or "
    assert refusal(body, version="1.2") == (
        f"Greeter.greet cannot stand behind lang, which came in 1.2: a contract grows by appending, so {mark}move lang "
        "to the end"
    )


def test_each_method_whose_since_was_forgotten_is_named() -> None:
    body = """
        def greet(self, name: str) -> str: ...
        @since("1.1")
        def nothing(self) -> str: ...
        def more(self) -> str: ...
        def most(self) -> str: ...
    """
    assert refusal(body, version="1.2").split("\n  - ")[1:] == [
        f"Greeter.{name} cannot stand behind nothing, which came in 1.1: a contract grows by appending, so mark {name} "
        "with @since('1.2') if it is newer, or move nothing to the end"
        for name in ("more", "most")
    ]


def test_a_malformed_since_is_said_beside_a_malformed_version() -> None:
    assert refusal(f"@since('x')\n{GREET}", version="y").split("\n  - ")[1:] == [
        "Greeter cannot be a contract: a version is MAJOR.MINOR with a major from 1 on, such as '1.0', not 'y'",
        _malformed("x"),
    ]


# -- what is a contract ----------------------------------------------------------------------------------------------


def test_every_kind_by_a_real_class() -> None:
    from builtins import str as Text  # noqa: N812, TC003 - a name that only this function has

    @runtime_checkable
    @hardpoint.contract("all_kinds", version="2.3")
    class Kinds(Protocol):
        """Every kind."""

        def takes(
            self, a: str, b: bytes, c: Buffer, d: bytearray, e: WritableBuffer, f: int, g: float, h: bool
        ) -> None: ...
        def floats(self, a: float, b: float, c: float, d: float, e: float, f: float, g: float, h: float) -> float: ...
        def text(self, a: Text, /, b: "Text") -> Text: ...  # noqa: UP037 - a string within a string
        def data(self, a: int, b: int, /) -> bytes: ...
        @hardpoint.quick
        @hardpoint.since("2.1")
        def number(self) -> int: ...
        @hardpoint.since("2.3")
        @hardpoint.quick
        def truth(self, /) -> bool: ...

    contract = contract_of(Kinds)
    assert (contract.name, contract.version, contract.doc) == ("all_kinds", "2.3", "Every kind.")
    assert (contract.struct, contract.symbol) == ("all_kinds_v2", "hardpoint_all_kinds_v2")
    assert contract.source == f"{__name__}:{Kinds.__qualname__}"
    assert [method.text for method in contract.methods] == [
        "takes(a: str, b: bytes, c: bytes, d: bytearray, e: bytearray, f: int, g: float, h: bool) -> None",
        "floats(a: float, b: float, c: float, d: float, e: float, f: float, g: float, h: float) -> float",
        "text(str, /, b: str) -> str",
        "data(int, int, /) -> bytes",
        "number() -> int",
        "truth() -> bool",
    ]
    assert [(method.since, method.quick) for method in contract.methods] == [(0, False)] * 4 + [(1, True), (3, True)]


@pytest.mark.parametrize("first", ["", "from __future__ import annotations"], ids=["as they are", "as strings"])
def test_annotations_may_be_in_quotes(first: str) -> None:
    contract = define("def greet(self, a: 'int', b: 'hardpoint.Buffer') -> 'None': ...", first=first)
    assert contract.methods[0].text == "greet(a: int, b: bytes) -> None"


def test_attributes_that_python_and_typing_add_are_not_members() -> None:
    body = f"__slots__ = ()\n@abc.abstractmethod\n{GREET}"
    for head in ("class Greeter(Protocol):", "@runtime_checkable\nclass Greeter(Protocol):"):
        assert [method.name for method in define(body, head=head).methods] == ["greet"]


def test_the_protocol_of_typing_extensions_works() -> None:
    pytest.importorskip("typing_extensions")
    head = "@typing_extensions.runtime_checkable\nclass Greeter(typing_extensions.Protocol):"
    assert [method.name for method in define(GREET, head=head, first="import typing_extensions").methods] == ["greet"]


class Person:
    def greet(self, name: str) -> str:
        return name


@pytest.mark.parametrize("inside", [True, False], ids=["decorated first", "decorated last"])
def test_isinstance_works_with_an_unrelated_class(inside: bool) -> None:
    class Greeter(Protocol):
        def greet(self, name: str) -> str: ...

    before = set(vars(Greeter))
    decorators = [hardpoint.contract("greeter", version="1.0"), runtime_checkable]
    for decorate in decorators if inside else reversed(decorators):
        assert decorate(Greeter) is Greeter
    checked: Any = Greeter
    assert isinstance(Person(), checked)
    assert not isinstance("x", checked)
    assert {name for name in set(vars(Greeter)) - before if not name.startswith("_")} == set()
    assert contract_of(Greeter).methods[0].function is vars(Greeter)["greet"]


@given(st.text("ab \t\n"))
@example("\n    deeper\n  b")
def test_docstrings_are_cleaned_as_inspect_does_and_lines_end_without_blanks(doc: str) -> None:
    class Greeter(Protocol):
        def greet(self, name: str) -> str: ...

    Greeter.__doc__ = Greeter.greet.__doc__ = doc
    hardpoint.contract("greeter", version="1.0")(Greeter)
    expected = "\n".join(line.rstrip() for line in inspect.cleandoc(doc).split("\n")).strip("\n")
    assert (contract_of(Greeter).doc, contract_of(Greeter).methods[0].doc) == (expected, expected)


def test_without_docstrings() -> None:
    contract = define(GREET)
    assert (contract.doc, contract.methods[0].doc) == ("", "")


@pytest.mark.parametrize(
    "thing", [Person, Person(), "greeter", ["unhashable"], None], ids=lambda thing: repr(thing)[:20]
)
def test_contract_of_a_class_that_is_not_a_contract(thing: object) -> None:
    with pytest.raises(TypeError) as caught:
        contract_of(thing)
    assert str(caught.value) == f"{thing!r} is not a contract: decorate a Protocol class with @hardpoint.contract"
    with pytest.raises(TypeError, match=r"is not a contract: decorate a Protocol class with @hardpoint\.contract$"):
        hardpoint.load("x.so", thing)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
