"""Isolation in hosts of several processes or interpreters: multiprocessing, children of children, subinterpreters."""

from __future__ import annotations

import multiprocessing
import os
from typing import TYPE_CHECKING

import pytest
from processes import gone, workers

import hardpoint
from hardpoint.contracts import Greeter

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import RunPython


def greet(plugin: Greeter, name: str) -> tuple[str, int, tuple[int, ...]]:
    return plugin.greet(name), os.getpid(), workers(plugin)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_an_isolated_plugin_travels_to_a_pool(english: Path, method: str) -> None:
    """Each process of the pool loads it anew, with workers of its own."""
    with hardpoint.loaded(english, Greeter, isolated=True) as plugin:
        with multiprocessing.get_context(method).Pool(2) as pool:
            results = pool.starmap(greet, [(plugin, name) for name in ("a", "b", "c")])
        [mine] = workers(plugin)
    assert [greeting for greeting, _, _ in results] == [f"Hello, {name}! Nice to meet you." for name in "abc"]
    assert all(host != os.getpid() and mine not in theirs for _, host, theirs in results)
    assert gone(*(worker for _, _, theirs in results for worker in theirs))


FORKED = """
import multiprocessing, os
import hardpoint
from hardpoint.contracts import Greeter
plugin = hardpoint.load({library!r}, Greeter, isolated=True)
def work(name):
    try:
        plugin.lang()
    except hardpoint.ClosedError:
        with hardpoint.loaded({library!r}, Greeter, isolated=True) as mine:
            return mine.greet(name)
with multiprocessing.get_context("fork").Pool(3) as pool:
    print(*pool.map(work, "abcdef"), sep="\\n")
"""


def test_children_of_multiprocessing_that_are_forked(english: Path, run_python: RunPython) -> None:
    assert run_python(FORKED.format(library=str(english))).stdout.splitlines() == [
        f"Hello, {name}! Nice to meet you." for name in "abcdef"
    ]


GENERATIONS = """
import os
import hardpoint
from hardpoint.contracts import Greeter
plugin = None
for generation in range(4):
    before = plugin  # a parent's, which must not end with this process
    plugin = hardpoint.load({library!r}, Greeter, isolated=True)
    print(generation, plugin.lang(), *hardpoint.info(plugin).isolation.workers, flush=True)
    child = os.fork()
    if child:
        status = os.waitpid(child, 0)[1]
        print(generation, plugin.lang(), status, flush=True)
        os._exit(status)
"""


def test_four_generations(english: Path, run_python: RunPython) -> None:
    lines = [line.split() for line in run_python(GENERATIONS.format(library=str(english))).stdout.splitlines()]
    assert [line[:2] for line in lines] == [[str(each), "English"] for each in (0, 1, 2, 3, 3, 2, 1, 0)]
    assert [line[2] for line in lines[4:]] == ["0"] * 4
    assert gone(*(int(line[2]) for line in lines[:4]))


SUBINTERPRETER = """
import sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
code = f'''
import sys
sys.path[:0] = {sys.path}
import hardpoint
from hardpoint.contracts import Greeter
try:
    hardpoint.load("LIBRARY", Greeter, isolated=True, binding=BINDING)
except hardpoint.LoadError as error:
    print(error, flush=True)
'''
made = interpreters.create("legacy") if sys.version_info >= (3, 13) else interpreters.create(isolated=False)
interpreters.run_string(made, code)
interpreters.destroy(made)
print("alive")
"""


@pytest.mark.parametrize("binding", [None, "cffi", "ctypes"])
def test_a_subinterpreter_is_refused(english: Path, run_python: RunPython, binding: str | None) -> None:
    code = SUBINTERPRETER.replace("LIBRARY", str(english)).replace("BINDING", repr(binding))
    refusal, alive = run_python(code).stdout.splitlines()
    assert refusal == (
        f"{english} cannot be isolated: needs the main interpreter, found another one, which could not end while threads watch "
        "workers; load it in the main one, or in a process of its own"
    )
    assert alive == "alive"
