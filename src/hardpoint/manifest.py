"""A library's notes -> its manifests: who each plugin in it says that it is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import Problem
from .signature import check_contract_name, parse_version

if TYPE_CHECKING:
    from .elf import ElfFile

OWNER, TYPE, MAX_SIZE = b"hardpoint", 1, 4096
_PLUGIN = re.compile(r"[a-z][a-z0-9_-]{0,63}", re.ASCII)
_RELEASE = re.compile(r"[0-9A-Za-z.+_-]{1,64}", re.ASCII)
_REBUILD = "rebuild the plugin with its contract's header, which writes the manifest"


class Manifest(NamedTuple):
    """What a plugin says of itself."""

    abi: tuple[int, int]
    """The least ABI that it needs."""
    contract: str
    version: tuple[int, int]
    """The contract's version that it was written against."""
    plugin: str
    release: str
    methods: tuple[str, ...]
    """The methods' canonical texts, in the order of their slots."""
    text: bytes
    """The JSON as it stands in the note, without its NUL."""

    def __str__(self) -> str:
        return f"{self.contract} {self.version[0]}.{self.version[1]}"


def read_manifests(elf: ElfFile) -> list[Manifest | Problem]:
    """Every manifest in the library, in the file's order; a Problem in the place of one that is malformed."""
    return [_read(note.description) for note in elf.notes() if note.owner == OWNER and note.type == TYPE]


def _read(description: bytes) -> Manifest | Problem:
    import json  # a millisecond that only a host which loads something pays

    def malformed(needs: str, found: str) -> Problem:
        return Problem("manifest-malformed", needs, found, _REBUILD)

    if len(description) > MAX_SIZE:
        return malformed(f"a manifest of at most {MAX_SIZE} bytes", f"{len(description)}")
    if not description.endswith(b"\0"):
        return malformed("a manifest that ends in a NUL", "one that does not")
    text = description[:-1]
    try:
        fields = json.loads(text.decode(), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        return malformed("a manifest in JSON", f"{str(error)[:200] or 'nesting too deep'}")
    if not isinstance(fields, dict):
        return malformed("a manifest that is a JSON object", f"a {type(fields).__name__}")
    try:
        return _check(fields, text)
    except KeyError as error:
        return malformed(f"the field {error} in the manifest", "none")
    except ValueError as error:
        return malformed("a manifest that keeps to the rules", str(error))


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two fields of one name are refused: a name with a quote in it could otherwise forge the rest."""
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a field that is given twice")
    return fields


def _check(fields: dict[str, Any], text: bytes) -> Manifest:
    def string(name: str) -> str:
        value = fields[name]
        if not isinstance(value, str):
            raise ValueError(f"the field {name!r} that is not a string")  # noqa: TRY004 - it is bad data, not a bad call
        return value

    methods = fields["methods"]
    if not isinstance(methods, list) or not methods or not all(isinstance(method, str) for method in methods):
        raise ValueError("the field 'methods' that is not a list of texts")
    check_contract_name(string("contract"))
    if not _PLUGIN.fullmatch(string("plugin")):
        raise ValueError(f"the plugin name {fields['plugin']!r}, while a name is like 'english' ({_PLUGIN.pattern})")
    if not _RELEASE.fullmatch(string("release")):
        raise ValueError(f"the release {fields['release']!r}, while a release is like '1.0.0' ({_RELEASE.pattern})")
    return Manifest(
        parse_version(string("abi")),
        fields["contract"],
        parse_version(string("version")),
        fields["plugin"],
        fields["release"],
        tuple(methods),
        text,
    )
