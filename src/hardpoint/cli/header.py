"""Print the C header of a contract.

examples:
  hardpoint header hardpoint.contracts:Greeter
  hardpoint header scorer:Scorer > scorer.h
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..header import render
from .contracts import named

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def configure(parser: ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("contract", type=named, metavar="MODULE:CLASS", help="the contract's class")


def run(arguments: Namespace) -> int:
    """Print the header."""
    print(render(arguments.contract), end="")
    return 0
