"""docs/errors.md: the message that it quotes for each class is compared with a real one."""

from __future__ import annotations

import os
import re
import runpy
import shutil
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from conftest import ROOT

import hardpoint
from hardpoint.contracts import Greeter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Compiler

PAGE = (ROOT / "docs/errors.md").read_text().partition("## What to do")[2].partition("## The problems")[0]
QUOTED: dict[str, str] = dict(re.findall(r"^\*\*`(\w+)`\*\*: (?:.+\n)+\n- `(.*)`$", PAGE, re.MULTILINE))

BAD = """
#include <stdlib.h>
#include <unistd.h>
#include "greeter.h"
static hp_status greet(void *self, const char *name, size_t name_len, hp_out *out) {
    (void)self;
    if (name_len == strlen("status")) {
        return -7;
    }
    if (name_len == strlen("abort")) {
        abort();
    }
    while (name_len == strlen("hang")) {
        pause();
    }
    return hp_write(out, name, name_len);
}
static hp_status lang(void *self, hp_out *out) { return (void)self, hp_puts(out, "English"); }
GREETER_PLUGIN("fragile", "1.0.0", .greet = greet, .lang = lang);
"""


def define() -> None:
    class Parser(Protocol):
        def parse(self) -> dict[str, str]: ...

    Parser.parse.__annotations__["return"] = dict
    Parser.__qualname__ = "Parser"
    hardpoint.contract("parser", version="1.0")(Parser)


def go_stale() -> None:
    registry = hardpoint.Registry(["."])
    os.utime("english.so", (0, 0))
    registry.load("english", Greeter)


def score() -> None:
    scorer = runpy.run_path(str(ROOT / "examples/scorer/scorer.py"))["Scorer"]
    hardpoint.load("exam.so", scorer).score(b"forty-two", -1, 1.5, strict=True)


def call_closed() -> None:
    english = hardpoint.load("english.so", Greeter)
    hardpoint.close(english)
    english.greet("you")


def isolated(name: str, timeout: float) -> None:
    with hardpoint.loaded("fragile.so", Greeter, isolated=hardpoint.Isolation(timeout=timeout)) as plugin:
        plugin.greet(name)


MADE_TO_HAPPEN: dict[str, Callable[[], Any]] = {
    "DefinitionError": define,
    "PluginNotFoundError": lambda: hardpoint.load("french.so", Greeter),
    "StaleError": go_stale,
    "ContractBrokenError": lambda: hardpoint.load("fragile.so", Greeter).greet("status"),
    "CreateError": lambda: hardpoint.load("english.so", Greeter, config="x"),
    "CallError": score,
    "CrashedError": lambda: isolated("abort", 30),
    "TimedOutError": lambda: isolated("hang", 2),
    "ClosedError": call_closed,
}


@pytest.mark.parametrize("name", MADE_TO_HAPPEN)
def test_the_quoted_message_is_a_real_one(
    compiler: Compiler, english: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    compiler.header(runpy.run_path(str(ROOT / "examples/scorer/scorer.py"))["Scorer"])
    for made, library in {
        "english": english,
        "exam": compiler.library(str(ROOT / "examples/scorer/exam.c")),
        "fragile": compiler.text("fragile", BAD),
    }.items():
        shutil.copy(library, tmp_path / f"{made}.so")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(getattr(hardpoint, name)) as caught:
        MADE_TO_HAPPEN[name]()
    assert str(caught.value).partition("\n")[0] == QUOTED[name]


def test_every_class_is_quoted() -> None:
    with_problems = {"NotAPluginError", "IncompatibleError"}
    classes = {
        name for name, each in vars(hardpoint).items() if isinstance(each, type) and issubclass(each, hardpoint.HardpointError)
    }  # fmt: skip
    assert {*QUOTED} == classes - with_problems - {"HardpointError", "PluginError"}
    assert {*QUOTED} - {*MADE_TO_HAPPEN} == {"LoadError"}  # its message is the dynamic linker's
