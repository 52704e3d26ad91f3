"""No orphans and no files left behind, whichever process ends, and however."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest
from conftest import IMPORTABLE
from hostile import Hostile
from processes import children, eventually, freeze, gone, parent, promised, runs, workers, zygotes_of

import hardpoint
from hardpoint import Isolation

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import RunPython


def litter() -> set[str]:
    """Files of hardpoint in the folders for temporary ones."""
    return {f"{folder}/{name}" for folder in ("/tmp", "/dev/shm", "/var/tmp") if os.path.isdir(folder)
            for name in os.listdir(folder) if "hardpoint" in name or "hp" in name}  # fmt: skip


# -- the host ends ---------------------------------------------------------------------------------------------------

START = f"""
import os, signal, sys, threading, time
sys.path[:0] = {IMPORTABLE!r}
import hardpoint
from hostile import Hostile
from processes import children, parent, workers
plugin = hardpoint.load(LIBRARY, Hostile, isolated=hardpoint.Isolation(workers=2))
other = hardpoint.load(LIBRARY, Hostile, isolated=True)
threads = [threading.Thread(target=plugin.nap, args=(100,)) for _ in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
pids = [*workers(plugin), *workers(other)]
zygote = parent(pids[0])
print(zygote, *children(zygote), flush=True)
"""

ENDS = {
    "return": "",
    "exception": "raise ZeroDivisionError",
    "sys-exit": "sys.exit(3)",
    "os-exit": "os._exit(0)",
    "sigkill": "os.kill(os.getpid(), signal.SIGKILL)",
    "sigterm": "os.kill(os.getpid(), signal.SIGTERM)",
    "sigint": "os.kill(os.getpid(), signal.SIGINT); time.sleep(30)",
    "abort": "os.abort()",
    "calls-in-threads": """
for _ in range(4):
    threading.Thread(target=plugin.nap, args=(60_000,), daemon=True).start()
time.sleep(0.2)
""",
    "hangs-in-threads": """
for what in ("spin", "freeze", "handlers", "flood"):
    threading.Thread(target=other.harm, args=(what,), daemon=True).start()
time.sleep(0.2)
os.kill(os.getpid(), signal.SIGKILL)
""",
    "frozen-workers": """
for pid in pids:
    os.kill(pid, signal.SIGSTOP)
os._exit(0)
""",
    "frozen-zygote": "os.kill(zygote, signal.SIGSTOP); os.kill(os.getpid(), signal.SIGKILL)",
    "exec": "os.execv('/bin/true', ['true'])",
    "fork-that-lives-on": """
if os.fork() == 0:
    for fd in (1, 2):
        os.close(fd)
    time.sleep(20)
    os._exit(0)
os._exit(0)
""",
    "thread-that-loaded-ends": """
def load():
    global third
    third = hardpoint.load(LIBRARY, Hostile, isolated=True)
thread = threading.Thread(target=load)
thread.start(); thread.join()
assert third.count() == 1
os.kill(os.getpid(), signal.SIGKILL)
""",
    "shutdown-with-a-plugin-held-by-a-module": "sys.modules['keeps'] = plugin; import atexit; atexit.register(plugin.count)",
}


@pytest.mark.parametrize("end", ENDS)
def test_whatever_ends_the_host_ends_its_workers(hostile_library: Path, end: str) -> None:
    before = litter()
    code = (START + ENDS[end]).replace("LIBRARY", repr(str(hostile_library)))

    def run() -> float:
        with subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as host:
            assert host.stdout is not None
            assert host.stderr is not None
            pids = [int(pid) for pid in host.stdout.readline().split()]
            assert len(pids) == 4
            host.wait(20)
            start = time.monotonic()
            assert eventually(lambda: not any(map(runs, pids)), 10), [pid for pid in pids if runs(pid)]
            took = time.monotonic() - start
            said = host.stderr.read() if end != "fork-that-lives-on" else ""
        if end not in {"exception", "sigint"}:
            assert said == ""
        return took

    promised(1.0, run)
    assert litter() <= before


def test_a_host_that_ends_at_once_leaves_nothing(hostile_library: Path) -> None:
    """While the zygote or a worker is starting."""
    code = f"""
import os, sys, threading, time
sys.path[:0] = {IMPORTABLE!r}
import hardpoint
from hostile import Hostile
threading.Thread(target=lambda: hardpoint.load({str(hostile_library)!r}, Hostile, isolated=True).nap(60_000), daemon=True).start()
time.sleep(float(sys.argv[1]))
print(os.getpid(), flush=True)
os._exit(0)
"""

    def run(milliseconds: int) -> float:
        done = subprocess.run(
            [sys.executable, "-c", code, str(milliseconds / 1000)], capture_output=True, text=True, check=False
        )
        start = time.monotonic()
        assert done.stderr == ""
        assert eventually(lambda: not zygotes_of(done.stdout.strip()), 5)
        return time.monotonic() - start

    for milliseconds in (1, 20, 30, 40, 50, 60, 80):
        promised(1.0, partial(run, milliseconds))


def test_a_plugin_cannot_start_a_daemon(hostile_library: Path) -> None:
    """It would outlive the host."""
    with hardpoint.loaded(hostile_library, Hostile, isolated=True) as plugin:
        zygote = parent(workers(plugin)[0])
        own = {zygote, *children(zygote)}
        assert str(zygote) in zygotes_of(str(os.getpid()))
        assert plugin.harm("daemon") == "alive"
        assert {int(pid) for pid in zygotes_of(str(os.getpid()))} <= own
    assert {int(pid) for pid in zygotes_of(str(os.getpid()))} <= own


# -- fork ------------------------------------------------------------------------------------------------------------


def test_a_forked_child_can_load_its_own_plugins(hostile_library: Path, run_python: RunPython) -> None:
    code = f"""
import os, sys, threading
sys.path[:0] = {IMPORTABLE!r}
import hardpoint
from hostile import Hostile
plugin = hardpoint.load({str(hostile_library)!r}, Hostile, isolated=hardpoint.Isolation(timeout=30))
assert plugin.count() == 1
napping = threading.Thread(target=plugin.nap, args=(500,))
napping.start()
for turn in range(3):
    child = os.fork()
    if child == 0:
        for attempt in (plugin.count, lambda: hardpoint.reload(plugin)):
            try:
                attempt()
            except hardpoint.ClosedError as error:
                print("child:", error, flush=True)
        hardpoint.close(plugin)
        with hardpoint.loaded({str(hostile_library)!r}, Hostile, isolated=True) as own:
            assert own.count() == 1
            try:
                own.harm("segv")
            except hardpoint.CrashedError:
                print("child: crashed", own.count(), flush=True)
        del plugin
        os._exit(0)
    assert os.waitpid(child, 0) == (child, 0)
    assert plugin.count() == turn + 2
napping.join()
print("parent", plugin.count())
"""
    closed = [f"child: {name} cannot be called: hostile was loaded before this process was forked; load it again here"
              for name in ("count", "reload")]  # fmt: skip
    assert run_python(code).stdout.splitlines() == [*closed, "child: crashed 1"] * 3 + ["parent 5"]


def test_a_child_that_is_forked_while_others_load_and_call(hostile_library: Path, run_python: RunPython) -> None:
    """It inherits locks in any state. (It would hang on the lock of a module that another thread was importing.)"""
    code = f"""
import faulthandler, logging, os, sys, threading
logging.disable(logging.WARNING)  # a busy machine takes too long to end a worker, now and then
sys.path[:0] = {IMPORTABLE!r}
import hardpoint
from hostile import Hostile
with hardpoint.loaded({str(hostile_library)!r}, Hostile, isolated=True) as plugin:
    plugin.count()
ending = threading.Event()
def busy():
    while not ending.is_set():
        with hardpoint.loaded({str(hostile_library)!r}, Hostile, isolated=True) as plugin:
            plugin.write("line\\n", 3)
            plugin.count()
threads = [threading.Thread(target=busy) for _ in range(3)]
for thread in threads: thread.start()
for turn in range(8):
    child = os.fork()
    if child == 0:
        faulthandler.dump_traceback_later(20, exit=True)
        with hardpoint.loaded({str(hostile_library)!r}, Hostile, isolated=hardpoint.Isolation(timeout=30)) as plugin:
            os._exit(40 + plugin.count())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 41
ending.set()
for thread in threads: thread.join()
print("done")
"""
    assert run_python(code).stdout == "done\n"


# -- the zygote ends -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV], ids=lambda how: how.name)
def test_the_zygote_dies_and_another_takes_its_place(hostile_library: Path, how: signal.Signals) -> None:
    with hardpoint.loaded(hostile_library, Hostile, isolated=Isolation(timeout=30.0)) as plugin:
        for _ in range(3):
            [pid] = workers(plugin)
            zygote = parent(pid)
            os.kill(zygote, how)
            assert gone(zygote, pid)
            with pytest.raises(hardpoint.CrashedError, match=r"(in|before) count"):
                plugin.count()
            assert plugin.count() == 1
            assert parent(workers(plugin)[0]) != zygote
            with hardpoint.loaded(hostile_library, Hostile, isolated=True) as other:
                assert other.count() == 1
            assert zygote not in children()  # not a zombie


def test_the_zygote_dies_between_loads(hostile_library: Path) -> None:
    for _ in range(5):
        with hardpoint.loaded(hostile_library, Hostile, isolated=True) as plugin:
            zygote = parent(workers(plugin)[0])
        os.kill(zygote, signal.SIGKILL)  # without waiting until that is noticed
        with hardpoint.loaded(hostile_library, Hostile, isolated=True) as plugin:
            try:
                assert plugin.count() == 1
            except hardpoint.CrashedError as error:  # its worker was forked by the dying zygote
                assert "the process that forks workers ended" in str(error)  # noqa: PT017 - it need not happen
                assert plugin.count() == 1


def test_a_zygote_that_a_plugin_stopped_does_not_stop_the_host(hostile_library: Path) -> None:
    with hardpoint.loaded(hostile_library, Hostile, isolated=True) as plugin:
        zygote = parent(workers(plugin)[0])
        freeze(zygote)
        with hardpoint.loaded(hostile_library, Hostile, isolated=Isolation(timeout=5)) as other:  # it took 10 s
            assert other.count() == 1
        assert eventually(lambda: not runs(zygote))


def test_a_host_that_waits_for_all_its_children(hostile_library: Path, run_python: RunPython) -> None:
    code = f"""
import os, signal, sys, threading, time
sys.path[:0] = {IMPORTABLE!r}
import hardpoint
from hostile import Hostile
from processes import parent, workers
plugin = hardpoint.load({str(hostile_library)!r}, Hostile, isolated=True)
def reap():
    try:
        os.wait()
    except ChildProcessError:  # it was not quick enough
        pass
zygote = parent(workers(plugin)[0])
thread = threading.Thread(target=reap)
thread.start()
os.kill(zygote, signal.SIGKILL)
thread.join()
try:
    plugin.count()
except hardpoint.CrashedError:
    print(plugin.count())
"""
    assert run_python(code).stdout == "1\n"
