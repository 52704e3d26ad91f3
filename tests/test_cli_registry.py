"""hardpoint list, lock and call by name, as a user types them."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Protocol

import pytest

from hardpoint.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Compiler

pytestmark = pytest.mark.usefixtures("alone")


class Hardpoint(Protocol):
    def __call__(self, *words: str | Path) -> tuple[int, str, str]: ...


@pytest.fixture
def hardpoint(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Hardpoint]:
    """Run a command in tmp_path; return its status, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    logger = logging.getLogger("hardpoint.plugin")
    level, handlers = logger.level, [*logger.handlers]

    def run(*words: str | Path) -> tuple[int, str, str]:
        try:
            status = main([str(word) for word in words])
        except SystemExit as error:
            status = int(error.code or 0)
        shown = capfd.readouterr()
        return status, shown.out, shown.err

    yield run
    logger.setLevel(level)  # commands set it for the rest of the process
    logger.handlers[:] = handlers


@pytest.fixture
def plugins(compiler: Compiler, tmp_path: Path) -> Path:
    folder = tmp_path / "plugins"
    folder.mkdir()
    for name in ("english", "uppercase"):
        shutil.copy(compiler.library(f"{name}/{name}.c"), folder)
    return folder


# -- list --------------------------------------------------------------------------------------------------------------


def test_list_plugins_that_fit(hardpoint: Hardpoint, plugins: Path) -> None:
    assert hardpoint("list", "plugins") == (
        0,
        """
  plugin     contract         release  status  file
  english    greeter 1.0      1.0.0    fits    plugins/english.so
  uppercase  transformer 1.0  1.0.0    fits    plugins/uppercase.so

""",
        "",
    )


def test_list_the_problems_of_others(hardpoint: Hardpoint, plugins: Path, compiler: Compiler) -> None:
    (plugins / "a.so").write_text("text")
    shutil.copy(compiler.library("broken.c", '-DPLUGIN="empty"', "-DGREET=NULL"), plugins / "b.so")
    shutil.copy(compiler.text("nothing", "int nothing; int get(void); int get(void) { return 1; }"), plugins / "c.so")
    (plugins / "old").mkdir()
    shutil.copy(plugins / "english.so", plugins / "old")
    status, printed, complaints = hardpoint("list", "plugins")
    assert (status, complaints) == (1, "")
    assert (
        printed
        == """
  plugin     contract         release  status        file
  -          -                -        broken        plugins/a.so
  empty      greeter 1.0      1.0.0    does not fit  plugins/b.so
  -          -                -        not a plugin  plugins/c.so
  english    greeter 1.0      1.0.0    fits          plugins/english.so
  uppercase  transformer 1.0  1.0.0    fits          plugins/uppercase.so
  english    greeter 1.0      1.0.0    shadowed      plugins/old/english.so

plugins/a.so: broken
  problem elf-magic
    needs  a shared object (.so)
    found  a file that starts with b'text'
    do     give the path of the file that the linker wrote
plugins/b.so: does not fit
  problem slot-empty
    needs  the method greet(name: str) -> str
    found  an empty slot
    do     fill it where the plugin's macro is used
plugins/old/english.so: shadowed by english 1.0.0 in plugins/english.so
"""
    )


def test_shadowed_plugins_and_other_libraries_are_not_failures(
    hardpoint: Hardpoint, plugins: Path, compiler: Compiler
) -> None:
    shutil.copy(compiler.text("nothing", "int nothing; int get(void); int get(void) { return 1; }"), plugins / "c.so")
    shutil.copy(plugins / "english.so", plugins / "z.so")
    status, printed, _ = hardpoint("list", "plugins")
    assert (status, "shadowed" in printed, "not a plugin" in printed) == (0, True, True)


def test_list_for_one_contract(hardpoint: Hardpoint, plugins: Path) -> None:
    status, printed, _ = hardpoint("list", "--contract", "transformer", "plugins")
    assert (status, "uppercase" in printed, "english" in printed) == (0, True, False)
    assert hardpoint("list", "--contract", "singer", "plugins") == (
        0,
        "no plugin for singer found\n  searched plugins: 2 plugins\n",
        "",
    )
    (plugins / "a.so").touch()  # without a manifest, it may be for any contract
    assert hardpoint("list", "--contract", "transformer", "plugins")[0] == 1


def test_list_the_usual_places(hardpoint: Hardpoint, plugins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, printed, complaints = hardpoint("list")
    assert (status, complaints) == (0, "")
    assert printed.startswith("no plugin found\n  searched entry points hardpoint.plugins: none\n")
    assert f"  searched {os.environ['HOME']}/.local/share/hardpoint/plugins: no such folder\n" in printed
    monkeypatch.setenv("HARDPOINT_PATH", str(plugins))
    assert f"english    greeter 1.0      1.0.0    fits    {plugins}/english.so\n" in hardpoint("list")[1]


GONE = "hardpoint: warning: gone was not searched for plugins: no such folder; check the path\n"


def test_list_a_folder_that_is_not_there(hardpoint: Hardpoint, plugins: Path) -> None:
    for words in ([], ["--json"]):
        status, printed, complaints = hardpoint("list", "plugins", "gone", *words)
        assert (status, complaints) == (3, GONE)
        assert "plugins/english.so" in printed


def test_list_as_json(hardpoint: Hardpoint, plugins: Path) -> None:
    (plugins / "a.so").touch()
    shutil.copy(plugins / "english.so", plugins / "z.so")
    status, printed, _ = hardpoint("list", "--json", "plugins")
    result = json.loads(printed)
    assert (status, result["places"]) == (
        1,
        [{"folder": "plugins", "origin": "given", "found": "3 plugins, 1 other file"}],
    )
    broken, english, _, shadowed = result["plugins"]
    assert english == {
        "plugin": "english", "contract": "greeter", "version": "1.0", "release": "1.0.0", "status": "fits",
        "file": "plugins/english.so", "place": "plugins", "origin": "given", "shadowed_by": None, "problems": [],
    }  # fmt: skip
    assert (shadowed["status"], shadowed["shadowed_by"]) == ("shadowed", "plugins/english.so")
    assert (broken["plugin"], broken["status"], broken["problems"][0]["code"]) == (None, "broken", "elf-magic")


def test_list_escapes_control_characters(hardpoint: Hardpoint, plugins: Path) -> None:
    shutil.copy(plugins / "english.so", plugins / "\x1b[31m\nred.so")
    shown = hardpoint("list", "plugins")[1]
    assert "\x1b" not in shown
    assert "plugins/\\x1b[31m\\nred.so\n" in shown
    assert "\nred.so" not in shown  # nor can a name forge a line below the table


@pytest.mark.parametrize("rich", [True, False], ids=["rich", "without rich"])
def test_list_in_a_terminal(plugins: Path, rich: bool) -> None:
    import pty

    if rich:
        pytest.importorskip("rich")
    main_end, other = pty.openpty()
    bar = "" if rich else "sys.modules['rich'] = None;"
    code = f"import sys; {bar} from hardpoint.cli import main; sys.exit(main(['list', {str(plugins)!r}]))"
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "300"}
    with subprocess.Popen([sys.executable, "-c", code], stdout=other, env=environment) as process:
        os.close(other)
        seen = b""
        while chunk := _read(main_end):
            seen += chunk
    os.close(main_end)
    assert process.returncode == 0
    text = re.sub(r"\x1b\[[0-9;]*m", "", seen.decode())
    assert f"{plugins}/english.so" in text
    assert ("─" in text or "━" in text) == rich


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # EIO: the other end of the terminal was closed
        return b""


# -- lock --------------------------------------------------------------------------------------------------------------


def test_lock_and_list_by_it(hardpoint: Hardpoint, plugins: Path, tmp_path: Path) -> None:
    assert hardpoint("lock", "plugins") == (0, "hardpoint.lock: 2 plugins\n", "")
    written = (tmp_path / "hardpoint.lock").read_bytes()
    content = json.loads(written)
    assert content["hardpoint-lock"] == 1
    assert [list(entry) for entry in content["plugins"]] == [["contract", "plugin", "release", "file", "sha256"]] * 2
    assert [entry["plugin"] for entry in content["plugins"]] == ["english", "uppercase"]
    assert hardpoint("lock", plugins)[0] == 0  # for each form of the folder's name
    assert (tmp_path / "hardpoint.lock").read_bytes() == written
    assert hardpoint("list", "--allow", "hardpoint.lock", "plugins")[0] == 0
    with (plugins / "english.so").open("ab") as file:
        file.write(b"more")
    status, printed, _ = hardpoint("list", "--allow", "hardpoint.lock", "plugins")
    assert status == 1
    assert "english    greeter 1.0      1.0.0    refused  plugins/english.so\n" in printed
    assert "plugins/english.so: refused\n  problem trust-digest\n" in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hardpoint.lock", "plugins"]  # no temporary file


def test_lock_check(hardpoint: Hardpoint, plugins: Path, tmp_path: Path, compiler: Compiler) -> None:
    shutil.copy(compiler.library("spanish/spanish.c"), plugins)
    hardpoint("lock", "-o", "my.lock", "plugins")
    before = (tmp_path / "my.lock").read_bytes()
    assert hardpoint("lock", "--check", "-o", "my.lock", "plugins") == (0, "my.lock: 3 plugins, all as locked\n", "")
    (plugins / "spanish.so").unlink()
    shutil.copy(compiler.library("reverse/reverse.c"), plugins)
    with (plugins / "english.so").open("ab") as file:
        file.write(b"more")
    status, printed, _ = hardpoint("lock", "--check", "-o", "my.lock", "plugins")
    assert status == 1
    assert [line.split()[:-1] for line in printed.splitlines()] == [
        ["changed", "greeter", "english", "1.0.0", "english.so"],
        ["missing", "greeter", "spanish", "1.0.0", "spanish.so"],
        ["new", "transformer", "reverse", "1.0.0", "reverse.so"],
    ]
    assert (tmp_path / "my.lock").read_bytes() == before


def test_lock_includes_shadowed_plugins_and_excludes_broken_ones(
    hardpoint: Hardpoint, plugins: Path, tmp_path: Path, compiler: Compiler
) -> None:
    shutil.copy(compiler.library("broken.c", '-DPLUGIN="english"', '-DRELEASE="0.9"'), plugins / "old.so")
    (plugins / "a.so").touch()
    status, printed, complaints = hardpoint("lock", "plugins")
    assert (status, printed) == (0, "hardpoint.lock: 3 plugins\n")
    assert complaints.startswith("hardpoint: plugins/a.so is not a plugin: ")
    assert complaints.endswith("; left out of the lock\n")
    entries = json.loads((tmp_path / "hardpoint.lock").read_text())["plugins"]
    assert [entry["release"] for entry in entries] == ["0.9", "1.0.0", "1.0.0"]


def test_lock_names_plugins_that_it_does_not_allow(hardpoint: Hardpoint, plugins: Path, compiler: Compiler) -> None:
    libword = compiler.text("libword", "int word(void); int word(void) { return 1; }")
    needing = compiler.library(
        "english/english.c", "-Wl,--no-as-needed", f"-L{libword.parent}", "-lword", "-Wl,-rpath,$ORIGIN", name="needing"
    )
    shutil.copy(libword, plugins)
    shutil.copy(needing, plugins / "english.so")
    said = (
        "hardpoint: plugins/english.so cannot be loaded under a lock: needs a pinned library that needs nothing beside it, "
        "found one that needs libword.so beside it; load it without sha256= and without a lock, or link the plugin with its "
        "libraries statically [pinned-origin]\n"
    )
    assert hardpoint("list", "plugins")[0] == 0
    assert hardpoint("lock", "plugins") == (1, "hardpoint.lock: 2 plugins\n", said)
    assert hardpoint("lock", "--check", "plugins") == (1, "hardpoint.lock: 2 plugins, all as locked\n", said)
    assert "problem pinned-origin" in hardpoint("list", "--allow", "hardpoint.lock", "plugins")[1]
    (plugins / "english.so").unlink()
    assert hardpoint("lock", "plugins") == (0, "hardpoint.lock: 1 plugin\n", "")


def test_lock_check_keeps_a_name_in_its_line(hardpoint: Hardpoint, plugins: Path) -> None:
    hardpoint("lock", "plugins")
    shutil.copy(plugins / "english.so", plugins / "a\nnew.so")
    status, printed, _ = hardpoint("lock", "--check", "plugins")
    assert (status, printed.count("\n"), "a\\nnew.so" in printed) == (1, 1, True)


def test_lock_without_plugins(hardpoint: Hardpoint, tmp_path: Path) -> None:
    status, printed, complaints = hardpoint("lock", tmp_path)
    assert (status, printed) == (3, "")
    assert complaints == (
        f"hardpoint: no plugin found; hardpoint.lock was not changed\n  searched {tmp_path}: 0 plugins\n"
    )
    assert not (tmp_path / "hardpoint.lock").exists()


WRONG_PLACES = {
    "no/such.lock": "No such file or directory",
    "plugins": "not a regular file",
    "plugins/english.so/my.lock": "Not a directory",
    "fifo": "not a regular file",
}


@pytest.mark.parametrize("place", WRONG_PLACES)
def test_lock_where_nothing_can_be_written(hardpoint: Hardpoint, plugins: Path, tmp_path: Path, place: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    status, printed, said = hardpoint("lock", "-o", place, "plugins")
    assert (status, printed) == (2, "")
    fix = "name a file in an existing folder that you can write to"
    assert said == f"hardpoint: {place} cannot be written: {WRONG_PLACES[place]}; {fix}\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fifo", "plugins"]
    assert sorted(path.name for path in plugins.iterdir()) == ["english.so", "uppercase.so"]


def test_lock_through_a_link_leaves_the_link(hardpoint: Hardpoint, plugins: Path, tmp_path: Path) -> None:
    """/dev/stdout is a link, and root could replace it."""
    (tmp_path / "real.lock").touch()
    (tmp_path / "hardpoint.lock").symlink_to("real.lock")
    assert hardpoint("lock", plugins) == (0, "hardpoint.lock: 2 plugins\n", "")
    assert (tmp_path / "hardpoint.lock").is_symlink()
    assert json.loads((tmp_path / "real.lock").read_text())["hardpoint-lock"] == 1


def test_lock_check_without_a_lock(hardpoint: Hardpoint, plugins: Path) -> None:
    assert hardpoint("lock", "--check", "plugins") == (
        1,
        "",
        "hardpoint: hardpoint.lock: lock file not found; write it with `hardpoint lock`\n",
    )


# -- call by name ------------------------------------------------------------------------------------------------------


@pytest.fixture
def path(plugins: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARDPOINT_PATH", str(plugins))
    return plugins


def test_call_by_name(hardpoint: Hardpoint, path: Path) -> None:
    assert hardpoint("call", "english", "greet", "World") == (0, "Hello, World! Nice to meet you.\n", "")
    assert hardpoint("call", "--isolated", "--timeout", "20", "uppercase", "transform", "abc")[:2] == (0, "ABC\n")
    status, printed, _ = hardpoint("call", "--json", "english", "lang")
    assert (status, json.loads(printed)[0]["file"]) == (0, f"{path}/english.so")


def test_call_an_unknown_name(hardpoint: Hardpoint, path: Path) -> None:
    (path / "bad.so").touch()
    status, printed, complaints = hardpoint("call", "englsh", "greet", "World")
    assert (status, printed) == (3, "")
    assert complaints.startswith(
        "hardpoint: no plugin named 'englsh' found; did you mean english?\n"
        "  available: english, uppercase\n"
        f"  searched {path}: 2 plugins, 1 other file\n"
    )
    status, _, complaints = hardpoint("call", "bad", "greet", "World")
    assert (status, complaints.startswith(f"hardpoint: {path}/bad.so is not a plugin: ")) == (4, True)


def test_call_an_unknown_method(hardpoint: Hardpoint, path: Path) -> None:
    assert hardpoint("call", "english", "sing") == (
        2,
        "",
        f"hardpoint: {path}/english.so has no method 'sing'; it has greet(name: str) -> str, lang() -> str\n",
    )


def test_call_a_name_of_two_contracts(hardpoint: Hardpoint, path: Path, compiler: Compiler) -> None:
    other = ['-DPLUGIN="english"', '-DCONTRACT="singer"', "-DSYMBOL=hardpoint_singer_v1"]
    sings = compiler.library("broken.c", *other, '-DMETHODS="[\\"sing(name: str) -> str\\", \\"lang() -> str\\"]"')
    shutil.copy(sings, path / "singer.so")
    assert hardpoint("call", "english", "greet", "World")[:2] == (0, "Hello, World! Nice to meet you.\n")
    assert hardpoint("call", "english", "sing", "x")[0] == 0
    status, printed, complaints = hardpoint("call", "english", "lang")
    assert (status, printed) == (2, "")
    assert complaints == (
        f"hardpoint: english has lang for greeter 1.0 ({path}/english.so) and singer 1.0 ({path}/singer.so); choose with "
        "--contract MODULE:CLASS, or give the file\n"
    )
    assert hardpoint("call", "--contract", "hardpoint.contracts:Greeter", "english", "lang")[:2] == (0, "English\n")
    status, _, complaints = hardpoint("call", "--contract", "hardpoint.contracts:Transformer", "english", "transform")
    assert (status, f"  english for greeter 1.0: {path}/english.so\n" in complaints) == (3, True)


def test_call_watches_by_name(path: Path, compiler: Compiler, tmp_path: Path) -> None:
    pytest.importorskip("watchfiles")
    words = [sys.executable, "-m", "hardpoint", "call", "--isolated", "--watch", "english", "lang"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "English\n"
            shutil.copy(compiler.library("broken.c", '-DPLUGIN="english"'), path / "new")
            os.replace(path / "new", path / "english.so")
            assert process.stdout.readline() != ""
        finally:
            process.terminate()
