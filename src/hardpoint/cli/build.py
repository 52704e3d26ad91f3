"""Compile a plugin in C or C++ with the right flags, and check the result.

C is compiled as gnu11 and C++ as gnu++17, with the warnings of gcc 14 that are errors there as errors, and f() in place
of f(void). $CC, $CXX, $CFLAGS, $CXXFLAGS and $LDFLAGS are used, and arguments after -- are passed to the compiler.
Without SRC, every .c, .cpp, .cc and .cxx file of the working directory is compiled. The exit status is 1 if compiling
fails or the library does not fit.

examples:
  hardpoint build
  hardpoint build english.c
  hardpoint build exam.cpp tables.c -o exam.so -- -DFAST -lm
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..authoring.compiler import SUFFIXES, compile_library
from ..errors import HardpointError, PluginNotFoundError
from . import check
from .contracts import named

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments; those after -- are split off before argparse sees them."""
    parser.usage = "%(prog)s [-h] [-o FILE] [--contract MODULE:CLASS] [--verbose] [SRC ...] [-- FLAG ...]"
    parser.add_argument("words", nargs="*", metavar="SRC", help="the sources: .c, .cpp, .cc or .cxx")
    parser.add_argument(
        "-o", dest="output", metavar="FILE", help="the library; by default named after the only source, or the folder"
    )
    parser.add_argument("--contract", type=named, metavar="MODULE:CLASS", help="the contract that it has to fit")
    parser.add_argument("--verbose", action="store_true", help="show the commands")


def run(arguments: Namespace) -> int:
    """Compile the sources and check the library."""
    sources = arguments.words or sorted(name for name in os.listdir() if name.endswith(SUFFIXES))
    if not sources:
        raise HardpointError(f"no {', '.join(SUFFIXES)} file found in {os.getcwd()}; name the sources")
    for source in sources:
        if not source.endswith(SUFFIXES):
            raise HardpointError(
                f"{source} is not a source in C or C++ ({', '.join(SUFFIXES)}); put arguments of the compiler or linker after --",
                path=source,
            )
        if not os.path.isfile(source):
            raise PluginNotFoundError(f"{source}: there is no such file; check the path", path=source)
    target = arguments.output or _library(sources)
    compile_library(sources, target, arguments.flags, verbose=arguments.verbose)
    return check.report(target, arguments.contract)


def _library(sources: list[str]) -> str:
    name = os.path.basename(sources[0] if len(sources) == 1 else os.getcwd())
    return f"{os.path.splitext(name)[0] if len(sources) == 1 else name}.so"
