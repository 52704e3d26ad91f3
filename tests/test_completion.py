"""Shell completion: the answers to argcomplete's requests, and one test with bash itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Protocol

import pytest

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
COMMAND = BIN / "hardpoint"


class Complete(Protocol):
    def __call__(self, line: str) -> list[str]: ...


@pytest.fixture
def folder(tmp_path: Path, english: Path) -> Path:
    """The user's working directory: plugins, a contract, a source, and other files."""
    shutil.copy(english, tmp_path)
    for name in ("scorer.py", "exam.c"):
        shutil.copy(ROOT / "examples/scorer" / name, tmp_path)
    (tmp_path / "notes.txt").touch()
    (tmp_path / "broken.so").write_text("no library")
    (tmp_path / "plugins").mkdir()
    shutil.copy(english, tmp_path / "plugins/other.so.1")
    return tmp_path


@pytest.fixture
def complete(folder: Path) -> Complete:
    """Return the completions of the last word of a line, by argcomplete's protocol: its answer is on descriptor 8."""

    def run(line: str) -> list[str]:
        env = {
            **os.environ, "_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_SHELL": "bash",
            "_ARGCOMPLETE_COMP_WORDBREAKS": " \t\n\"'><=;|&(:", "COMP_LINE": line, "COMP_POINT": str(len(line)),
        }  # fmt: skip
        words = ["bash", "-c", '"$0" 8>&1 9>&2 1>/dev/null', str(COMMAND)]
        done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stderr.strip()) == (0, "")
        return [word.rstrip(" ") for word in done.stdout.splitlines()]  # a single answer ends in a blank

    return run


def test_commands(complete: Complete) -> None:
    assert {"call", "check", "doctor", "new"} <= set(complete("hardpoint "))
    assert sorted(complete("hardpoint c")) == ["call", "check"]


def test_options_once_there_is_a_dash(complete: Complete) -> None:
    assert complete("hardpoint check --j") == ["--json"]
    assert {"--contract", "--json"} <= set(complete("hardpoint check -"))
    assert not [word for word in complete("hardpoint check ") if word.startswith("-")]


def test_values_of_an_option(complete: Complete) -> None:
    assert complete("hardpoint call --binding ") == ["native", "cffi", "ctypes"]
    assert complete("hardpoint call --binding=c") == ["cffi", "ctypes"]  # the shell breaks words at the =


def test_libraries_and_folders(complete: Complete) -> None:
    assert complete("hardpoint check ") == ["broken.so", "english.so", "plugins/"]
    assert complete("hardpoint check plugins/") == ["plugins/other.so.1"]
    assert complete("hardpoint check nowhere/") == []


def test_checks(complete: Complete) -> None:
    assert {"file.fits", "file.exports"} <= set(complete("hardpoint test english.so --only file."))


def test_sources(complete: Complete) -> None:
    assert complete("hardpoint build ") == ["exam.c", "plugins/"]


def test_methods_of_the_file_that_stands_before(complete: Complete) -> None:
    words = complete("hardpoint call english.so ")
    assert words == ["broken.so", "english.so", "plugins/", "greet", "lang"]
    assert complete("hardpoint call ./english.so gr") == ["greet"]
    assert complete("hardpoint bench english.so la") == ["lang"]
    assert complete("hardpoint call --isolated english.so la") == ["lang"]


def test_plugins_that_hardpoint_list_shows_by_their_names(
    complete: Complete, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARDPOINT_PATH", str(folder / "installed"))
    (folder / "installed").mkdir()
    shutil.copy(folder / "english.so", folder / "installed")
    assert complete("hardpoint call e") == ["english.so", "english"]
    assert complete("hardpoint call english ") == ["greet", "lang"]
    assert complete("hardpoint call english gr") == ["greet"]
    assert complete("hardpoint call nobody ") == []
    assert complete("hardpoint bench e") == ["english.so"]  # bench takes files alone


def test_arguments_after_the_method_are_left_to_the_shell(complete: Complete) -> None:
    assert complete("hardpoint call english.so greet ") == []


def test_methods_of_a_file_that_is_not_a_plugin(complete: Complete) -> None:
    assert complete("hardpoint call broken.so gr") == []
    assert complete("hardpoint call gone.so gr") == []


def test_contracts(complete: Complete) -> None:
    assert complete("hardpoint header ") == [
        "hardpoint.contracts:Greeter", "hardpoint.contracts:Transformer", "scorer:Scorer",
    ]  # fmt: skip
    assert complete("hardpoint check --contract s") == ["scorer:Scorer"]
    assert complete("hardpoint check --contract scorer:") == ["Scorer"]  # bash breaks words at the colon
    assert complete("hardpoint new moin --contract gr") == ["greeter"]


def test_a_module_is_read_and_not_run(complete: Complete, folder: Path) -> None:
    with (folder / "scorer.py").open("a") as module:
        module.write("\nopen('it-ran', 'w')\n")
    assert complete("hardpoint header sco") == ["scorer:Scorer"]
    assert not (folder / "it-ran").exists()


def test_bash_itself(folder: Path) -> None:
    if shutil.which("bash") is None:
        pytest.skip("there is no bash")
    code = """
    eval "$(register-python-argcomplete hardpoint)"
    read -ra spec <<<"$(complete -p hardpoint)"
    for ((i = 0; i < ${#spec[@]}; i++)); do [[ ${spec[i]} == -F ]] && function=${spec[i + 1]}; done
    COMP_WORDS=(hardpoint call english.so gr) COMP_CWORD=3 COMP_LINE="hardpoint call english.so gr" COMP_TYPE=9
    COMP_POINT=${#COMP_LINE}
    $function hardpoint gr english.so
    printf '<%s>' "${COMPREPLY[@]}"
    """
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", code], cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("<greet >", "")


def test_argcompletes_completion_for_all_commands_knows_it() -> None:
    words = [sys.executable, "-m", "argcomplete._check_console_script", str(COMMAND)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_without_the_extra_there_are_no_suggestions_and_no_traceback(
    complete: Complete, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "argcomplete.py").write_text("raise ModuleNotFoundError('no argcomplete')")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    env = {**os.environ, "_ARGCOMPLETE": "1", "COMP_LINE": "hardpoint c", "COMP_POINT": "11"}
    done = subprocess.run([COMMAND], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: hardpoint ")


def test_argcomplete_is_imported_only_for_completion() -> None:
    code = "import sys; from hardpoint.cli import main; main(['include']); sys.exit('argcomplete' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
