"""`hardpoint call --isolated`, as a user types it: crashes, hangs, output, and --watch."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from queue import Queue
from typing import IO, TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Compiler

GREETER = """
#include "greeter.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static hp_status greet(void *self, const char *name, size_t name_len, hp_out *out) {
    (void)self;
    if (name_len == 5 && memcmp(name, "crash", 5) == 0) abort();
    if (name_len == 4 && memcmp(name, "hang", 4) == 0) for (;;) pause();
    if (name_len == 4 && memcmp(name, "fail", 4) == 0) return hp_fail(out, HP_INVALID, "not %.4s", name);
    if (name_len == 3 && memcmp(name, "say", 3) == 0) {
        puts("to stdout \\033[31m");
        fflush(stdout);
        fputs("to stderr", stderr);
    }
    if (name_len == 6 && memcmp(name, "memory", 6) == 0) {
        char *volatile memory = malloc(200 << 20); /* volatile: or the compiler makes do without the two calls */
        int got = memory != NULL;
        free(memory);
        return hp_puts(out, got ? "got 200 MiB" : "no 200 MiB");
    }
    return hp_printf(out, WORD ", %.*s!", (int)name_len, name);
}
static hp_status lang(void *self, hp_out *out) { (void)self; return hp_puts(out, "test"); }

GREETER_PLUGIN("tester", "1.0.0", .greet = greet, .lang = lang);
"""


class Run(Protocol):
    def __call__(self, *words: str | Path) -> subprocess.CompletedProcess[str]: ...


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "hardpoint", *map(str, words)]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def call(*words: str | Path) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(command(*words), capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60)
        assert "Traceback" not in done.stderr
        return done

    return call


@pytest.fixture(scope="session")
def hello(compiler: Compiler) -> Path:
    return compiler.text("hello", GREETER, '-DWORD="Hello"')


@pytest.fixture(scope="session")
def howdy(compiler: Compiler) -> Path:
    return compiler.text("howdy", GREETER, '-DWORD="Howdy"')


def test_a_call(run: Run, hello: Path) -> None:
    done = run("call", "--isolated", hello, "greet", "World")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Hello, World!\n", "")


def test_a_failure_of_the_plugin(run: Run, hello: Path) -> None:
    done = run("call", "--isolated", hello, "greet", "fail")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"hardpoint: {hello}: greet failed with status 2 (HP_INVALID): not fail\n"


def test_a_crash(run: Run, hello: Path) -> None:
    done = run("call", "--isolated", hello, "greet", "crash")
    assert (done.returncode, done.stdout) == (5, "")
    assert f"hardpoint: {hello}: the worker was killed by SIGABRT in greet\n" in done.stderr
    assert "\n  | " not in done.stderr  # its output was shown when it was written


def test_a_hang(run: Run, hello: Path) -> None:
    done = run("call", "--isolated", "--timeout", "0.3", hello, "greet", "hang")
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr == f"hardpoint: {hello}: greet took longer than 0.3 s, and the worker was killed\n"


def test_other_plugins_are_still_called(run: Run, hello: Path, howdy: Path, english: Path) -> None:
    done = run("call", "--isolated", "--json", hello, howdy, english, "greet", "crash")
    assert done.returncode == 5
    results = json.loads(done.stdout)
    assert ["SIGABRT" in result.get("error", "") for result in results] == [True, True, False]
    assert results[2]["result"] == "Hello, crash! Nice to meet you."


def test_a_limit_of_memory(run: Run, hello: Path) -> None:
    assert run("call", "--isolated", hello, "greet", "memory").stdout == "got 200 MiB\n"
    assert run("call", "--isolated", "--memory", "150MiB", hello, "greet", "memory").stdout == "no 200 MiB\n"


def test_its_output_goes_to_stderr(run: Run, hello: Path) -> None:
    done = run("call", "--isolated", hello, "greet", "say")
    assert (done.returncode, done.stdout) == (0, "Hello, say!\n")
    assert sorted(done.stderr.splitlines()) == ["tester | to stderr", "tester | to stdout \\x1b[31m"]


def test_limits_and_sandbox_in_force_are_shown(run: Run, hello: Path) -> None:
    done = run("call", "--isolated", "-v", "--memory", "128MiB", hello, "greet", "World")
    assert (done.returncode, done.stdout) == (0, "Hello, World!\n")
    first, *lines = done.stderr.splitlines()
    assert first.startswith(f"hardpoint: {hello}: runs in process ")
    assert first.rpartition(" ")[2].isdecimal()
    assert any(line.startswith(f"hardpoint: {hello}: memory: 128 MiB") for line in lines)
    assert any(line.startswith(f"hardpoint: {hello}: open files: ") for line in lines)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--timeout", "2"], "--timeout needs --isolated"),
        (["--memory", "1GiB"], "--memory needs --isolated"),
        (["--watch"], "--watch needs --isolated"),
        (["--isolated", "--timeout", "0"], "a timeout is seconds above 0, such as 2 or 0.5, not '0'"),
        (["--isolated", "--timeout", "soon"], "a timeout is seconds above 0, such as 2 or 0.5, not 'soon'"),
        (["--isolated", "--memory", "lots"], "'lots'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_usage(run: Run, hello: Path, words: list[str], said: str) -> None:
    done = run("call", *words, hello, "greet", "World")
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_the_status_is_documented(run: Run) -> None:
    assert "5  an isolated plugin crashed, or took too long" in run("--help").stdout


# -- --watch -----------------------------------------------------------------------------------------------------------


class Watching:
    """A running command, in a folder with plugin.so. Reading waits for its lines."""

    def __init__(self, folder: Path, *words: str) -> None:
        self._process = subprocess.Popen(
            command("call", "--isolated", "--watch", *words),
            cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._lines: list[Queue[str]] = [Queue(), Queue()]
        self._threads = [
            threading.Thread(target=self._read, args=pair)
            for pair in zip((self._process.stdout, self._process.stderr), self._lines, strict=True)
        ]
        for thread in self._threads:
            thread.start()

    @staticmethod
    def _read(stream: IO[str], queue: Queue[str]) -> None:
        with stream:
            for line in stream:
                queue.put(line)
        queue.put("")

    def out(self) -> str:
        """Return the next line of its stdout."""
        return self._lines[0].get(timeout=30)

    def err(self) -> str:
        """Return the next line of its stderr."""
        return self._lines[1].get(timeout=30)

    def interrupt(self) -> tuple[int, str, str]:
        """Send Ctrl-C; return the exit status and the rest of both streams."""
        self._process.send_signal(signal.SIGINT)
        status = self._process.wait(10)
        return status, "".join(iter(self.out, "")), "".join(iter(self.err, ""))

    def end(self) -> None:
        """Kill it if it still runs."""
        self._process.kill()
        self._process.wait()
        for thread in self._threads:
            thread.join()


class Watch(Protocol):
    def __call__(self, *words: str) -> Watching: ...


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    """Start the command in a folder; kill it at the end of the test."""
    pytest.importorskip("watchfiles")
    running: list[Watching] = []

    def start(*words: str) -> Watching:
        running.append(Watching(tmp_path, *words))
        return running[-1]

    yield start
    for each in running:
        each.end()


def replace(folder: Path, library: Path, name: str = "plugin.so") -> None:
    """Write a new file and rename it over the old one, as a careful build does."""
    shutil.copy(library, folder / "new")
    os.replace(folder / "new", folder / name)


INTERRUPTED = (130, "", "")


def test_watch_calls_the_new_file(watch: Watch, tmp_path: Path, hello: Path, howdy: Path) -> None:
    replace(tmp_path, hello)
    watched = watch("plugin.so", "greet", "World")
    assert watched.out() == "Hello, World!\n"
    replace(tmp_path, howdy)
    assert watched.out() == "Howdy, World!\n"
    replace(tmp_path, hello)
    assert watched.out() == "Hello, World!\n"
    assert watched.interrupt() == INTERRUPTED


def test_watch_keeps_the_old_one_if_the_new_one_does_not_fit(
    watch: Watch, tmp_path: Path, hello: Path, howdy: Path
) -> None:
    replace(tmp_path, hello)
    watched = watch("plugin.so", "greet", "World")
    assert watched.out() == "Hello, World!\n"
    (tmp_path / "text").write_text("this is no library at all")
    replace(tmp_path, tmp_path / "text")
    assert watched.err().startswith("hardpoint: plugin.so is not a plugin: ")
    assert watched.err() == "the old plugin.so stays in use\n"
    replace(tmp_path, howdy)
    assert watched.out() == "Howdy, World!\n"
    assert watched.interrupt() == INTERRUPTED


def test_watch_goes_on_after_a_crash(watch: Watch, tmp_path: Path, hello: Path, english: Path) -> None:
    replace(tmp_path, hello)
    watched = watch("plugin.so", "greet", "crash")
    while not (line := watched.err()).startswith("hardpoint: "):
        assert line.startswith("tester | ")  # the native stack
    assert line.startswith("hardpoint: plugin.so: the worker was killed by SIGABRT in greet")
    replace(tmp_path, english)
    assert watched.out() == "Hello, crash! Nice to meet you.\n"
    assert watched.interrupt()[0] == 130


def test_watch_waits_for_a_file_that_is_not_there(watch: Watch, tmp_path: Path, hello: Path) -> None:
    watched = watch("./plugin.so", "greet", "World")
    assert "there is no such file" in watched.err()
    replace(tmp_path, hello)
    assert watched.out() == "Hello, World!\n"
    assert watched.interrupt() == INTERRUPTED


def test_watch_follows_a_link(watch: Watch, tmp_path: Path, hello: Path, howdy: Path) -> None:
    (tmp_path / "built").mkdir()
    replace(tmp_path, hello, "built/plugin.so")
    (tmp_path / "plugin.so").symlink_to("built/plugin.so")
    watched = watch("plugin.so", "greet", "World")
    assert watched.out() == "Hello, World!\n"
    replace(tmp_path, howdy, "built/plugin.so")
    assert watched.out() == "Howdy, World!\n"
    assert watched.interrupt() == INTERRUPTED


def test_watch_ignores_other_files(watch: Watch, tmp_path: Path, hello: Path, howdy: Path) -> None:
    replace(tmp_path, hello, "one.so")
    replace(tmp_path, hello, "two.so")
    watched = watch("one.so", "two.so", "greet", "World")
    assert [watched.out(), watched.out()] == ["tester: Hello, World!\n"] * 2
    replace(tmp_path, howdy, "two.so")
    assert watched.out() == "tester: Howdy, World!\n"
    assert watched.interrupt() == INTERRUPTED


def test_watch_prints_a_document_for_each_round(watch: Watch, tmp_path: Path, hello: Path) -> None:
    replace(tmp_path, hello)
    watched = watch("--json", "plugin.so", "greet", "World")
    lines = [watched.out()]
    while lines[-1] != "]\n":
        lines.append(watched.out())
    assert json.loads("".join(lines))[0]["result"] == "Hello, World!"
    assert watched.interrupt() == INTERRUPTED


def test_watch_needs_a_folder(run: Run) -> None:
    pytest.importorskip("watchfiles")
    done = run("call", "--isolated", "--watch", "/nowhere/plugin.so", "greet", "World")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "hardpoint: /nowhere: the folder to watch does not exist; check the path\n"


def test_watch_needs_watchfiles(run: Run, hello: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['watchfiles'] = None\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    done = run("call", "--isolated", "--watch", hello, "greet", "World")
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr == "hardpoint: --watch needs watchfiles, which is not installed; pip install 'hardpoint[watch]'\n"
    )
