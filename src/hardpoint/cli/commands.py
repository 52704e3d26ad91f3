"""The table of commands: a row each. A command's module is imported when the command is run."""

from __future__ import annotations

from ..fields import Fields


class Command(Fields):
    """One command of `hardpoint`."""

    name: str
    help: str
    """Its line in `hardpoint --help`, and the first line of its module's docstring."""
    module: str
    """Its file in this folder, which has `configure(parser)` and `run(arguments)`, and whose docstring is its help."""


COMMANDS = (
    Command("list", "List the plugins found, with the reason for each that cannot be loaded.", "list"),
    Command("call", "Call a method on each plugin.", "call"),
    Command("inspect", "Show everything about a library that can be read without running it.", "inspect"),
    Command("check", "Check whether a library fits this host, and print every problem.", "check"),
    Command(
        "doctor",
        "Describe this machine as hardpoint sees it, and run every check on a library, one by one.",
        "doctor",
    ),
    Command(
        "test",
        "Test a plugin with the conformance kit: hostile input, lack of memory, threads, leaks, and properties of the file.",
        "test",
    ),
    Command(
        "bench",
        "Measure the cost of a plugin's calls, through each binding and isolated.",
        "bench",
    ),
    Command("lock", "Write a lock file with the SHA-256 of each plugin, for hosts that load no other files.", "lock"),
    Command("new", "Create a plugin project that builds, passes its tests and makes a wheel.", "new"),
    Command("build", "Compile a plugin in C or C++ with the right flags, and check the result.", "build"),
    Command("header", "Print the C header of a contract, or its module in Rust.", "header"),
    Command("include", "Print the folder of the C headers, or the flags that a build system needs.", "include"),
)
