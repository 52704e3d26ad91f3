"""The exit status of a command for several files: that of the worst, wherever it stands among them."""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from itertools import permutations
from typing import TYPE_CHECKING, Any

import pytest
from hostile import Hostile

from hardpoint import errors
from hardpoint.cli import main
from hardpoint.cli.output import UsageError, status_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Compiler


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Put back what `main` changes for the rest of the process: how warnings and the records of plugins are shown."""
    logger = logging.getLogger("hardpoint.plugin")
    before = warnings.showwarning, logger.level, [*logger.handlers]
    yield
    warnings.showwarning, level, logger.handlers = before
    logger.setLevel(level)


@pytest.fixture
def files(compiler: Compiler, english: Path, hostile_library: Path, tmp_path: Path) -> dict[str, Path]:
    """One file for each status of `call FILE greet World`."""
    spanish = compiler.library("spanish/spanish.c")
    text = tmp_path / "text.so"
    text.write_text("not a library")
    fails = compiler.text("fails", """
#include "greeter.h"
static hp_status greet(void *self, const char *name, size_t name_len, hp_out *out) {
    (void)self, (void)name, (void)name_len;
    return hp_fail(out, HP_FAILED, "no");
}
static hp_status lang(void *self, hp_out *out) { return (void)self, hp_puts(out, "none"); }
GREETER_PLUGIN("fails", "1.0.0", .greet = greet, .lang = lang);
""")  # fmt: skip
    paths = {"0": english, "00": spanish, "1": fails, "3": tmp_path / "missing.so", "4": text}
    copies = {}
    for name, path in paths.items():
        copies[name] = tmp_path / f"file{name}.so"
        if path.exists():
            shutil.copy(path, copies[name])
    return copies


def test_call_returns_the_worst_of_several(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    for chosen in (("0", "00"), ("0", "1"), ("1", "3"), ("0", "4", "1"), ("3", "4", "0")):
        for order in permutations(chosen):
            words = [str(files[name]) for name in order]
            assert main(["call", *words, "greet", "World"]) == max(map(int, chosen)), order
            said = capsys.readouterr()
            good = sum(int(name) == 0 for name in chosen)
            assert len(said.out.splitlines()) == good, "the others are called all the same"
            assert said.err.count("hardpoint: ") == len(chosen) - good


LIFE = """
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include "greeter.h"
static void note(const char *path, const char *letter) {
    const int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0 && write(fd, letter, 1) == 1) {
        close(fd);
    }
}
static hp_status create(const hp_host *host, const char *config, size_t config_len, void **self, hp_out *out) {
    (void)host, (void)out;
    char *path = calloc(1, config_len + 1);
    memcpy(path, config, config_len);
    note(*self = path, "c");
    return HP_OK;
}
static void destroy(void *self) { note(self, "d"); free(self); }
static hp_status greet(void *self, const char *name, size_t name_len, hp_out *out) {
    note(self, "g");
    return name_len > 0 ? hp_write(out, name, name_len) : hp_fail(out, HP_FAILED, "no name");
}
static hp_status lang(void *self, hp_out *out) { return (void)self, hp_puts(out, "none"); }
GREETER_PLUGIN("life", "1.0.0", .create = create, .destroy = destroy, .greet = greet, .lang = lang);
"""


def test_call_closes_each_plugin_before_the_next(
    compiler: Compiler, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also after an error: one that holds a device, say, frees it for the next."""
    library = compiler.text("life", LIFE)
    for name in ("first.so", "second.so"):
        shutil.copy(library, tmp_path / name)
    for word, status, life in (("World", 0, "cgdcgd"), ("", 1, "cgdcgd" * 2)):
        words = [
            "--config",
            str(tmp_path / "notes"),
            str(tmp_path / "first.so"),
            str(tmp_path / "second.so"),
            "greet",
            word,
        ]
        assert main(["call", *words]) == status
        assert (tmp_path / "notes").read_text() == life
    capsys.readouterr()


def test_call_in_json_has_every_file(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["call", "--json", *(str(files[name]) for name in ("3", "0", "1")), "greet", "World"]) == 3
    told = json.loads(capsys.readouterr().out)
    assert [sorted(each) for each in told] == [
        ["error", "file"],
        ["changed", "file", "plugin", "result"],
        ["error", "file"],
    ]
    assert [each["file"] for each in told] == [str(files[name]) for name in ("3", "0", "1")]


def test_call_of_an_isolated_plugin_that_dies(hostile_library: Path, capsys: pytest.CaptureFixture[str]) -> None:
    contract = f"{Hostile.__module__}:{Hostile.__name__}"
    path = str(hostile_library)
    for words, status in ((["harm", "abort"], 5), (["harm", "nothing"], 0), (["harm", "pause"], 5)):
        options = ["--isolated", "--timeout", "1", "--contract", contract]
        assert main(["call", *options, path, *words]) == status
    capsys.readouterr()


@pytest.mark.parametrize("command", ["check", "inspect", "doctor"])
def test_a_command_for_one_file(files: dict[str, Path], command: str, capsys: pytest.CaptureFixture[str]) -> None:
    problem = 4 if command == "inspect" else 1  # for check and doctor that is what was asked
    expected = {"0": 0, "1": 0, "3": 3, "4": problem}
    assert {name: main([command, str(files[name])]) for name in expected} == expected
    capsys.readouterr()


def test_check_returns_the_worst_of_several(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """For check, a file that is no plugin is a problem that was found: 1."""
    try:
        main(["check", str(files["0"]), str(files["00"])])
    except SystemExit:
        pytest.skip("check takes one file")
    for chosen, status in ((("0", "00"), 0), (("0", "4"), 1), (("0", "3"), 3), (("4", "3", "0"), 3)):
        for order in permutations(chosen):
            assert main(["check", *(str(files[name]) for name in order)]) == status, order
    capsys.readouterr()


def test_list_and_lock_of_several_folders(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = {}
    for name in ("good", "other", "bad", "empty"):
        folders[name] = tmp_path / name
        folders[name].mkdir()
    shutil.copy(files["0"], folders["good"])
    shutil.copy(files["00"], folders["other"])
    shutil.copy(files["4"], folders["bad"])
    folders["missing"] = tmp_path / "nowhere"
    for chosen, status in (
        (("good", "other"), 0), (("good", "bad"), 1), (("good", "missing"), 3), (("bad", "missing"), 3),
        (("good", "empty"), 0), (("empty",), 0),
    ):  # fmt: skip
        for order in permutations(chosen):
            assert main(["list", *(str(folders[name]) for name in order)]) == status, order
    lock = str(tmp_path / "some.lock")
    assert main(["lock", "-o", lock, str(folders["good"]), str(folders["other"])]) == 0
    assert main(["lock", "--check", "-o", lock, str(folders["good"]), str(folders["other"])]) == 0
    assert main(["lock", "--check", "-o", lock, str(folders["good"])]) == 1  # one is missing
    assert main(["lock", "-o", lock, str(folders["good"])]) == 0
    assert main(["lock", "--check", "-o", lock, str(folders["good"]), str(folders["other"])]) == 1  # one is new
    assert main(["lock", "-o", lock, str(folders["empty"])]) == 3
    assert main(["list", "--allow", lock, str(folders["good"])]) == 0
    assert main(["list", "--allow", lock, str(folders["good"]), str(folders["other"])]) == 1  # one is refused
    capsys.readouterr()


def test_test_returns_1_for_a_failed_check_and_0_for_warnings(
    files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for name, status in (("0", 0), ("3", 3), ("4", 4)):
        assert main(["test", "--only", "file.*", str(files[name])]) == status
    assert main(["test", "--only", "no.such.check", str(files["0"])]) == 2
    capsys.readouterr()


STATUSES = {
    UsageError: 2, errors.PluginNotFoundError: 3, errors.NotAPluginError: 4, errors.IncompatibleError: 4,
    errors.StaleError: 4, errors.LoadError: 4, errors.CrashedError: 5, errors.TimedOutError: 5,
    errors.CallError: 1, errors.CreateError: 1, errors.ContractBrokenError: 1, errors.ClosedError: 1,
    errors.HardpointError: 1,
}  # fmt: skip
"""Each class of error, as `hardpoint --help` documents its status."""


def test_every_error_has_its_status() -> None:
    public: set[Any] = {
        each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.HardpointError)
    }
    named = {each for each in public if not each.__name__.startswith("_")}
    for kind in named:
        expected = next(status for each, status in STATUSES.items() if issubclass(kind, each))
        assert status_of(kind.__new__(kind)) == expected, kind
