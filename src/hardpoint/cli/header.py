"""Print what plugins for a contract are written against: its C header, or a module in Rust.

examples:
  hardpoint header hardpoint.contracts:Greeter
  hardpoint header scorer:Scorer > scorer.h
  hardpoint header scorer:Scorer --lang rust > src/scorer.rs
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..authoring import c_header, rust_module
from .contracts import named

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def configure(parser: ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("contract", type=named, metavar="MODULE:CLASS", help="the contract's class")
    parser.add_argument(
        "--lang", choices=("c", "rust"), default="c", help="the language (c): Zig and Go include the header for C"
    )


def run(arguments: Namespace) -> int:
    """Print the header."""
    language = rust_module if arguments.lang == "rust" else c_header
    print(language.render(arguments.contract), end="")
    return 0
