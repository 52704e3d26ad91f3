"""A host in odd surroundings: each failure is an error of hardpoint's that names its cause."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from conftest import CAN_BUILD_NATIVE, how
from probe import Probe

import hardpoint
from hardpoint.contracts import Greeter

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Compiler, Fresh, RunPython, Way

# -- no memory that is writable and executable -------------------------------------------------------------------------


def deny(run_python: RunPython, code: str) -> str:
    """Run code where no memory can be both writable and executable (PR_SET_MDWE, Linux 6.3)."""
    done = run_python(
        f"import os\nfrom hardpoint.ffi.libc import libc\nif libc.prctl(65, 1, 0, 0, 0): os._exit(77)\n{code}",
        check=False,
    )
    if done.returncode == 77:
        pytest.skip("this kernel has no PR_SET_MDWE")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("binding", ["cffi", pytest.param("ctypes", marks=pytest.mark.long)])
def test_a_binding_that_needs_executable_memory_is_refused_before_code_runs(
    binding: str, compiler: Compiler, run_python: RunPython
) -> None:
    library = compiler.library("english/english.c")
    code = f"""
import hardpoint
from hardpoint.contracts import Greeter
for _ in range(2):
    try:
        hardpoint.load({str(library)!r}, Greeter, binding={binding!r})
    except hardpoint.LoadError as error:
        print(error)
print(open("/proc/self/maps").read().count({str(library)!r}))
"""
    message = (
        f"{library} cannot be called through the {binding} binding: it needs memory that is both writable and executable, "
        "which this process cannot have (systemd's MemoryDenyWriteExecute=, SELinux's execmem and prctl's PR_SET_MDWE refuse "
        "it); allow that, or use the native binding"
    )
    assert deny(run_python, code).splitlines() == [message, message, "0"]


@pytest.mark.skipif(not CAN_BUILD_NATIVE, reason="the native binding is built with Python.h")
def test_the_native_binding_needs_none(english: Path, run_python: RunPython) -> None:
    code = f"""
import hardpoint
from hardpoint.contracts import Greeter
for isolated in (False, True):
    print(hardpoint.load({str(english)!r}, Greeter, isolated=isolated).lang())
"""
    assert deny(run_python, code) == "English\nEnglish\n"


# -- no /proc ----------------------------------------------------------------------------------------------------------


def test_without_proc_no_code_runs(english: Path) -> None:
    code = f"""
import hardpoint
from hardpoint.contracts import Greeter
for options in ({{}}, {{"sha256": "0" * 64}}, {{"isolated": True}}):
    try:
        hardpoint.load({str(english)!r}, Greeter, **options)
    except hardpoint.HardpointError as error:
        print(type(error).__name__, error)
        print(error.plugin, error.method, error.path)
"""
    script = 'mount -t tmpfs none /proc && exec "$0" -c "$1"'
    words = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, sys.executable, code]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip("no user namespaces here")
    assert done.stderr == ""
    plain, about, pinned, _, isolated, about_isolated = done.stdout.splitlines()
    assert (about, about_isolated) == (f"None None {english}", f"english None {english}")
    why = f"LoadError {english} cannot be loaded: there is no /proc here, which tells what the dynamic linker mapped; mount it "
    assert plain == isolated == f"{why}(mount -t proc proc /proc)"
    assert pinned.startswith(f"IncompatibleError {english} is another file")


# -- configs -----------------------------------------------------------------------------------------------------------


def test_a_config_that_is_nested_too_deeply(english: Path) -> None:
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    with pytest.raises(
        ValueError, match=r"^load\(\) argument 'config' cannot travel as JSON: it is nested too deeply$"
    ):
        hardpoint.load(english, Greeter, config=deep)
    while deep:  # or its end would recurse
        deep = deep.pop("a")


# -- what errors know --------------------------------------------------------------------------------------------------


def about(error: hardpoint.HardpointError) -> tuple[str | None, str | None, str | None]:
    assert type(error) is type(again := pickle.loads(pickle.dumps(error)))
    assert (str(again), vars(again)) == (str(error), vars(error))
    return error.path, error.plugin, error.method


def test_errors_of_calls_name_plugin_and_method(way: Way, probe_library: Path, fresh: Fresh) -> None:
    library = fresh(probe_library)
    path = str(library)
    plugin = hardpoint.load(library, Probe, **how(way))
    with pytest.raises(hardpoint.CallError) as caught:
        plugin.fail(3, "no")
    assert about(caught.value) == (path, "probe", "fail")
    with pytest.raises(hardpoint.ContractBrokenError) as broken:
        plugin.break_rule("length")
    assert about(broken.value) == (path, "probe", "break_rule")
    hardpoint.close(plugin)
    with pytest.raises(hardpoint.ClosedError) as closed:
        plugin.text("x")
    assert about(closed.value) == (path, "probe", "text")
    with pytest.raises(hardpoint.CreateError) as create:
        hardpoint.load(library, Probe, config="refuse", **how(way))
    assert about(create.value) == (path, "probe", "create")


def test_errors_of_workers_name_plugin_and_method(hostile_library: Path) -> None:
    from hostile import SHORT, Hostile

    path = str(hostile_library)
    with hardpoint.loaded(hostile_library, Hostile, isolated=SHORT) as plugin:
        with pytest.raises(hardpoint.CrashedError) as crashed:
            plugin.harm("abort")
        assert about(crashed.value) == (path, "hostile", "harm")
        with pytest.raises(hardpoint.TimedOutError) as timed_out:
            plugin.nap(60_000)
        assert about(timed_out.value) == (path, "hostile", "nap")
    with pytest.raises(hardpoint.CrashedError) as loading:
        hardpoint.load(hostile_library, Hostile, config="create:abort", isolated=SHORT)
    assert about(loading.value) == (path, "hostile", None)


def test_other_errors_have_neither(tmp_path: Path) -> None:
    with pytest.raises(hardpoint.PluginNotFoundError) as caught:
        hardpoint.load(tmp_path / "gone.so", Greeter)
    assert about(caught.value) == (f"{tmp_path}/gone.so", None, None)
