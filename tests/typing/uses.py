"""Uses of the public API that mypy --strict and pyright strict accept. Nothing here runs."""

import array
import asyncio
import mmap
import os
from collections.abc import Callable, Coroutine  # noqa: TC003 - used as a host's module does
from pathlib import Path
from typing import Any, Protocol, assert_type, runtime_checkable

import hardpoint
from hardpoint import Buffer, Problem, WritableBuffer
from hardpoint.contracts import Greeter, Transformer


@hardpoint.contract("scorer", version="1.1")
@runtime_checkable
class Scorer(Protocol):
    """A contract of the user."""

    @hardpoint.quick
    def score(self, points: int, weight: float, final: bool) -> float: ...

    def digest(self, data: Buffer) -> bytes: ...

    @hardpoint.since("1.1")
    def clear(self, data: WritableBuffer) -> None: ...


def loading(path: Path) -> None:
    english = hardpoint.load(path, Greeter)
    assert_type(english, Greeter)
    assert_type(english.greet("x"), str)
    assert_type(english.greet(name="x"), str)
    assert_type(english.lang(), str)
    assert_type(hardpoint.load("x.so", Transformer), Transformer)
    assert_type(hardpoint.load(path, Greeter, config="x", binding="ctypes", sha256="0" * 64), Greeter)
    assert_type(hardpoint.load(path, Greeter, config={"volume": 11, "words": ["x"]}, binding=None), Greeter)
    with os.scandir("plugins") as entries:
        assert_type([hardpoint.load(entry, Greeter) for entry in entries], list[Greeter])


def loading_by_name(path: Path) -> None:
    registry = hardpoint.Registry.discover([path, "plugins"], allow=hardpoint.Allow(owners=["root", 1000]))
    assert_type(registry, hardpoint.Registry)
    assert_type(registry.load("english", Greeter), Greeter)
    assert_type(registry.load("english", Greeter, release=">=1.2,<2", config="x", isolated=True), Greeter)
    greeters = registry.load_all(Greeter, binding="cffi")
    assert_type(greeters["english"].greet("x"), str)
    assert_type(greeters.failed["spanish"], hardpoint.HardpointError)
    for found in hardpoint.Registry((), allow="hardpoint.lock"):
        assert_type(found, hardpoint.FoundPlugin)
        assert_type(found.name, str | None)
        assert_type(found.problems, tuple[Problem, ...])
    registry.add("polite", Greeter, Polite())
    registry.add("polite", Greeter, Polite)


class Polite:
    def greet(self, name: str) -> str:
        return f"Good morning, {name}."

    def lang(self) -> str:
        return "English"


def loading_for_a_while(path: str) -> None:
    with hardpoint.loaded(path, Greeter) as english:
        assert_type(english, Greeter)
    with hardpoint.loaded(path, Scorer, config="x", binding="cffi", sha256=None) as scorer:
        assert_type(scorer, Scorer)


def a_contract_of_ones_own(path: str) -> None:
    scorer = hardpoint.load(path, Scorer)
    assert_type(scorer, Scorer)
    assert_type(scorer.score(1, 2.5, True), float)
    assert_type(scorer.score(points=1, weight=2, final=False), float)
    for data in (b"x", bytearray(), memoryview(b"x"), array.array("d", [1.0]), mmap.mmap(-1, 4096)):
        assert_type(scorer.digest(data), bytes)
    scorer.clear(bytearray(b"x"))
    scorer.clear(memoryview(bytearray(b"x")))
    scorer.clear(array.array("q", [1]))
    scorer.clear(mmap.mmap(-1, 4096))
    hardpoint.close(scorer)


def by_structure(greeter: object) -> None:
    class Polite:
        def greet(self, name: str) -> str:
            return name

        def lang(self) -> str:
            return ""

    here: Greeter = Polite()
    assert_type(here.lang(), str)
    if isinstance(greeter, Greeter):
        assert_type(greeter.greet("x"), str)


def what_is_known(english: Greeter) -> None:
    about = hardpoint.info(english)
    assert_type(about, hardpoint.Info)
    assert_type(about.path, str)
    assert_type(about.binding, str)
    assert_type(about.sha256, str | None)
    assert_type(about.warnings, tuple[Problem, ...])
    assert_type(about.manifest.abi, tuple[int, int])
    assert_type(about.manifest.contract, str)
    assert_type(about.manifest.version, tuple[int, int])
    assert_type(about.manifest.plugin, str)
    assert_type(about.manifest.release, str)
    assert_type(about.manifest.methods, tuple[str, ...])
    assert_type(about.manifest.text, bytes)
    assert_type(about.contract.name, str)
    assert_type(about.contract.version, str)
    assert_type([method.text for method in about.contract.methods], list[str])


async def awaiting(english: Greeter, scorer: Scorer, path: Path) -> None:
    assert_type(await hardpoint.awaitable(english.greet)("x"), str)
    assert_type(await hardpoint.awaitable(scorer.score)(1, weight=2.5, final=True), float)
    assert_type(await hardpoint.awaitable(scorer.clear)(bytearray(b"x")), None)
    greeter = hardpoint.awaitable(english)
    greeting: str = await greeter.greet("x")
    task = asyncio.create_task(greeter.lang())
    assert_type(task, asyncio.Task[Any])
    await asyncio.gather(greeter.greet("x"), hardpoint.awaitable(english.lang)())
    coroutine: Callable[..., Coroutine[Any, Any, Any]] = greeter.greet
    del greeting, coroutine
    assert_type(await hardpoint.awaitable(hardpoint.load(path, Greeter).greet)("x"), str)


def errors(path: str) -> None:
    try:
        hardpoint.load(path, Greeter)
    except (hardpoint.NotAPluginError, hardpoint.IncompatibleError) as error:
        assert_type(error.problems, tuple[Problem, ...])
        for problem in error.problems:
            assert_type((problem.code, problem.needs, problem.found, problem.fix), tuple[str, str, str, str])
            assert_type(problem.fatal, bool)
    except hardpoint.PluginError as error:
        assert_type(error.status, int)
        assert_type(error.text, str)
    except hardpoint.HardpointError as error:
        assert_type((error.path, error.plugin, error.method), tuple[str | None, str | None, str | None])
    as_python_has_it: type[TypeError] = hardpoint.DefinitionError
    assert_type(hardpoint.__version__, str)
    del as_python_has_it
