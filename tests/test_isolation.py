"""Isolated plugins that behave: arguments of load, and hosts of every kind."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import IMPORTABLE, TESTS
from hostile import Hostile
from probe import Probe
from processes import eventually, runs, workers

import hardpoint
from hardpoint import Isolation
from hardpoint.contracts import Transformer

if TYPE_CHECKING:
    from conftest import LoadHostile, RunPython


def test_info_has_the_isolation_status(load_hostile: LoadHostile, hostile_library: Path) -> None:
    options = Isolation(timeout=5.0, memory="256MiB")
    plugin = load_hostile(isolated=options)
    about = hardpoint.info(plugin)
    assert about.isolation is not None
    assert about.isolation.options == options
    assert about.isolation.workers == (plugin.pid(),)
    assert all(isinstance(line, str) for line in about.isolation.sandbox)
    assert about.isolation.sandbox
    assert about.sha256 == hashlib.sha256(hostile_library.read_bytes()).hexdigest()
    assert about.binding in {"native", "cffi", "ctypes"}
    assert plugin.pid() != os.getpid()


def test_a_closed_plugin_has_no_worker(load_hostile: LoadHostile) -> None:
    plugin = load_hostile()
    [pid] = workers(plugin)
    hardpoint.close(plugin)
    assert not runs(pid)
    assert workers(plugin) == ()
    hardpoint.close(plugin)
    with pytest.raises(hardpoint.ClosedError, match="count cannot be called: hostile was closed; load it again"):
        plugin.count()


def test_an_unreferenced_object_ends_its_worker(hostile_library: Path) -> None:
    plugin = hardpoint.load(hostile_library, Hostile, isolated=True)
    [pid] = workers(plugin)
    del plugin
    assert eventually(lambda: not runs(pid))


def test_the_same_file_can_be_in_the_process_too(
    load_hostile: LoadHostile, hostile_library: Path, tmp_path: Path, binding: Any
) -> None:
    copy = shutil.copy(hostile_library, tmp_path)
    inside = hardpoint.load(copy, Hostile, binding=binding)
    outside = load_hostile(Path(copy))
    assert (inside.pid(), outside.pid() != os.getpid()) == (os.getpid(), True)


def test_config_reaches_a_fresh_worker_too(probe_library: Path) -> None:
    with hardpoint.loaded(probe_library, Probe, isolated=True, config={"a": "é"}) as plugin:
        assert plugin.config() == '{"a": "é"}'
        os.kill(workers(plugin)[0], signal.SIGKILL)
        with pytest.raises(hardpoint.CrashedError, match="killed by SIGKILL in config"):
            plugin.config()
        assert plugin.config() == '{"a": "é"}'


def test_a_large_config_and_a_long_reason(probe_library: Path) -> None:
    """The text is larger than a packet."""
    config = "x" * 3_000_000
    with hardpoint.loaded(probe_library, Probe, isolated=True, config=config) as plugin:
        assert plugin.config() == config
        with pytest.raises(hardpoint.CallError) as caught:
            plugin.fail(300, config)
        assert (caught.value.status, caught.value.text) == (300, config)


def test_many_large_arguments_at_once(probe_library: Path) -> None:
    with hardpoint.loaded(probe_library, Probe, isolated=True) as plugin:
        for size in (0, 1, 16383, 16384, 16385, 100_000, 5_000_000, 10):
            data = bytearray(b"f" * size)
            text = plugin.mixed(-1, 2.5, "é" * size, True, b"e" * size, data, 0.125, 7)
            assert text == f"-1 2.5 {'é' * size} 1 {'e' * size} {size} 0.125 7"
            assert data == bytes(size)


OPTIONS: list[dict[str, Any]] = [
    {"timeout": 0}, {"timeout": -1.0}, {"timeout": "2"}, {"timeout": float("nan")}, {"workers": 0}, {"workers": 1.5},
    {"workers": None}, {"workers": True}, {"cpu": 0.5}, {"files": "many"}, {"restart": "always"},
    {"restart": []}, {"sandbox": 1}, {"sandbox": []}, {"memory": 10**30}, {"cpu": 10**30}, {"workers": 10**30},
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_invalid_options(options: dict[str, Any]) -> None:
    [(name, value)] = options.items()
    with pytest.raises(ValueError, match=rf"^Isolation\({name}=\.\.\.\) is .*, not {re.escape(repr(value))}$"):
        Isolation(**options)


@pytest.mark.parametrize("size", ["much", -1, 0, "0MiB", "1.5GiB", ""])
def test_invalid_sizes(size: Any) -> None:
    with pytest.raises(ValueError, match=rf"not {size!r}$"):
        Isolation(memory=size)


def test_an_unknown_option(hostile_library: Path) -> None:
    with pytest.raises(TypeError, match="tiemout"):
        Isolation(tiemout=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"^isolated is True, False or an Isolation\(\.\.\.\), not str$"):
        hardpoint.load(hostile_library, Hostile, isolated="yes")  # type: ignore[arg-type]


@pytest.mark.parametrize("timeout", [30, 1e300, float("inf")])
def test_long_timeouts(hostile_library: Path, timeout: float) -> None:
    with hardpoint.loaded(hostile_library, Hostile, isolated=Isolation(timeout=timeout)) as plugin:
        assert plugin.count() == 1


def test_refusals_come_before_any_process_starts(
    hostile_library: Path, english: Path, tmp_path: Path, run_python: RunPython
) -> None:
    code = f"""
import sys
sys.path[:0] = {IMPORTABLE!r}
import hardpoint
from hardpoint.contracts import Greeter, Transformer
from processes import children
def refused(kind, path, contract=Greeter, **options):
    try:
        hardpoint.load(path, contract, isolated=True, **options)
    except kind as error:
        print(type(error).__name__, children())
refused(hardpoint.PluginNotFoundError, "/nowhere.so")
refused(hardpoint.NotAPluginError, {str(TESTS / "conftest.py")!r})
refused(hardpoint.IncompatibleError, {str(english)!r}, Transformer)
refused(hardpoint.IncompatibleError, {str(english)!r}, sha256="0" * 64)
refused(ValueError, {str(english)!r}, sha256="0")
refused(TypeError, {str(english)!r}, config=5)
"""
    names = [
        "PluginNotFoundError",
        "NotAPluginError",
        "IncompatibleError",
        "IncompatibleError",
        "ValueError",
        "TypeError",
    ]
    assert run_python(code).stdout.splitlines() == [f"{name} []" for name in names]
    with pytest.raises(hardpoint.IncompatibleError, match="does not fit transformer") as caught:
        hardpoint.load(english, Transformer, isolated=True)
    with pytest.raises(hardpoint.IncompatibleError) as inside:
        hardpoint.load(english, Transformer)
    assert (str(caught.value), caught.value.problems) == (str(inside.value), inside.value.problems)


def test_pinned(load_hostile: LoadHostile, hostile_library: Path, tmp_path: Path) -> None:
    """Every worker loads exactly those bytes, whatever happens to the file."""
    digest = hashlib.sha256(hostile_library.read_bytes()).hexdigest()
    path = Path(shutil.copy(hostile_library, tmp_path / "pinned.so"))
    plugin = load_hostile(path, sha256=digest)
    assert hardpoint.info(plugin).sha256 == digest
    path.unlink()
    assert plugin.count() == 1
    with pytest.raises(hardpoint.CrashedError):
        plugin.harm("abort")
    assert plugin.count() == 1
    with pytest.raises(hardpoint.IncompatibleError, match="is another file"):
        load_hostile(sha256=digest[::-1])


def test_a_host_that_blocks_signals_sees_the_signal_that_killed_a_worker(
    hostile_library: Path, run_python: RunPython
) -> None:
    """The processes that it starts would inherit the mask."""
    code = f"""
import signal, sys
sys.path[:0] = {IMPORTABLE!r}
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
import hardpoint
from hostile import Hostile
plugin = hardpoint.load({str(hostile_library)!r}, Hostile, isolated=hardpoint.Isolation(timeout=30))
for what in ("alarm", "segv", "exit"):
    try:
        plugin.harm(what)
    except hardpoint.CrashedError as error:
        print(error.signal, error.status)
"""
    assert run_python(code).stdout == "14 None\n11 None\nNone 0\n"


def test_a_host_without_stdin_stdout_and_stderr(hostile_library: Path, tmp_path: Path, run_python: RunPython) -> None:
    """As a daemon, where descriptors 0, 1 and 2 are the first files that it opened."""
    said = tmp_path / "said"
    code = f"""
import os, sys
sys.path[:0] = {IMPORTABLE!r}
import hardpoint
from hostile import Hostile
for fd in range(3):
    os.close(fd)
plugin = hardpoint.load({str(hostile_library)!r}, Hostile, isolated=True)
plugin.write("nobody", 1)
count = plugin.count()
with open({str(said)!r}, "w") as file:
    file.write(str(count))
"""
    run_python(code, check=False)
    assert said.read_text() == "1"
