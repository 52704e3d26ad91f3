"""Isolated plugins that crash in create, in a call or in destroy: one clear error each, and the host continues."""

from __future__ import annotations

import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hostile import ENOUGH, SHORT
from processes import eventually, runs, workers

import hardpoint
from hardpoint import CrashedError, Isolation, TimedOutError
from hardpoint.contracts import Greeter
from hardpoint.isolation.host.stacks import without_host

if TYPE_CHECKING:
    from conftest import Compiler, LoadHostile


CXX = shlex.split(os.environ.get("CXX") or "c++")
SIGNALS = {
    "segv": signal.SIGSEGV, "bus": signal.SIGBUS, "fpe": signal.SIGFPE, "ill": signal.SIGILL, "abort": signal.SIGABRT,
    "overflow": signal.SIGSEGV, "kill": signal.SIGKILL, "alarm": signal.SIGALRM,
}  # fmt: skip
EXITS = {"exit": 0, "_exit": 3}
OTHERS = ("close", "babble", "eat", "daemon", "child")


@pytest.mark.parametrize("what", SIGNALS)
def test_a_call_that_a_signal_ends(load_hostile: LoadHostile, hostile_library: Path, what: str) -> None:
    plugin = load_hostile()
    assert [plugin.count(), plugin.count()] == [1, 2]
    [before] = workers(plugin)
    with pytest.raises(CrashedError) as caught:
        plugin.harm(what)
    error = caught.value
    assert (error.signal, error.status, error.path) == (SIGNALS[what], None, str(hostile_library))
    assert str(error).startswith(f"{hostile_library}: the worker was killed by {SIGNALS[what].name} in harm")
    assert plugin.count() == 1  # in a new worker
    assert workers(plugin) != (before,)
    assert not runs(before)


@pytest.mark.parametrize("what", EXITS)
def test_a_call_that_exits(load_hostile: LoadHostile, hostile_library: Path, what: str) -> None:
    plugin = load_hostile()
    with pytest.raises(CrashedError) as caught:
        plugin.harm(what)
    assert (caught.value.signal, caught.value.status) == (None, EXITS[what])
    assert str(caught.value).startswith(f"{hostile_library}: the worker exited with status {EXITS[what]} in harm")
    assert plugin.count() == 1


def test_the_last_words_are_in_the_error(load_hostile: LoadHostile) -> None:
    with pytest.raises(CrashedError) as caught:
        load_hostile().harm("last words")
    assert caught.value.stderr.startswith("these are my last words")
    assert "in harm\n  | these are my last words" in str(caught.value)


def test_a_stack_has_the_plugins_frames_alone(load_hostile: LoadHostile, hostile_library: Path) -> None:
    with pytest.raises(CrashedError) as caught:
        load_hostile().harm("segv")
    _, signal_line, *frames = str(caught.value).splitlines()
    assert signal_line.startswith("  | SIGSEGV")
    assert frames[-1].startswith(f"  | (addr2line -Cfie {hostile_library} 0x")
    assert all(re.fullmatch(rf"  \| {re.escape(str(hostile_library))}\(\+0x[0-9a-f]+\)", each) for each in frames[:-1])
    assert len(frames) > 1


def test_pytest_shows_no_frames_of_the_host(hostile_library: Path, tmp_path: Path) -> None:
    test = tmp_path / "test_it.py"
    test.write_text(f"""
import sys
sys.path.append({str(Path(__file__).parent / "support")!r})
import hardpoint
from hostile import Hostile

def test_it():
    hardpoint.load({str(hostile_library)!r}, Hostile, isolated=True).harm("segv")
""")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(test)]
    shown = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path).stdout
    assert "CrashedError: " in shown
    assert "isolation/host" not in shown
    assert "guard.py" not in shown


def test_of_many_words_the_last_lines_are_in_the_error(load_hostile: LoadHostile) -> None:
    plugin = load_hostile()
    plugin.write("before\n", 500)
    with pytest.raises(CrashedError) as caught:
        plugin.harm("last words")
    lines = caught.value.stderr.splitlines()
    assert "these are my last words" in lines
    assert len(lines) <= 100


@pytest.mark.skipif(shutil.which(CXX[0]) is None, reason="there is no C++ compiler")
def test_a_cxx_exception(compiler: Compiler, tmp_path: Path) -> None:
    """It cannot cross C: std::terminate aborts, and prints the exception."""
    from typing import Protocol, runtime_checkable

    @hardpoint.contract("thrower", version="1.0")
    @runtime_checkable
    class Thrower(Protocol):
        def throw_it(self) -> None: ...

    compiler.header(Thrower)
    source, target = tmp_path / "thrower.cpp", tmp_path / "thrower.so"
    source.write_text("""
#include <stdexcept>
#include "thrower.h"
static hp_status throw_it(void *, hp_out *) noexcept { throw std::runtime_error("thrown in C++"); }
THROWER_PLUGIN("thrower", "1.0", p.throw_it = throw_it);
""")
    plain = compiler.command
    compiler.command = CXX
    try:
        compiler.run("-std=c++17", "-w", "-fPIC", "-shared", "-o", str(target), str(source))
    finally:
        compiler.command = plain
    with hardpoint.loaded(target, Thrower, isolated=ENOUGH) as plugin:
        with pytest.raises(CrashedError, match="killed by SIGABRT in throw_it") as caught:
            plugin.throw_it()
        assert "thrown in C++" in caught.value.stderr


def test_all_memory_is_a_crash_and_not_the_hosts(load_hostile: LoadHostile) -> None:
    with pytest.raises(CrashedError) as caught:
        load_hostile(isolated=Isolation(memory="128MiB")).harm("eat")
    assert caught.value.signal == signal.SIGABRT  # malloc returned NULL


def test_what_a_plugin_writes_to_its_descriptors_changes_nothing(load_hostile: LoadHostile) -> None:
    """The host reads one message of a worker, which is sent before any code of the plugin runs."""
    plugin = load_hostile()
    assert plugin.harm("babble") == "alive"
    assert plugin.count() == 2


def test_a_worker_that_closes_everything(load_hostile: LoadHostile) -> None:
    """Calls go on over memory; it ends when it finds that it cannot hear of a new channel."""
    plugin = load_hostile()
    [before] = workers(plugin)
    with suppress(CrashedError):
        assert plugin.harm("close") == "alive"
        assert plugin.count() == 2
    with suppress(CrashedError):
        plugin.count()
    assert plugin.count() > 0
    hardpoint.close(plugin)
    assert eventually(lambda: not runs(before))


def test_the_exit_of_a_plugins_child_has_no_effect(load_hostile: LoadHostile) -> None:
    plugin = load_hostile()
    assert plugin.harm("child") == "alive"
    assert plugin.count() == 2
    assert plugin.pid() == workers(plugin)[0]


def test_a_plugin_that_kills_the_parent_of_its_process(load_hostile: LoadHostile) -> None:
    """The host is not affected: the call raises an error, and the next one works."""
    plugin, other = load_hostile(isolated=SHORT), load_hostile()
    with pytest.raises((CrashedError, TimedOutError)):
        plugin.harm("parent")
    for each in (plugin, other):
        with suppress(CrashedError):  # it died with its parent
            each.count()
        assert each.count() >= 1


@pytest.mark.parametrize("what", [*SIGNALS, *EXITS])
def test_a_create_that_dies(load_hostile: LoadHostile, hostile_library: Path, what: str) -> None:
    with pytest.raises(CrashedError) as caught:
        load_hostile(config=f"create:{what}")
    assert (caught.value.signal, caught.value.status) == (SIGNALS.get(what), EXITS.get(what))
    assert str(caught.value).startswith(f"{hostile_library}: the worker ")
    assert " in loading" in str(caught.value)


def test_a_create_that_takes_all_memory(load_hostile: LoadHostile) -> None:
    with pytest.raises(CrashedError, match="in loading"):
        load_hostile(config="create:eat")


def test_a_create_that_writes_to_its_descriptors(load_hostile: LoadHostile) -> None:
    assert load_hostile(config="create:babble").count() == 1


def test_a_create_that_closes_its_descriptors(load_hostile: LoadHostile) -> None:
    """It ends when the worker looks for more requests, before or after its answer."""
    with pytest.raises(CrashedError, match=r"exited with status 70 in (loading|count)"):
        load_hostile(config="create:close").count()


@pytest.mark.parametrize("what", ["segv", "abort", "_exit", "kill"])
def test_a_crash_in_destroy_is_logged(
    load_hostile: LoadHostile, hostile_library: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    plugin = load_hostile(config=f"destroy:{what}")
    [pid] = workers(plugin)
    with caplog.at_level(logging.WARNING, "hardpoint.plugin.hostile"):
        hardpoint.close(plugin)
    [record] = [each for each in caplog.records if each.levelno == logging.WARNING]
    how = "exited with status 3" if what == "_exit" else f"was killed by {SIGNALS.get(what, signal.SIGABRT).name}"
    assert record.getMessage().startswith(f"{hostile_library}: the worker {how} in destroy")
    assert not runs(pid)


@pytest.mark.parametrize("what", [*OTHERS, "exit", "alarm"])
def test_a_destroy_that_does_something_else_ends_too(load_hostile: LoadHostile, what: str) -> None:
    plugin = load_hostile(config=f"destroy:{what}")
    [pid] = workers(plugin)
    hardpoint.close(plugin)
    assert eventually(lambda: not runs(pid))


def test_frames_of_the_host_are_left_out_in_every_form() -> None:
    """glibc 2.41 writes a blank before the address, and a program that is not position-independent has no offset."""
    plugin = ["SIGSEGV:", "/tmp/faulty.so(+0x1d02) [0x7f75301d6d02]", "/tmp/faulty.so(greet+0x2)[0x7f75301d6d04]"]
    host = [
        "/usr/lib/_cffi_backend.cpython-313-x86_64-linux-gnu.so(+0x1a) [0x7f75301d6d05]",
        "/src/.venv/bin/python() [0x5ab0be]",
        "/usr/bin/python3.13(_PyEval_EvalFrameDefault+0x10)[0x5ab0bf]",
        "...",
    ]
    assert [*without_host([*plugin, *host, "the end"])] == [*plugin, "the end"]


ABORTS = """
#include <stdlib.h>
#include "greeter.h"
__attribute__((constructor)) static void start(void) { abort(); }
static hp_status greet(void *self, const char *name, size_t name_len, hp_out *out) {
    return (void)self, hp_write(out, name, name_len);
}
static hp_status lang(void *self, hp_out *out) { return (void)self, hp_puts(out, "English"); }
GREETER_PLUGIN("aborts", "1.0.0", .greet = greet, .lang = lang);
"""


def test_a_crash_while_the_library_is_opened_names_its_path(compiler: Compiler) -> None:
    """The dynamic linker knows it by its descriptor until it is open."""
    aborts = compiler.text("aborts", ABORTS)
    with pytest.raises(CrashedError, match="SIGABRT in loading") as caught:
        hardpoint.load(aborts, Greeter, isolated=True)
    assert f"{aborts}(+0x" in str(caught.value)
    assert "/proc/self" not in str(caught.value)
