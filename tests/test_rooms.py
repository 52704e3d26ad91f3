"""The rooms of src/hardpoint: imports run one way between them, those under TYPE_CHECKING and inside functions too."""

from __future__ import annotations

import ast
import re
from importlib.util import resolve_name
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import hardpoint

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SOURCE = Path(hardpoint.__file__).resolve().parent
ROOMS: Sequence[str] = (
    "fields problems errors version launcher forks table ffi definition elf file preflight isolation backend binding inprocess "
    "isolation.host loading pickling aio contracts registry authoring conformance benchmark cli _pyinstaller"
).split()
"""Each imports from itself and from those before it."""


def room_of(module: str) -> str:
    """The room of `hardpoint.isolation.host.session`: `isolation.host`."""
    parts = module.split(".")[1:]
    return ".".join(parts[:2]) if ".".join(parts[:2]) in ROOMS else parts[0] if parts else ""


def imported(path: Path, module: str) -> Iterator[str]:
    """Return every module of the package that a file imports, at any level."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            target = resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module or ""
            for name in node.names:
                is_module = (SOURCE.parent / f"{target}.{name.name}".replace(".", "/")).with_suffix(".py").exists()
                is_package = (SOURCE.parent / f"{target}.{name.name}".replace(".", "/")).is_dir()
                yield f"{target}.{name.name}" if is_module or is_package else target
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


MODULES = {
    ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(SOURCE.rglob("*.py"))
}


def test_every_module_is_in_a_room() -> None:
    assert {room_of(module) for module in MODULES} - {"", "__main__"} <= set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_those_before_it(room: str) -> None:
    wrong = {
        (module, target)
        for module, path in MODULES.items()
        if room_of(module) == room
        for target in imported(path, module)
        if target.startswith("hardpoint.") and ROOMS.index(room_of(target)) > ROOMS.index(room)
    }
    assert not wrong


def test_contributing_has_the_rooms_in_their_order() -> None:
    page = (SOURCE.parents[1] / "CONTRIBUTING.md").read_text()
    [table] = re.findall(r"\| room \| contents \|\n.*?\n\n", page, re.DOTALL)
    named = re.findall(r"`([\w/]+?)(?:\.py|/)`(?=[^|]*\|.*\|$)", table, re.MULTILINE)
    assert [name.replace("/", ".") for name in named] == [room for room in ROOMS if room != "contracts"]
