"""Read the manifests in a library's notes: the name, contract and methods of each plugin in it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn

from ..definition.model import MAX_MANIFEST, parse_version
from ..definition.reserved_names import check_contract_name
from ..errors import Problem
from ..fields import Fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..elf.reader import ElfFile

OWNER, TYPE = b"hardpoint", 1
"""Of the notes to read. The type is the ABI's major."""
MAX_DEPTH = 32
"""Levels of objects and arrays in a manifest: deeper ones are left to no JSON reader's own limit."""
MOST = 256
"""Manifests in one library, each of which is a plugin to check: more than anybody builds into one."""
_LOWER, _DIGITS = "abcdefghijklmnopqrstuvwxyz", "0123456789"


class Manifest(Fields):
    """A plugin's description of itself."""

    abi: tuple[int, int]
    """The lowest ABI version that it needs."""
    contract: str
    version: tuple[int, int]
    """The contract's version that it was written against."""
    plugin: str
    release: str
    methods: tuple[str, ...]
    """The methods' canonical texts, in the order of their slots."""
    text: bytes
    """The JSON in the note, without its NUL."""

    def __str__(self) -> str:
        return f"{self.contract} {self.version[0]}.{self.version[1]}"


def read_manifests(elf: ElfFile) -> list[Manifest | Problem]:
    """Read every manifest in the library, in order, with a Problem in place of each malformed one."""
    found = [note.description for note in elf.notes() if note.owner == OWNER and note.type == TYPE]
    if len(found) > MOST:
        needs, fix = f"at most {MOST} manifests in a library", "build its plugins into several libraries"
        return [Problem.of("manifest-malformed", f"{len(found)} manifests", needs=needs, fix=fix)]
    return [_read(description) for description in found]


class _MalformedError(Exception):
    """A malformed manifest, with the Problem that says how."""

    def __init__(self, found: str, needs: str = "", fix: str = "") -> None:
        super().__init__(found)
        self.problem = Problem.of("manifest-malformed", found, needs=needs, fix=fix)


def _read(description: bytes) -> Manifest | Problem:
    try:
        return _check(_parse(description), description[:-1])
    except _MalformedError as error:
        return error.problem


def _parse(description: bytes) -> dict[str, Any]:
    if len(description) > MAX_MANIFEST:
        raise _MalformedError(f"{len(description)} bytes", f"a manifest of at most {MAX_MANIFEST} bytes")
    if not description.endswith(b"\0"):
        raise _MalformedError("one without it", "a manifest that ends in a NUL")
    try:
        text = description[:-1].decode()
        if text.startswith("\ufeff"):
            raise _MalformedError("a byte order mark")
        fields = _decode(text)
    except RecursionError:
        raise _MalformedError("lists or objects that are nested too deeply") from None
    except ValueError as error:
        raise _MalformedError(str(error)) from None
    if not isinstance(fields, dict):
        raise _MalformedError(_JSON_KINDS[type(fields)], "a manifest that is a JSON object")
    if description.count(b"[") + description.count(b"{") > MAX_DEPTH and (depth := _depth(fields)) > MAX_DEPTH:
        raise _MalformedError(f"{depth} levels", f"a manifest of at most {MAX_DEPTH} levels of objects and arrays")
    if b"\\ud" in description.lower():
        import json

        _check_surrogates(json.dumps(fields, ensure_ascii=False))
    return fields


def _depth(value: object) -> int:
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, (dict, list))]:
        depth += 1
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
    return depth


def _check_surrogates(text: str) -> None:
    """Refuse an escape of half a surrogate pair: Python reads it, other JSON readers refuse or replace it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _MalformedError(f"the lone surrogate U+{ord(text[error.start]):04X}") from None


def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse duplicate fields: a name with a quote in it could otherwise forge the others."""
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a duplicate field")
    return fields


def _without_constants(name: str) -> NoReturn:
    """Refuse NaN and the infinities: Python reads them, but they are not JSON (RFC 8259, section 6)."""
    raise ValueError(f"{name}, which is not JSON")


class _Hooks:
    strict, object_hook = True, None
    object_pairs_hook, parse_constant = staticmethod(without_duplicates), staticmethod(_without_constants)
    parse_float = parse_int = (
        float  # int refuses as many digits as the program was told to (sys.set_int_max_str_digits)
    )


_SPACE = " \t\n\r"


@cache
def _scanner() -> Any:
    from _json import make_scanner  # 0.4 ms that only a host that loads something pays

    hooks: Any = _Hooks
    return make_scanner(hooks)


def _decode(text: str) -> Any:
    """Decode JSON by the part in C of Python's json: importing json takes 3 ms, half of a host's first load."""
    try:
        value, end = _scanner()(text, len(text) - len(text.lstrip(_SPACE)))
    except StopIteration:
        value, end = None, -1
    if end < 0 or text[end:].strip(_SPACE):
        from json import JSONDecoder  # for the error alone

        return JSONDecoder(object_pairs_hook=without_duplicates, parse_constant=_without_constants).decode(text)
    return value


def _check(fields: dict[str, Any], text: bytes) -> Manifest:
    return Manifest(
        _version(fields, "abi"),
        _contract(fields),
        _version(fields, "version"),
        _string(fields, "plugin", is_plugin_name, "'english' ([a-z][a-z0-9_-]{0,63})"),
        _string(fields, "release", _is_release, "'1.0.0' ([0-9A-Za-z.+_-]{1,64})"),
        _methods(fields),
        text,
    )


def _field(fields: dict[str, Any], name: str) -> Any:
    if name not in fields:
        raise _MalformedError("none", f"the field {name!r} in the manifest")
    return fields[name]


# Without `re`: compiling the two patterns takes 0.2 ms of a host's first load.
def is_plugin_name(value: str) -> bool:
    """True if it is a valid name for a plugin."""
    return 0 < len(value) <= 64 and value[0] in _LOWER and not value.strip(_LOWER + _DIGITS + "_-")


def _is_release(value: str) -> bool:
    return 0 < len(value) <= 64 and not value.strip(_LOWER + _LOWER.upper() + _DIGITS + ".+_-")


def _string(fields: dict[str, Any], name: str, fits: Callable[[str], bool], example: str) -> str:
    value = _field(fields, name)
    if isinstance(value, str) and fits(value):
        return value
    needs = f"the manifest's field {name!r} to be like {example}"
    raise _MalformedError(_described(value), needs, "change it where the plugin's macro is used")


def _version(fields: dict[str, Any], name: str) -> tuple[int, int]:
    value = _field(fields, name)
    try:
        return parse_version(value)
    except ValueError:
        needs = f"the manifest's field {name!r} to be MAJOR.MINOR with a major of at least 1, like '1.0'"
        raise _MalformedError(_described(value), needs) from None


def _contract(fields: dict[str, Any]) -> str:
    name = _field(fields, "contract")
    try:
        check_contract_name(name)
    except ValueError as error:
        needs = "the manifest's field 'contract' to be a contract's name, like 'greeter'"
        raise _MalformedError(str(error) if isinstance(name, str) else _described(name), needs) from None
    return str(name)


def _methods(fields: dict[str, Any]) -> tuple[str, ...]:
    """Read the methods' texts. They are compared with the contract's later; here, they must be safe to print."""
    texts = _field(fields, "methods")
    needs = "the manifest's field 'methods' to be a list of at least one text"
    if not isinstance(texts, list) or not texts:
        raise _MalformedError("an empty list" if texts == [] else _described(texts), needs)
    for text in texts:
        if not isinstance(text, str):
            raise _MalformedError(f"{_described(text)} in it", needs)
        if not text.isascii() or not text.isprintable():
            raise _MalformedError(_described(text), "the manifest's methods in printable ASCII")
    return tuple(texts)


_JSON_KINDS = {dict: "an object", list: "a list", str: "a string", int: "a number", float: "a number",
               bool: "true or false", type(None): "null"}  # fmt: skip


def _described(value: object) -> str:
    """A string's repr; the JSON type of any other value."""
    return repr(value) if isinstance(value, str) else _JSON_KINDS[type(value)]
