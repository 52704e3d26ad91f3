"""Isolated plugins that die, hang or do worse: one clear error each, and the host goes on."""

from __future__ import annotations

import logging
import os
import re
import shlex
import shutil
import signal
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import hostile
import pytest
from hostile import Hostile
from processes import eventually, runs, workers

import hardpoint
from hardpoint import CrashedError, Isolation, TimedOutError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Compiler

CXX = shlex.split(os.environ.get("CXX") or "c++")

SIGNALS = {
    "segv": signal.SIGSEGV, "bus": signal.SIGBUS, "fpe": signal.SIGFPE, "ill": signal.SIGILL, "abort": signal.SIGABRT,
    "overflow": signal.SIGSEGV, "kill": signal.SIGKILL, "alarm": signal.SIGALRM,
}  # fmt: skip
EXITS = {"exit": 0, "_exit": 3}
HANGS = ("spin", "pause", "freeze", "stop", "handlers", "flood")
OTHERS = ("close", "babble", "eat", "daemon", "child")
ENOUGH = Isolation(timeout=30.0, memory="256MiB")
SHORT = Isolation(timeout=0.5, memory="256MiB")


@pytest.fixture(scope="session")
def library(compiler: Compiler) -> Path:
    return hostile.build(compiler)


@pytest.fixture
def load(library: Path, request: pytest.FixtureRequest) -> Callable[..., Hostile]:
    """Load the hostile plugin; it is closed after the test."""

    def load(isolated: Isolation = ENOUGH, **options: Any) -> Hostile:
        plugin = hardpoint.load(library, Hostile, isolated=isolated, **options)
        request.addfinalizer(lambda: hardpoint.close(plugin))
        return plugin

    return load


# -- a call ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", SIGNALS)
def test_a_call_that_a_signal_ends(load: Callable[..., Hostile], library: Path, what: str) -> None:
    plugin = load()
    assert [plugin.count(), plugin.count()] == [1, 2]
    [before] = workers(plugin)
    with pytest.raises(CrashedError) as caught:
        plugin.harm(what)
    error = caught.value
    assert (error.signal, error.status, error.path) == (SIGNALS[what], None, str(library))
    assert str(error).startswith(f"{library}: the worker was killed by {SIGNALS[what].name} in harm")
    assert plugin.count() == 1  # a fresh one
    assert workers(plugin) != (before,)
    assert not runs(before)


@pytest.mark.parametrize("what", EXITS)
def test_a_call_that_exits(load: Callable[..., Hostile], library: Path, what: str) -> None:
    plugin = load()
    with pytest.raises(CrashedError) as caught:
        plugin.harm(what)
    assert (caught.value.signal, caught.value.status) == (None, EXITS[what])
    assert str(caught.value).startswith(f"{library}: the worker exited with status {EXITS[what]} in harm")
    assert plugin.count() == 1


def test_the_last_words_are_in_the_error(load: Callable[..., Hostile]) -> None:
    with pytest.raises(CrashedError) as caught:
        load().harm("last words")
    assert caught.value.stderr.startswith("these are my last words")
    assert "in harm\n  | these are my last words" in str(caught.value)


def test_of_many_words_the_last_lines_are_in_the_error(load: Callable[..., Hostile]) -> None:
    plugin = load()
    plugin.write("before\n", 500)
    with pytest.raises(CrashedError) as caught:
        plugin.harm("last words")
    lines = caught.value.stderr.splitlines()
    assert "these are my last words" in lines
    assert len(lines) <= 100


@pytest.mark.skipif(shutil.which(CXX[0]) is None, reason="there is no C++ compiler")
def test_a_cxx_exception(compiler: Compiler, tmp_path: Path) -> None:
    """It cannot cross C: std::terminate aborts, and says what was thrown."""
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


@pytest.mark.parametrize("what", HANGS)
def test_a_call_that_hangs_is_ended_in_time(load: Callable[..., Hostile], library: Path, what: str) -> None:
    plugin = load(SHORT)
    [before] = workers(plugin)
    with pytest.raises(TimedOutError) as caught:
        plugin.harm(what)
    assert isinstance(caught.value, TimeoutError)
    assert str(caught.value) == f"{library}: harm took longer than 0.5 s, and the worker was killed"
    assert eventually(lambda: not runs(before))
    assert plugin.count() == 1


def test_a_hang_in_one_thread_ends_the_call_of_another_with_a_word_why(load: Callable[..., Hostile]) -> None:
    plugin = load(SHORT)
    errors: list[BaseException] = []

    def nap() -> None:
        try:
            time.sleep(0.3)
            plugin.nap(10_000)
        except hardpoint.HardpointError as error:
            errors.append(error)

    thread = threading.Thread(target=nap)
    thread.start()
    with pytest.raises(TimedOutError):
        plugin.harm("spin")
    thread.join()
    [error] = errors
    assert isinstance(error, CrashedError)
    assert "the worker was killed in nap, since another call took too long" in str(error)


def test_all_memory_is_a_crash_and_not_the_hosts(load: Callable[..., Hostile]) -> None:
    with pytest.raises(CrashedError) as caught:
        load(Isolation(memory="128MiB")).harm("eat")
    assert caught.value.signal == signal.SIGABRT  # malloc gave NULL


def test_bytes_that_are_no_answer_are_a_crash(load: Callable[..., Hostile]) -> None:
    plugin = load()
    with pytest.raises(CrashedError, match=r"in harm, the worker sent what no worker sends .* and was killed: the plugin "
                                           r"wrote to a descriptor .* report it to the author of hostile") as caught:  # fmt: skip
        plugin.harm("babble")
    assert (caught.value.signal, caught.value.status) == (None, None)
    assert plugin.count() == 1


def test_a_worker_that_closes_everything_is_gone(load: Callable[..., Hostile]) -> None:
    plugin = load()
    [before] = workers(plugin)
    with pytest.raises(
        CrashedError, match=r"the worker (left its connection to the host, and was killed|exited with .*) in harm"
    ):
        plugin.harm("close")
    assert eventually(lambda: not runs(before))
    assert plugin.count() == 1


def test_the_death_of_a_child_of_the_plugin_disturbs_nobody(load: Callable[..., Hostile]) -> None:
    plugin = load()
    assert plugin.harm("child") == "alive"
    assert plugin.count() == 2
    assert plugin.pid() == workers(plugin)[0]


def test_a_plugin_that_kills_the_parent_of_its_process(load: Callable[..., Hostile]) -> None:
    """That is no business of the host: the call is an error, and the next one is served."""
    plugin, other = load(SHORT), load()
    with pytest.raises((CrashedError, TimedOutError)):
        plugin.harm("parent")
    for each in (plugin, other):
        with suppress(CrashedError):  # it died with the other
            each.count()
        assert each.count() >= 1


# -- create ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", [*SIGNALS, *EXITS])
def test_a_create_that_dies(load: Callable[..., Hostile], library: Path, what: str) -> None:
    with pytest.raises(CrashedError) as caught:
        load(config=f"create:{what}")
    assert (caught.value.signal, caught.value.status) == (SIGNALS.get(what), EXITS.get(what))
    assert str(caught.value).startswith(f"{library}: the worker ")
    assert " in create" in str(caught.value)


@pytest.mark.parametrize("what", HANGS)
def test_a_create_that_hangs(load: Callable[..., Hostile], library: Path, what: str) -> None:
    with pytest.raises(TimedOutError) as caught:
        load(SHORT, config=f"create:{what}")
    assert str(caught.value) == f"{library}: create took longer than 0.5 s, and the worker was killed"


@pytest.mark.parametrize("what", ["close", "babble", "eat"])
def test_a_create_that_does_worse(load: Callable[..., Hostile], what: str) -> None:
    with pytest.raises(CrashedError, match="in create"):
        load(config=f"create:{what}")


# -- destroy ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["segv", "abort", "_exit", "kill", "eat"])
def test_a_destroy_that_dies_is_told_of(
    load: Callable[..., Hostile], library: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    plugin = load(config=f"destroy:{what}")
    [pid] = workers(plugin)
    with caplog.at_level(logging.WARNING, "hardpoint.plugin.hostile"):
        hardpoint.close(plugin)
    [record] = [each for each in caplog.records if each.levelno == logging.WARNING]
    how = "exited with status 3" if what == "_exit" else f"was killed by {SIGNALS.get(what, signal.SIGABRT).name}"
    assert record.getMessage().startswith(f"{library}: the worker {how} in destroy")
    assert not runs(pid)


@pytest.mark.parametrize("what", HANGS)
def test_a_destroy_that_hangs_is_ended_within_a_second(
    load: Callable[..., Hostile], library: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    plugin = load(config=f"destroy:{what}")
    [pid] = workers(plugin)
    with caplog.at_level(logging.WARNING, "hardpoint.plugin.hostile"):
        start = time.monotonic()
        hardpoint.close(plugin)
        took = time.monotonic() - start
    assert took < 1  # the promise
    [record] = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert record.getMessage() == f"{library}: destroy took too long, and the worker was killed"
    assert eventually(lambda: not runs(pid))


@pytest.mark.parametrize("what", [*OTHERS, "exit", "alarm"])
def test_a_destroy_that_does_something_else_ends_too(load: Callable[..., Hostile], what: str) -> None:
    plugin = load(config=f"destroy:{what}")
    [pid] = workers(plugin)
    hardpoint.close(plugin)
    assert eventually(lambda: not runs(pid))


def test_a_frozen_worker_is_closed_within_a_second(load: Callable[..., Hostile]) -> None:
    plugin = load()
    [pid] = workers(plugin)
    os.kill(pid, signal.SIGSTOP)
    start = time.monotonic()
    hardpoint.close(plugin)
    assert time.monotonic() - start < 1
    assert eventually(lambda: not runs(pid))


def test_a_call_of_a_frozen_worker_times_out(load: Callable[..., Hostile]) -> None:
    plugin = load(SHORT)
    os.kill(workers(plugin)[0], signal.SIGSTOP)
    with pytest.raises(TimedOutError, match=r"count took longer than 0\.5 s"):
        plugin.count()
    assert plugin.count() == 1


def test_signals_in_the_host_do_not_put_the_timeout_off(load: Callable[..., Hostile]) -> None:
    """A profiler's timer, say: each signal interrupts the wait for the answer."""
    plugin = load(SHORT)
    guard = threading.Timer(10, os.kill, (workers(plugin)[0], signal.SIGKILL))
    guard.start()
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    try:
        with pytest.raises(TimedOutError):
            plugin.harm("pause")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        guard.cancel()


# -- what follows ----------------------------------------------------------------------------------------------------


def test_restart_never_stays_dead(load: Callable[..., Hostile], library: Path) -> None:
    plugin = load(Isolation(restart="never"))
    with pytest.raises(CrashedError, match="killed by SIGSEGV in harm"):
        plugin.harm("segv")
    for _ in range(2):
        with pytest.raises(CrashedError) as caught:
            plugin.count()
        assert str(caught.value).startswith(
            f"{library}: count cannot be called: the worker died before, and restart is 'never'"
        )
        assert "SIGSEGV" in str(caught.value)
        assert str(caught.value).endswith("load it again")
    assert workers(plugin) == ()


def test_restart_never_after_a_hang_is_a_timeout_still(load: Callable[..., Hostile]) -> None:
    plugin = load(Isolation(timeout=0.5, restart="never"))
    for what in ("harm took longer", "harm cannot be called"):
        with pytest.raises(TimedOutError, match=what):
            plugin.harm("pause")


def test_a_plugin_that_dies_at_every_start_is_given_up(
    load: Callable[..., Hostile], library: Path, tmp_path: Path
) -> None:
    trap = tmp_path / "trap"
    plugin = load(config=f"if:{trap}")
    trap.touch()
    with pytest.raises(CrashedError):
        plugin.harm("abort")
    said = []
    for _ in range(6):
        with pytest.raises(CrashedError) as caught:
            plugin.count()
        said.append(str(caught.value))
    starts = [each for each in said if each.startswith(f"{library}: the worker was killed by SIGABRT in create")]
    assert len(starts) == 4
    assert re.match(
        rf"{re.escape(str(library))}: count cannot be called: the plugin was given up after 4 starts in a row that failed, "
        r"the last so: .*SIGABRT in create(.|\n)*; mend it, and load it again$", said[-1],
    )  # fmt: skip
    trap.unlink()
    with pytest.raises(CrashedError, match="given up"):
        plugin.count()
    assert load().count() == 1  # and loaded again, it is there again


def test_a_start_that_goes_well_makes_up_for_those_that_failed(load: Callable[..., Hostile], tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    plugin = load(config=f"if:{trap}")
    for _ in range(2):
        trap.touch()
        with pytest.raises(CrashedError):
            plugin.harm("abort")
        with pytest.raises(CrashedError):
            plugin.count()
        trap.unlink()
        assert plugin.count() == 1
