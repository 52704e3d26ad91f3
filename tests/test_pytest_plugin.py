"""The fixture `plugin`: pytest is run in a folder with an author's tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest
from test_tutorial import exam, scorer  # noqa: F401 - fixtures

if TYPE_CHECKING:
    from conftest import Compiler

GREETS = """
def test_greets(plugin):
    assert plugin.greet("World") == "Hello, World! Nice to meet you."
"""
TWO = """
#include "greeter.h"
#include "transformer.h"
static hp_status greet(void *self, const char *name, size_t name_len, hp_out *out) {
    (void)self;
    return hp_write(out, name, name_len);
}
static hp_status lang(void *self, hp_out *out) { (void)self; return hp_puts(out, "none"); }
GREETER_PLUGIN("two", "1.0.0", .greet = greet, .lang = lang);
TRANSFORMER_PLUGIN("two", "1.0.0", .transform = greet);
"""


OTHERS = [f"-pno:{entry.name}" for entry in entry_points(group="pytest11") if entry.name != "hardpoint"]
"""Without the other plugins that are installed here, pytest starts in half the time."""


class Outcome:
    """The output of a run of pytest, and its last line: how many tests passed, failed or were errors."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.text = done.stdout + done.stderr
        self.last = done.stdout.splitlines()[-1].partition(" in ")[0] if done.stdout else ""


class RunTests(Protocol):
    def __call__(self, code: str, *words: str | Path) -> Outcome: ...


@pytest.fixture
def run_tests(tmp_path: Path) -> RunTests:
    """Run pytest strictly on one file of tests; it finds hardpoint's plugin by the entry point."""

    def run(code: str, *words: str | Path) -> Outcome:
        (tmp_path / "test_it.py").write_text(code)
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "--strict-markers",
            "--strict-config",
            "-Werror",
            "-rA",
            *OTHERS,
        ]
        env = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
        return Outcome(
            subprocess.run(
                [*command, *map(str, words)],
                cwd=tmp_path,
                env=env,
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )
        )

    return run


def test_two_lines_are_a_test(run_tests: RunTests, english: Path) -> None:
    assert run_tests(GREETS, "--plugin", english).last == "1 passed"
    failed = run_tests(GREETS.replace("Nice", "Good"), "--plugin", english)
    assert failed.last == "1 failed"
    assert "E         - Hello, World! Good to meet you.\n" in failed.text


def test_the_file_may_be_in_the_settings(run_tests: RunTests, english: Path, tmp_path: Path) -> None:
    (tmp_path / "build").mkdir()
    shutil.copy(english, tmp_path / "build")
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\nhardpoint_plugin = "build/english.so"\n')
    (tmp_path / "deeper").mkdir()
    assert run_tests(GREETS).last == "1 passed"
    assert run_tests(GREETS, "--rootdir", tmp_path, "deeper/../test_it.py").last == "1 passed"
    other = run_tests(
        GREETS, "--plugin", "no/such.so"
    )  # the option overrides the setting, and is relative to the working directory
    assert f"{tmp_path}/no/such.so: there is no such file; check the path, or build the plugin\n" in other.text


def test_without_a_file_it_is_an_error_and_not_skipped(run_tests: RunTests) -> None:
    outcome = run_tests(GREETS + "\ndef test_another(): ...\n")
    assert outcome.last == "1 passed, 1 error"
    assert (
        "the fixture `plugin` has no file to load; run pytest --plugin=FILE, or set hardpoint_plugin = FILE in "
        "pytest's settings, such as [tool.pytest.ini_options] of pyproject.toml\n"
    ) in outcome.text


def test_a_file_that_does_not_fit_is_an_error_in_hardpoints_words(run_tests: RunTests, english: Path) -> None:
    outcome = run_tests(GREETS, "--plugin", english, "--plugin-contract", "hardpoint.contracts:Transformer")
    assert outcome.last == "1 error"
    sentence = (
        f"{english} does not fit transformer 1.0: needs a plugin for transformer 1.0, found one for greeter 1.0; load it "
        "with that contract's class, or use another plugin [contract-other]"
    )
    assert f"_ ERROR at setup of test_greets _________________________\n{sentence}\n====" in outcome.text


def test_a_contract_that_is_not_there(run_tests: RunTests, english: Path) -> None:
    outcome = run_tests(GREETS, "--plugin", english, "--plugin-contract", "nobody:Nobody")
    assert (
        "\nnobody:Nobody cannot be imported: no module named nobody in this folder or installed; add its folder to PYTHONPATH\n"
        in outcome.text
    )


def test_each_test_has_a_fresh_instance_which_is_closed(run_tests: RunTests, english: Path) -> None:
    code = """
import hardpoint, pytest
seen = []

@pytest.mark.parametrize("number", range(3))
def test_greets(plugin, number):
    assert plugin not in seen
    seen.append(plugin)
    for older in seen[:-1]:
        with pytest.raises(hardpoint.ClosedError):
            older.lang()
    assert plugin.lang() == "English"
"""
    assert run_tests(code, "--plugin", english).last == "3 passed"


SCORES = """
import pytest
from scorer import Scorer

@pytest.mark.hardpoint(contract=Scorer)
def test_the_contracts_body_answers(plugin):
    assert isinstance(plugin, Scorer)
    assert plugin.grade(50.0) == "pass"
"""


def test_the_contract_by_marker_by_option_and_by_settings(
    run_tests: RunTests, exam: Path, tmp_path: Path  # noqa: F811
) -> None:  # fmt: skip
    shutil.copy(Path(__file__).parent.parent / "examples/scorer/scorer.py", tmp_path)
    assert run_tests(SCORES, "--plugin", exam).last == "1 passed"
    unmarked = SCORES.replace("@pytest.mark.hardpoint(contract=Scorer)\n", "")
    without = run_tests(unmarked, "--plugin", exam)  # a manifest has neither a Python class nor a method's body
    assert without.last == "1 failed"
    assert run_tests(unmarked, "--plugin", exam, "--plugin-contract", "scorer:Scorer").last == "1 passed"
    (tmp_path / "pytest.ini").write_text("[pytest]\nhardpoint_contract = scorer:Scorer\n")
    assert run_tests(unmarked, f"--plugin={exam}").last == "1 passed"


MARKED = """
import hardpoint, pytest

pytestmark = pytest.mark.hardpoint(isolated=True)

@pytest.mark.hardpoint(config={"wanted": 5})
def test_both(plugin):
    assert hardpoint.info(plugin).isolation
    assert plugin.score(b"forty", 10, 1.0, True) == 10.0

@pytest.mark.parametrize("length", [pytest.param(n, marks=pytest.mark.hardpoint(config={"wanted": n})) for n in (3, 7)])
def test_configs(plugin, length):
    assert plugin.score(b"x" * (length - 1), 10, 1.0, True) == 0.0
    assert plugin.score(b"x" * length, 10, 1.0, True) == 10.0

@pytest.mark.hardpoint(isolated=False, binding="ctypes")
def test_the_nearest_has_the_last_word(plugin):
    assert not hardpoint.info(plugin).isolation
    assert hardpoint.info(plugin).binding == "ctypes"
"""


def test_the_marker_takes_what_load_takes(run_tests: RunTests, exam: Path) -> None:  # noqa: F811
    assert run_tests(MARKED, "--plugin", exam).last == "4 passed"


CRASHING = """
#include <stdlib.h>
#include "greeter.h"
static hp_status greet(void *self, const char *name, size_t name_len, hp_out *out) {
    (void)self;
    if (name_len == 0) {
        abort();
    }
    return hp_write(out, name, name_len);
}
static hp_status lang(void *self, hp_out *out) { (void)self; return hp_puts(out, "none"); }
GREETER_PLUGIN("crashing", "1.0.0", .greet = greet, .lang = lang);
"""
CRASHES = """
import hardpoint, pytest

def test_before(plugin):
    assert hardpoint.info(plugin).isolation
    assert plugin.greet("x") == "x"

def test_crash(plugin):
    plugin.greet("")

def test_after(plugin):
    assert plugin.lang() == "none"

@pytest.mark.hardpoint(isolated=False, binding="cffi")
def test_in_process_by_marker(plugin):
    assert not hardpoint.info(plugin).isolation

@pytest.mark.hardpoint(binding="cffi")
def test_a_binding_is_for_this_process(plugin):
    assert not hardpoint.info(plugin).isolation
"""


def test_a_crash_fails_one_test_if_plugins_run_isolated(
    run_tests: RunTests, compiler: Compiler, tmp_path: Path
) -> None:
    library = compiler.text("crashing", CRASHING)
    (tmp_path / "pytest.ini").write_text("[pytest]\nhardpoint_isolated = true\n")
    outcome = run_tests(CRASHES, f"--plugin={library}")
    assert outcome.last == "1 failed, 4 passed"
    assert "FAILED test_it.py::test_crash - hardpoint.errors.CrashedError: " in outcome.text
    code = "import hardpoint\ndef test_it(plugin):\n    assert not hardpoint.info(plugin).isolation\n"
    assert run_tests(code, f"--plugin={library}", "-o", "hardpoint_isolated=false").last == "1 passed"


def test_a_config_that_the_plugin_refuses(run_tests: RunTests, exam: Path) -> None:  # noqa: F811
    code = "import pytest\n@pytest.mark.hardpoint(config='a long story')\ndef test_it(plugin): ...\n"
    outcome = run_tests(code, "--plugin", exam)
    assert outcome.last == "1 error"
    assert "config, line 1, column 1: expected a value\n====" in outcome.text


@pytest.mark.parametrize("arguments", ["1, 2", "confg='5'"])
def test_an_invalid_marker(run_tests: RunTests, english: Path, arguments: str) -> None:
    outcome = run_tests(
        f"import pytest\n@pytest.mark.hardpoint({arguments})\ndef test_it(plugin): ...\n", "--plugin", english
    )
    assert outcome.last == "1 error"
    assert (
        "\nwrong arguments of the marker; it takes hardpoint(*, contract=None, config=None, binding=None"
        in outcome.text
    )


def test_a_library_with_two_contracts_needs_one_named(run_tests: RunTests, compiler: Compiler) -> None:
    library = compiler.text("two", TWO)
    code = "def test_it(plugin):\n    assert plugin.transform('x') == 'x'\n"
    outcome = run_tests(code, "--plugin", library)
    assert (
        f"\n{library} has plugins for transformer 1.0, greeter 1.0; say which with --plugin-contract=MODULE:CLASS, or a "
        "marker\n"
    ) in outcome.text
    assert (
        run_tests(code, "--plugin", library, "--plugin-contract", "hardpoint.contracts:Transformer").last == "1 passed"
    )


def test_a_run_that_does_not_use_it_imports_nothing_of_hardpoint(run_tests: RunTests) -> None:
    code = """
import sys

def test_it():
    assert [name for name in sys.modules if name.startswith("hardpoint")] == ["hardpoint_pytest"]
"""
    assert run_tests(code).last == "1 passed"


def test_a_fixture_of_the_same_name_takes_precedence(run_tests: RunTests) -> None:
    code = "import pytest\n@pytest.fixture\ndef plugin(): return 5\ndef test_it(plugin):\n    assert plugin == 5\n"
    assert run_tests(code).last == "1 passed"


def test_it_explains_itself(run_tests: RunTests) -> None:
    text = " ".join(run_tests("", "--help").text.split())
    assert "--plugin=FILE The library that the fixture `plugin` is loaded from" in text
    assert "hardpoint_plugin (string): The default of --plugin, relative to the rootdir" in text
    assert "plugin -- " in run_tests("", "--fixtures").text
    assert "@pytest.mark.hardpoint(*, contract=None," in run_tests("", "--markers").text
