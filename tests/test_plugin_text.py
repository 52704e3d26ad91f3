"""Text of plugins and files in messages, logs and on the terminal: it forges no line, and drives no terminal."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from queue import Queue
from typing import TYPE_CHECKING, Protocol

import pytest

import hardpoint
from hardpoint.cli import main
from hardpoint.contracts import Greeter

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Compiler, Fresh

FORGED = "hardpoint: forged: fits greeter 1.0"
EVIL = f"evil\n{FORGED}\n\x1b]0;owned\x07\x1b[31m\u202e"
"""A line of its own, a title for the window, a colour, and a mark that reverses the text."""
CONTROLS = ("\x1b", "\x07", "\u202e", "\r")

SAYS = r"""
#include "greeter.h"
static hp_status greet(void *self, const char *name, size_t name_len, hp_out *out) {
    (void)self, (void)name;
    if (name_len > 1) {
        return hp_fail(out, HP_FAILED, TEXT);
    }
    return hp_puts(out, TEXT);
}
static hp_status lang(void *self, hp_out *out) { return (void)self, hp_puts(out, "English"); }
static const hp_host *host_of;
static hp_status create(const hp_host *host, const char *config, size_t config_len, void **self, hp_out *out) {
    (void)config, (void)config_len, (void)out;
    hp_log(host, HP_LOG_WARNING, "%s\n", TEXT);
    *self = &host_of;
    return HP_OK;
}
GREETER_PLUGIN("says", "1.0.0", .create = create, .greet = greet, .lang = lang);
"""


def check(text: str) -> None:
    """Fail if a line was forged or a control character was passed on."""
    assert FORGED in text  # it is shown, on the line of what it is a part of
    assert not any(line.lstrip(" |").startswith(FORGED) for line in text.splitlines())
    assert not [char for char in CONTROLS if char in text]


@pytest.fixture(scope="module")
def says(compiler: Compiler) -> Path:
    compiler.header(Greeter)
    in_c = '"' + "".join(f"\\{byte:03o}" for byte in EVIL.encode()) + '"'
    return compiler.text("says", f"#define TEXT {in_c}\n{SAYS}")


@pytest.fixture(scope="module")
def needs_evil(compiler: Compiler) -> Path:
    """A greeter that needs a library with that name, which isn't there."""
    library = compiler.text("evil", "int evil(void); int evil(void) { return 0; }", f"-Wl,-soname,{EVIL}")
    return compiler.library("english/english.c", "-Wl,--no-as-needed", str(library), f"-Wl,-rpath,{EVIL}")


class Shown(Protocol):
    def __call__(self, *words: str | Path, columns: int = 1000) -> str: ...


@pytest.fixture
def shown(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shown:
    """Run a command as on a terminal; return everything that it prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")

    def run(*words: str | Path, columns: int = 1000) -> str:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        monkeypatch.setenv("COLUMNS", str(columns))
        main([str(word) for word in words])
        found = capfd.readouterr()
        return found.out + found.err

    return run


@pytest.mark.parametrize(
    "words",
    [["check"], ["inspect"], ["doctor"], ["call", "lang"], ["test", "--only", "file"]],
    ids=lambda words: words[0],
)
def test_the_name_of_a_needed_library(needs_evil: Path, shown: Shown, words: list[str]) -> None:
    check(shown(words[0], needs_evil, *words[1:]))


def test_a_problem_and_its_error(needs_evil: Path) -> None:
    with pytest.raises(hardpoint.IncompatibleError) as caught:
        hardpoint.load(needs_evil, Greeter)
    check(str(caught.value))
    [problem] = caught.value.problems
    assert all(text.isprintable() for text in problem[:4])


def test_the_name_of_a_file(english: Path, needs_evil: Path, tmp_path: Path, shown: Shown) -> None:
    folder = tmp_path / "plugins"
    folder.mkdir()
    shutil.copy(english, folder / f"good{EVIL}.so")
    shutil.copy(needs_evil, folder / f"bad{EVIL}.so")
    (folder / f"broken{EVIL}.so").write_bytes(b"\x7fELF")
    commands: list[list[str | Path]] = [
        ["list", folder], ["lock", folder], ["check", folder / f"good{EVIL}.so"], ["doctor", folder / f"bad{EVIL}.so"],
        ["inspect", folder / f"good{EVIL}.so"], ["call", folder / f"good{EVIL}.so", "nothing"],
        ["call", folder / f"broken{EVIL}.so", "lang"], ["test", folder / f"good{EVIL}.so", "--only", "file.fits"],
    ]  # fmt: skip
    for words in commands:
        check(shown(*words))
    registry = hardpoint.Registry([folder])
    with pytest.raises(hardpoint.PluginNotFoundError) as caught:
        registry.load("english", Greeter, release=">9")
    check(str(caught.value))
    with pytest.raises(hardpoint.NotAPluginError) as error:
        hardpoint.load(folder / f"broken{EVIL}.so", Greeter)
    check(str(error.value))
    assert error.value.path == str(folder / f"broken{EVIL}.so")


def test_a_result_and_a_reason(says: Path, english: Path, shown: Shown) -> None:
    text = shown("call", says, "greet", "x")
    assert not [char for char in CONTROLS if char in text]
    assert f"\n{FORGED}" in text  # a text of several lines, which is all that there is
    check(shown("call", says, english, "greet", "x"))
    check(shown("call", says, "greet", "failure"))
    check(shown("call", "-v", says, "greet", "failure"))
    check(shown("call", "--isolated", says, "greet", "failure"))


def test_a_result_in_a_pipe_is_unchanged(says: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hardpoint", "call", str(says), "greet", "x"], capture_output=True, check=True
    )
    assert done.stdout.decode() == f"{EVIL}\n"


@pytest.mark.parametrize("isolated", [False, True], ids=["in process", "isolated"])
def test_an_error_and_a_log_record(says: Path, fresh: Fresh, isolated: bool) -> None:
    records: Queue[str] = Queue()
    handler = logging.Handler()
    handler.emit = lambda record: records.put(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("hardpoint.plugin.says").addHandler(handler)
    plugin = hardpoint.load(fresh(says), Greeter, isolated=isolated)
    with pytest.raises(hardpoint.CallError) as caught:
        plugin.greet("failure")
    assert caught.value.text == EVIL  # as it is, for a host that shows it elsewhere
    check(str(caught.value))
    assert "\n" not in str(caught.value)
    message = records.get(timeout=10)
    hardpoint.close(plugin)
    logging.getLogger("hardpoint.plugin.says").removeHandler(handler)
    check(message)
    assert "\n" not in message
    assert not message.endswith("\\n")  # one that only ends the line


def test_ordinary_text_is_left_alone() -> None:
    text = "naïve «\xa0déjà\u202f» 日本\u3000語 👩\u200d🚀 क्\u200cष"
    assert str(hardpoint.CallError(text)) == text
    assert str(hardpoint.HardpointError("two\nlines", path="x")) == "two\nlines"


def test_the_dynamic_linkers_words(compiler: Compiler, tmp_path: Path) -> None:
    library = compiler.library("broken.c", "-DUNDEFINED", "-DGREET=nowhere", "-Wl,-z,undefs")
    (tmp_path / "x.so").write_bytes(library.read_bytes().replace(b"nowhere\0", b"no\n\x1bere\0"))
    with pytest.raises(hardpoint.LoadError, match=r"undefined symbol: no\\n\\x1bere"):
        hardpoint.load(tmp_path / "x.so", Greeter)


@pytest.mark.parametrize(
    "words", [["check"], ["inspect"], ["doctor"], ["test", "--only", "file"]], ids=lambda words: words[0]
)
def test_where_a_long_line_is_broken_none_begins(english: Path, tmp_path: Path, shown: Shown, words: list[str]) -> None:
    """A file's name could put a line of its own where the terminal ends."""
    path = tmp_path / f"{'x' * 75} other.so: fits greeter 1.0"
    path.symlink_to(english)
    text = shown(words[0], path.name, *words[1:], columns=80)
    assert any(line.lstrip().startswith("other.so") for line in text.splitlines())
    assert not any(line.startswith("other.so") for line in text.splitlines())
