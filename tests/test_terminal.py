"""The command line in a terminal, a pipe and a file: widths, closed pipes, stdout for JSON alone, hints."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest

from hardpoint import cli
from hardpoint.cli.commands import COMMANDS
from hardpoint.table import Table, plain

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Compiler

WIDTHS = (40, 60, 80, 120, 200)


def hardpoint(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hardpoint", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def shell(line: str) -> tuple[int, str, str]:
    """Run a line in bash, where `hardpoint` is the command; the status is that of the first command of a pipe."""
    script = f'hardpoint() {{ {sys.executable} -m hardpoint "$@"; }}; {line}; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout, done.stderr


# -- widths ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", WIDTHS)
def test_help_fits_the_terminal(width: int) -> None:
    with patch.dict(os.environ, COLUMNS=str(width)):
        parser = cli._parser()
        [choices] = [each.choices for each in parser._actions if isinstance(each.choices, dict)]
        helps = {"": parser.format_help(), **{name: command.format_help() for name, command in choices.items()}}
    assert len(helps) == len(COMMANDS) + 1
    too_wide = [(name, line) for name, text in helps.items() for line in text.splitlines() if len(line) > width]
    assert not too_wide
    if width == max(WIDTHS):
        assert max(len(line) for text in helps.values() for line in text.splitlines()) > 150


def test_a_broken_example_is_the_same_command() -> None:
    with patch.dict(os.environ, COLUMNS="40"):
        [choices] = [each.choices for each in cli._parser(["call"])._actions if isinstance(each.choices, dict)]
        text = choices["call"].format_help().partition("\nexamples:\n")[2]
    joined = " ".join(text.replace("\\\n", " ").split())
    assert "hardpoint call build/plugins/*.so transform 'Hello, World!' HARDPOINT_PATH=build/plugins" in joined


@pytest.mark.parametrize("width", WIDTHS)
def test_a_table_fits_the_terminal_and_nothing_is_cut_off(width: int) -> None:
    path = "/srv/a folder of plugins/that/is/deep/and-has-a-long-name/" + "x" * 70 + ".so"
    for text_columns in (5, 2):
        table = Table(
            "a title " * 9,
            ("plugin", "contract", "release", "status", "file"),
            [("english", "greeter 1.0", "1.0.0", "does not fit", path), ("", "", "-", "", "y.so")],
            text_columns,
        )
        lines = plain(table, width).splitlines()
        assert max(map(len, lines)) <= width
        assert path.replace(" ", "") in "".join("".join(lines).split()) or width >= 60
        for cell in ("english", "1.0.0"):
            assert any(cell in line for line in lines)
        assert "x" * 70 in "".join("".join(lines).split()) or width >= 60


def test_a_table_follows_columns_and_is_whole_in_a_pipe(
    english: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def listed(columns: str) -> str:
        monkeypatch.setenv("COLUMNS", columns)
        assert cli.main(["list", str(english.parent)]) == 0
        return capsys.readouterr().out

    narrow = listed("40")
    assert max(map(len, narrow.splitlines())) <= 40
    assert str(english) in "".join(narrow.split())
    for columns in ("nonsense", "0", ""):
        assert f"  {english}\n" in listed(columns)


def _bare(line: str) -> int:
    """The columns that a line takes, without colours."""
    return len(re.sub(r"\x1b\[[0-9;]*m", "", line))


OUTPUTS = {
    "doctor": 0, "doctor {english}": 0, "doctor {broken}": 1, "check {english} {broken}": 1, "inspect {english}": 0,
    "test --list": 0, "test {english} --only load": 0,
}  # fmt: skip


@pytest.mark.parametrize("words", OUTPUTS)
@pytest.mark.parametrize("width", [40, pytest.param(80, marks=pytest.mark.long), 200])
def test_output_in_columns_fits_the_terminal_and_is_whole_in_a_pipe(
    words: str,
    width: int,
    english: Path,
    compiler: Compiler,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    broken = compiler.library("broken.c", "-DFLAGS=UINT64_C(1)<<40")
    command = words.format(english=english, broken=broken).split()
    monkeypatch.delenv("COLUMNS", raising=False)
    assert cli.main(command) == OUTPUTS[words]
    piped = capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", str(width))
    assert cli.main(command) == OUTPUTS[words]
    folded = capsys.readouterr().out
    assert max(map(_bare, folded.splitlines())) <= width
    assert max(map(_bare, piped.splitlines())) > 40
    if "test {" not in words:  # it says how long it took
        assert "".join(folded.split()) == "".join(piped.split())


# -- closed pipes and full disks ---------------------------------------------------------------------------------------


LONG = pytest.mark.long


@pytest.mark.parametrize("words", ["list", "--help", pytest.param("list --json", marks=LONG)])
def test_a_closed_pipe_is_no_problem_found(words: str) -> None:
    # `true` has closed the pipe before anything is written to it.
    status, _, complaints = shell(f"(sleep 0.3; exec 3>&1; hardpoint {words}; exit $?) | true")
    assert (status, complaints) == (141, "")


@pytest.mark.parametrize(
    "words", ["--help", pytest.param("--version", marks=LONG), pytest.param("include", marks=LONG)]
)
def test_a_full_disk_is_said(words: str) -> None:
    status, _, complaints = shell(f"hardpoint {words} > /dev/full")
    assert (status, complaints) == (1, "hardpoint: stdout cannot be written: No space left on device\n")


def test_without_any_descriptor_a_command_still_works(english: Path) -> None:
    assert shell(f"hardpoint call --isolated {english} greet World 0<&- 1>&- 2>&-") == (0, "", "")


@pytest.mark.parametrize("closed", ["1>&- 2>&-", "0<&- 1>&- 2>&-"])
def test_a_good_plugin_passes_without_descriptors(english: Path, tmp_path: Path, closed: str) -> None:
    report = tmp_path / "report.xml"
    words = f"test {english} --only file.fits --only load --only calls.tiny --junit {report}"
    assert shell(f"hardpoint {words} {closed}") == (0, "", "")
    assert 'failures="0" errors="0" skipped="0"' in report.read_text()


# -- stdout for the JSON -----------------------------------------------------------------------------------------------

LOUD = """
#include "greeter.h"
#include <stdio.h>
#include <unistd.h>
static hp_status greet(void *self, const char *name, size_t name_len, hp_out *out) {
    (void)self;
    printf("buffered\\n");
    ssize_t written = write(1, "direct\\n", 7);
    return written == 7 ? hp_write(out, name, name_len) : hp_fail(out, HP_FAILED, "stdout is closed");
}
static hp_status lang(void *self, hp_out *out) { (void)self; return hp_puts(out, "test"); }
__attribute__((constructor)) static void begin(void) { printf("begins\\n"); }
__attribute__((destructor)) static void end(void) { printf("ends\\n"); fflush(stdout); }
GREETER_PLUGIN("loud", "1.0.0", .greet = greet, .lang = lang);
"""


@pytest.mark.parametrize("isolated", [[], ["--isolated"]], ids=["in process", "isolated"])
def test_stdout_is_for_the_json_alone(isolated: list[str], compiler: Compiler) -> None:
    library = compiler.text("loud", LOUD)
    done = hardpoint("call", "--json", *isolated, library, "greet", "World")
    assert json.loads(done.stdout) == [{"file": str(library), "plugin": "loud", "result": "World", "changed": {}}]
    assert done.returncode == 0
    assert all(word in done.stderr for word in (["direct"] if isolated else ["buffered", "direct", "begins", "ends"]))


def test_json_without_stderr(compiler: Compiler) -> None:
    library = compiler.text("loud", LOUD)
    status, printed, _ = shell(f"hardpoint call --json {library} greet World 2>&-")
    assert (status, json.loads(printed)[0]["result"]) == (0, "World")


# -- hints -------------------------------------------------------------------------------------------------------------

HINTS = {
    "lst": (2, "no command 'lst'; did you mean list?"),
    "helper": (2, "no command 'helper'; did you mean header?"),
    "xyzzy": (2, "no command 'xyzzy'; hardpoint --help lists them"),
    "--verison": (2, "unknown: --verison; did you mean --version? (write -- before"),
    "call --jsno x.so greet": (2, "unknown: --jsno; did you mean --json? (write -- before"),
    "call --binding nativ x.so greet": (
        2,
        "--binding: it is one of native, cffi, ctypes, not 'nativ'; did you mean native?",
    ),
    "call {english} gret World": (
        2,
        "has no method 'gret'; did you mean greet? it has greet(name: str) -> str, lang()",
    ),
    "header hardpoint.contracts:Greter": (2, "hardpoint.contracts has no Greter; did you mean Greeter"),
    "call ~/english.so lang": (
        3,
        "check the path, or build the plugin; only a shell expands ~, so write /home/me/english.so",
    ),
    "check ~/english.so": (3, "only a shell expands ~, so write /home/me/english.so"),
    "list --allow ~/x.lock": (1, "write it with `hardpoint lock`; only a shell expands ~, so write /home/me/x.lock"),
    "list ~/plugins": (3, "no such folder; check the path; only a shell expands ~, so write /home/me/plugins"),
}


@pytest.mark.parametrize("words", HINTS)
def test_hints(words: str, english: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    status, hint = HINTS[words]
    monkeypatch.setenv("HOME", "/home/me")
    try:
        found = cli.main(words.format(english=english).split())
    except SystemExit as end:  # argparse's
        found = int(end.code or 0)
    assert (found, hint in capsys.readouterr().err) == (status, True)


@pytest.mark.parametrize("variable", ["CC", "CFLAGS", "LDFLAGS"])
def test_a_quote_that_is_not_closed(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.c").touch()
    monkeypatch.setenv(variable, '"gcc')
    assert cli.main(["build", str(tmp_path / "x.c")]) == 1
    why = f'{variable}="gcc cannot be split into words: no closing quotation; correct its quotes\n'
    assert capsys.readouterr().err == f"hardpoint: {why}"
