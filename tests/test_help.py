"""The help of every command: its sentence, its options, examples that parse, and the table of commands."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest

from hardpoint import cli
from hardpoint.cli import commands

if TYPE_CHECKING:
    from hardpoint.cli.commands import Command

ROOT = Path(__file__).parent.parent
_SUBCOMMAND = re.compile(r"\$\((hardpoint [^)]*)\)")


def _parsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of each command."""
    [choices] = [each for each in cli._parser()._actions if isinstance(each, argparse._SubParsersAction)]
    return choices.choices


PARSERS = _parsers()
COMMANDS = list(PARSERS)


def examples(command: str) -> list[str]:
    """Return the lines of its last section, `examples:`."""
    with patch.dict(os.environ, COLUMNS="200"):  # no line is broken
        _, section, lines = PARSERS[command].format_help().partition("\nexamples:\n")
    assert section, f"{command} shows no example"
    assert all(line.startswith("  ") for line in lines.splitlines())
    return [line.strip() for line in lines.splitlines()]


EXAMPLES = [(command, line) for command in COMMANDS for line in examples(command)]


@cache
def help_of(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "hardpoint", *words, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert done.stderr == ""
    return done.stdout


def words_of(line: str) -> list[list[str]]:
    """Return the hardpoint commands in a line of shell: in substitutions, and before a pipe or redirection."""
    inner = [word for each in _SUBCOMMAND.findall(line) for word in words_of(each)]
    lexer = shlex.shlex(_SUBCOMMAND.sub("SUBSTITUTED", line), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = list(lexer)
    end = next((index for index, word in enumerate(words) if word in {">", "|", "&&", ";"}), len(words))
    start = words.index("hardpoint") if "hardpoint" in words else end  # perhaps after `python -m`
    return [*inner, *([words[start + 1 : end]] if start < end else [])]


def test_the_commands_are_all_there() -> None:
    assert re.findall(r"^    (\w+) {2,}\S", help_of().partition("commands:")[2], re.MULTILINE) == COMMANDS
    assert {"call", "inspect", "check", "doctor", "bench", "header", "include"} <= set(COMMANDS)
    assert len(COMMANDS) == len(commands.COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_it_says_what_it_does_in_a_sentence(command: str) -> None:
    first = help_of(command).partition("\n\n")[2].partition("\n\n")[0]
    assert re.fullmatch(r"[A-Z][^\n]*\.", first)
    assert len(first) < 120


@pytest.mark.parametrize("command", COMMANDS)
def test_it_ends_with_examples(command: str) -> None:
    _, _, lines = help_of(command).partition("\nexamples:\n")
    assert [line.strip() for line in lines.splitlines()] == examples(command) != []


@pytest.mark.parametrize("command", COMMANDS)
def test_it_names_no_page_that_an_installed_package_has_not(command: str) -> None:
    assert "docs/" not in help_of(command)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_option_is_described(command: str) -> None:
    for action in PARSERS[command]._actions:
        what = action.metavar or action.option_strings
        assert action.help, f"{command} {what}"
        assert not action.help.endswith("."), f"{command} {what}"


@pytest.mark.parametrize(("command", "line"), EXAMPLES, ids=[line for _, line in EXAMPLES])
def test_an_example_is_an_existing_command(command: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / "examples/scorer")  # where the examples' scorer:Scorer is
    monkeypatch.syspath_prepend(ROOT / "examples/scorer")
    found = words_of(line)
    assert any(words[0] == command for words in found), f"it is an example of something else than {command}"
    for words in found:
        assert cli._parse(words).command.prog == f"hardpoint {words[0]}"


# -- the table of commands ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", commands.COMMANDS, ids=lambda command: command.name)
def test_its_row_has_the_first_line_of_its_modules_docstring(command: Command) -> None:
    module = import_module(f"hardpoint.cli.{command.module}")
    assert (module.__doc__ or "").partition("\n")[0] == command.help


@pytest.mark.parametrize(
    ("words", "imported"),
    [
        (["--help"], []),
        (["--version"], []),
        ([], []),
        (["nothing"], []),
        (["include"], ["include"]),
        (["header", "--help"], ["header"]),
        (["lock", "--help"], ["list", "lock"]),  # lock uses list's search
        (["--wrong", "header", "hardpoint.contracts:Greeter"], ["header"]),
    ],
    ids=lambda words: " ".join(words) or "none",
)
def test_a_command_is_imported_when_it_is_run(words: list[str], imported: list[str]) -> None:
    code = f"""if True:
    import sys
    from hardpoint.cli import main
    from hardpoint.cli.commands import COMMANDS
    try:
        main({words})
    except SystemExit:
        pass
    print(sorted(each.name for each in COMMANDS if f"hardpoint.cli.{{each.module}}" in sys.modules), file=sys.stderr)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == str(imported)
