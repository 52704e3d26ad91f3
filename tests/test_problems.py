"""The table of problems: each code that is raised has a row, each row is raised, tested and shown with an example."""

from __future__ import annotations

import re
from importlib import import_module
from string import Formatter
from typing import TYPE_CHECKING

import pytest
from conftest import ROOT
from test_refusals import INCOMPATIBLE

from hardpoint import Problem
from hardpoint.cli.stages import STAGES
from hardpoint.problems import ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator

RAISED = re.compile(r'\b(?:Problem\.of|ElfError)\(\s*"([^"]+)"')


def raised() -> Iterator[str]:
    for path in (ROOT / "src").rglob("*.py"):
        yield from RAISED.findall(path.read_text())


def names_in(template: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(template) if name}


def test_each_code_that_is_raised_has_a_row_and_each_row_is_raised() -> None:
    assert set(raised()) == set(ROWS)


def test_problems_are_made_from_their_rows_only() -> None:
    direct = [path for path in (ROOT / "src").rglob("*.py") if re.search(r"\bProblem\(", path.read_text())]
    assert [path.name for path in direct] == ["errors.py"]  # where the class is defined


@pytest.mark.parametrize("code", ROWS)
def test_a_row_is_complete(code: str) -> None:
    row = ROWS[code]
    assert (row.code, row.cause[-1]) == (code, ".")
    assert row.stage in {*STAGES, "trust", "environment"}
    assert set(row.example) == {"found"} | names_in(row.needs) | names_in(row.fix)
    example = Problem.of(code, **row.example)
    assert all(example[:4])
    assert example.fatal == row.fatal


def test_a_row_can_be_replaced_in_part() -> None:
    made = Problem.of("elf-machine", "AArch64", fix="buy another", machine="x86-64")
    assert made == ("elf-machine", "a library for x86-64", "AArch64", "buy another", True)
    made = Problem.of("static-tls", "{found}", needs="{needs}")
    assert made[1:3] == ("{needs}", "{found}")
    assert not made.fatal


def test_each_code_is_made_to_happen_by_a_test() -> None:
    tests = "".join(path.read_text() for path in (ROOT / "tests").glob("test_*.py") if path.name != "test_problems.py")
    assert [code for code in ROWS if not re.search(rf'(["\[]|problem |warning ){code}["\]\\]', tests)] == []


def test_examples_are_what_is_said_of_broken_libraries() -> None:
    said = {(case.code, case.needs, case.found, case.fix) for case in INCOMPATIBLE.values()}
    codes = {code for code, *_ in said}
    assert {Problem.of(code, **ROWS[code].example)[:4] for code in codes} <= said


def test_the_page_has_every_problem_in_its_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs")
    page = import_module("problems").render()
    assert sorted(re.findall("^#### (.*)$", page, re.MULTILINE)) == sorted(ROWS)
    assert "- *needs*: a regular file\n- *found*: a directory\n- *do*: give the path of a .so file\n" in page
