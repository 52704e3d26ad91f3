"""Ctrl-C in `hardpoint call` ends the process at once, with status 130 and no traceback."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from conftest import CAN_BUILD_NATIVE

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Compiler, RunPython

needs_native = pytest.mark.skipif(not CAN_BUILD_NATIVE, reason="the native binding is built with Python.h")
HANGS = """
#include "greeter.h"
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define IS(word) (name_len == sizeof word - 1 && memcmp(name, word, sizeof word - 1) == 0)

static void say_and_hang(void) {
    fputs("hangs\\n", stderr);
    for (;;) pause();
}

static hp_status greet(void *self, const char *name, size_t name_len, hp_out *out) {
    (void)self;
    if (IS("blocked")) {
        sigset_t every;
        sigfillset(&every);
        pthread_sigmask(SIG_SETMASK, &every, NULL);
        say_and_hang();
    }
    if (IS("spin")) {
        fputs("hangs\\n", stderr);
        for (volatile int on = 1; on;) {}
    }
    if (IS("pause")) say_and_hang();
    return hp_puts(out, "done");
}
static hp_status lang(void *self, hp_out *out) { (void)self; return hp_puts(out, "test"); }

#ifdef IN_CONSTRUCTOR
__attribute__((constructor)) static void begin(void) { say_and_hang(); }
#endif
#ifdef IN_CREATE
static hp_status create(const hp_host *host, const char *config, size_t config_len, void **self, hp_out *out) {
    (void)host, (void)config, (void)config_len, (void)self, (void)out;
    say_and_hang();
    return HP_OK;
}
GREETER_PLUGIN("hangs", "1.0.0", .create = create, .greet = greet, .lang = lang);
#elif defined IN_DESTROY
static void destroy(void *self) { (void)self; say_and_hang(); }
GREETER_PLUGIN("hangs", "1.0.0", .destroy = destroy, .greet = greet, .lang = lang);
#else
GREETER_PLUGIN("hangs", "1.0.0", .greet = greet, .lang = lang);
#endif
"""
QUICK = """
from typing import Protocol
import hardpoint

@hardpoint.contract("greeter", version="1.0")
class Quick(Protocol):
    @hardpoint.quick
    def greet(self, name: str) -> str: ...
    @hardpoint.quick
    def lang(self) -> str: ...
"""


def interrupt(folder: Path, *words: str | Path) -> tuple[int, str]:
    """Run a command until the plugin says that it hangs, press Ctrl-C, and return the status and the rest of stderr."""
    command = [sys.executable, "-m", "hardpoint", "call", *map(str, words)]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=folder, start_new_session=True
    ) as process:
        assert process.stderr is not None
        assert "hangs" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        try:
            return process.wait(20), process.stderr.read()
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("where", "word", "options"),
    [
        pytest.param("", "pause", ["--binding", "native"], marks=needs_native),
        pytest.param("", "pause", ["--binding", "cffi"], marks=pytest.mark.long),
        pytest.param("", "spin", ["--binding", "ctypes"], marks=pytest.mark.long),
        ("", "blocked", []),
        ("", "spin", ["--contract", "quick:Quick"]),
        pytest.param("", "blocked", ["--isolated"], marks=pytest.mark.long),
        ("IN_CONSTRUCTOR", "", []),
        pytest.param("IN_CREATE", "", [], marks=pytest.mark.long),
        pytest.param("IN_CREATE", "", ["--isolated"], marks=pytest.mark.long),
        pytest.param("IN_DESTROY", "", [], marks=pytest.mark.long),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else each,
)
def test_ctrl_c_ends_a_call_that_hangs(
    where: str, word: str, options: list[str], compiler: Compiler, tmp_path: Path
) -> None:
    (tmp_path / "quick.py").write_text(QUICK)
    library = compiler.text("hangs", HANGS, "-pthread", *([f"-D{where}"] if where else []))
    assert interrupt(tmp_path, *options, library, "greet", word) == (130, "")


def test_a_process_that_was_started_with_sigint_ignored_goes_on(compiler: Compiler, tmp_path: Path) -> None:
    library = compiler.text("hangs", HANGS, "-pthread")
    command = f"trap '' INT; exec {sys.executable} -m hardpoint call {library} greet pause"
    with subprocess.Popen(["sh", "-c", command], stderr=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.0)
        process.terminate()


def test_ctrl_c_while_the_command_is_imported(run_python: RunPython) -> None:
    code = """
import sys
import hardpoint_command

class Interrupted:
    def find_spec(self, name, *_):
        if name == "hardpoint.cli.parser":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupted())
sys.exit(hardpoint_command.main())
"""
    done = run_python(code, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
