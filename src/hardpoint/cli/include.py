"""Print the folder of the C headers, for the compiler's -I.

examples:
  hardpoint include
  cc -I"$(hardpoint include)" -fPIC -shared -o english.so english.c
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .. import contracts

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def configure(_: ArgumentParser) -> None:
    """The command has no arguments."""


def run(_: Namespace) -> int:
    """Print the folder."""
    print(os.path.realpath(contracts.__path__[0]))
    return 0
