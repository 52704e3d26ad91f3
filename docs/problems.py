"""The table of problems (hardpoint.problems) as Markdown, for docs/errors.md."""

from __future__ import annotations

from typing import NamedTuple

from prose import escaped, item, wrapped

from hardpoint import Problem
from hardpoint.problems import ROWS, Row


class Group(NamedTuple):
    """A section of the page: the problems of some stages."""

    title: str
    stages: str
    about: str


GROUPS = (
    Group(
        "The file",
        "file elf path",
        "Raised as `NotAPluginError`, but for four: `file-missing` is a `PluginNotFoundError`, and has this code only in "
        "`hardpoint doctor`; `elf-class`, `path-token` and `noexec` are an `IncompatibleError`.",
    ),
    Group(
        "The manifest",
        "manifest",
        "The JSON in an ELF note in which a plugin says who it is. A library without one is a `NotAPluginError`, one with a "
        "malformed manifest an `IncompatibleError`.",
    ),
    Group(
        "This machine",
        "host machine libc dependencies linking memory",
        "Raised as `IncompatibleError`; as `LoadError` what only the dynamic linker knows. `hardpoint check` asks it in a process "
        "of its own, and `load` calls dlopen. `hardpoint doctor FILE` shows which of these checks a library passes.",
    ),
    Group(
        "The contract",
        "contract abi methods",
        "Raised as `IncompatibleError`. Methods are compared by their texts, and both are shown. A Python plugin that is added "
        "to a registry has the same codes.",
    ),
    Group("The vtable", "vtable", "Raised as `IncompatibleError`. It is read from the file, before any code runs."),
    Group(
        "Trust",
        "trust",
        "Raised as `IncompatibleError`, where `sha256=` or a registry's `allow=` asks for it. See [the registry](registry.md).",
    ),
    Group(
        "The environment",
        "environment",
        "Never raised. `hardpoint doctor` shows these beside `host-libc` and `host-machine`.",
    ),
)


def render() -> str:
    """All problems as Markdown, in groups."""
    return "\n\n".join(_group(group) for group in GROUPS)


def _group(group: Group) -> str:
    rows = [_row(row) for row in ROWS.values() if row.stage in group.stages.split()]
    return "\n\n".join([f"### {group.title}", wrapped(group.about), *rows])


def _row(row: Row) -> str:
    example = Problem.of(row.code, **row.example)
    warning = "" if row.fatal else " This is a warning: the file is loaded all the same."
    words = {"needs": example.needs, "found": example.found, "do": example.fix}
    items = "\n".join(item(f"*{word}*", escaped(text)) for word, text in words.items())
    return f"#### {row.code}\n\n{wrapped(row.cause + warning)}\n\n{items}"
