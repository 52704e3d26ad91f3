"""Print the C header of a contract, or its module in Rust.

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
    """Add the command's arguments."""
    parser.add_argument("contract", type=named, metavar="MODULE:CLASS", help="the contract's class")
    parser.add_argument(
        "--lang", choices=("c", "rust"), default="c", help="the language (c); Zig and Go use the C header"
    )


def run(arguments: Namespace) -> int:
    """Print the header."""
    language = rust_module if arguments.lang == "rust" else c_header
    print(language.render(arguments.contract), end="")
    return 0
