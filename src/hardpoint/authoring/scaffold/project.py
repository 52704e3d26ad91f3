"""Project: what `hardpoint new` knows of the plugin that it starts, whatever the language."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...fields import Fields
from ..c_header import harmless

if TYPE_CHECKING:
    from ...definition.model import Contract, Method

RELEASE = "0.1.0"
"""What a new plugin's release is, in its source and in pyproject.toml."""


class Project(Fields):
    """A plugin that is about to be written."""

    name: str
    """The plugin's name, as its manifest has it: `low-german`."""
    contract: Contract
    source: str
    """Where the contract's class is: `MODULE:CLASS`."""
    module_file: str | None = None
    """The contract's file, if the project gets a copy of it (its module is not installed); None otherwise."""

    @property
    def library(self) -> str:
        """What `make` makes: `low-german.so`."""
        return f"{self.name}.so"

    @property
    def identifier(self) -> str:
        """The name as C, Python and Rust can have it: `low_german`; `hp` is the header's own prefix, and gets a tail."""
        identifier = self.name.replace("-", "_")
        return f"{identifier}_plugin" if identifier in {"hp", "hardpoint"} else identifier

    @property
    def type_name(self) -> str:
        """The name as a class has it: `LowGerman`. No method is called so, and no language has a word like it."""
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
    def is_brought(self) -> bool:
        """Whether hardpoint brings the contract, and so its header."""
        return self.module == "hardpoint.contracts"

    @property
    def header(self) -> str | None:
        """The generated header's path in the project: `contract/scorer.h`; None where `hardpoint include` has it."""
        return None if self.is_brought else f"contract/{self.contract.name}.h"

    @property
    def macro(self) -> str:
        """The header's macro that writes the plugin: `GREETER_PLUGIN`."""
        return f"{self.contract.name.upper()}_PLUGIN"


def described(method: Method) -> list[str]:
    """The lines of the comment above a method's stub: its canonical text, then its docstring."""
    return harmless(f"{method.text}\n{method.doc}")
