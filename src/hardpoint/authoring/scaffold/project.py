"""Project: a new plugin as `hardpoint new` describes it to all languages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...fields import Fields
from ..c_header import harmless

if TYPE_CHECKING:
    from ...definition.model import Contract, Method

RELEASE = "0.1.0"
"""A new plugin's release, in its source and in pyproject.toml."""


class Needs(Fields):
    """The tools that a language's projects are built with."""

    text: str
    """For the README: the tools, and the command that installs them."""
    packages: tuple[str, ...] = ()
    """Those that come from PyPI: requirements of the wheel's build."""
    in_container: str = ""
    """Settings of cibuildwheel, with which its containers get the others."""


class Project(Fields):
    """A plugin to be written."""

    name: str
    """The plugin's name in its manifest: `low-german`."""
    contract: Contract
    source: str
    """The contract's class: `MODULE:CLASS`."""
    module_file: str | None = None
    """The contract's file, if the project gets a copy of it (its module is not installed); None otherwise."""

    @property
    def library(self) -> str:
        """The library's path: `build/low-german.so`."""
        return f"build/{self.name}.so"

    @property
    def identifier(self) -> str:
        """The name as an identifier of C, Python and Rust: `low_german`. `hp`, which the header uses, gets a suffix."""
        identifier = self.name.replace("-", "_")
        return f"{identifier}_plugin" if identifier in {"hp", "hardpoint"} else identifier

    @property
    def type_name(self) -> str:
        """The name of a class: `LowGerman`. It is neither a method's name nor a keyword of any language."""
        name = "".join(part.capitalize() for part in self.identifier.split("_"))
        taken = {"Self", *(method.name for method in self.contract.methods)}
        return f"{name}Plugin" if name in taken else name

    @property
    def module(self) -> str:
        """The module of the contract's class: `hardpoint.contracts`."""
        return self.source.partition(":")[0]

    @property
    def class_name(self) -> str:
        """The contract's class: `Greeter`."""
        return self.source.partition(":")[2]

    @property
    def is_shipped(self) -> bool:
        """True if the contract comes with hardpoint."""
        return self.module == "hardpoint.contracts"

    @property
    def header(self) -> str:
        """The path of the contract's header in the project: `contract/scorer.h`."""
        return f"contract/{self.contract.name}.h"

    @property
    def macro(self) -> str:
        """The header's macro that writes the plugin: `GREETER_PLUGIN`."""
        return f"{self.contract.name.upper()}_PLUGIN"


def comment_lines(method: Method) -> list[str]:
    """The lines of the comment above a method's stub: its canonical text, then its docstring."""
    return harmless(f"{method.text}\n{method.doc}")
