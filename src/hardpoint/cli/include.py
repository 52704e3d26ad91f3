"""Print the folder of the C headers, or the flags that a build system needs.

examples:
  hardpoint include
  cc $(hardpoint include --cflags --ldflags) -o english.so english.c
  PKG_CONFIG_PATH="$(hardpoint include --pkgconfigdir)" meson setup build
  cmake -B build -Dhardpoint_DIR="$(hardpoint include --cmakedir)"
"""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from ..authoring.compiler import compile_flags, include_folder, link_flags

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--cflags", action="store_true", help="the compiler's flags")
    parser.add_argument("--ldflags", action="store_true", help="the linker's flags")
    parser.add_argument("--pkgconfigdir", action="store_true", help="the folder of hardpoint.pc, for $PKG_CONFIG_PATH")
    parser.add_argument("--cmakedir", action="store_true", help="the folder for CMake's hardpoint_DIR")


def run(arguments: Namespace) -> int:
    """Print flags on one line, and each folder on its own."""
    flags = [*(compile_flags() if arguments.cflags else []), *(link_flags() if arguments.ldflags else [])]
    if flags:
        print(shlex.join(flags))
    for name in ("pkgconfig", "cmake"):
        if getattr(arguments, f"{name}dir"):
            print(os.path.join(include_folder(), name))
    if not (flags or arguments.pkgconfigdir or arguments.cmakedir):
        print(include_folder())
    return 0
