"""Processes of hardpoint's own: the command line of a Python that imports one module and calls its `main`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

TIMED = """\
import time, typing
start = time.perf_counter_ns()
import hardpoint
arguments.append(time.perf_counter_ns() - start)
"""
"""Time `import hardpoint`, and give `main` the nanoseconds as its last argument. typing is imported before, since every
contract needs it: the rest is what hardpoint adds."""


def command(module: str, *arguments: object, setup: str = "", folders: Sequence[str] = ()) -> list[str]:
    """The command line of a Python that calls the function `main` of a module, with the arguments as texts.

    It imports from where this process does, and then from `folders`; `setup` is run before the module is imported.
    """
    end = len(arguments) + 1
    program = (
        f"import sys\narguments, sys.path[:] = sys.argv[1:{end}], sys.argv[{end}:]\n"
        f"{setup}from {module} import main\nmain(*arguments)\n"
    )
    return [sys.executable, "-P", "-c", program, *map(str, arguments), *sys.path, *folders]
