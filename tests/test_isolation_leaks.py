"""Loading, calling and closing isolated plugins leaks nothing in the host."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from conftest import IMPORTABLE
from hostile import Hostile
from processes import children, eventually, held, parent, runs, workers

import hardpoint
from hardpoint import Isolation

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import RunPython


def loads(hostile_library: Path) -> dict[str, Callable[[], Any]]:
    quick = Isolation(timeout=1.0)

    def load_and_close() -> None:
        with hardpoint.loaded(hostile_library, Hostile, isolated=True) as plugin:
            plugin.count()
            plugin.write("line\n", 2)

    def drop() -> None:
        hardpoint.load(hostile_library, Hostile, isolated=True).count()

    def crash() -> None:
        with hardpoint.loaded(hostile_library, Hostile, isolated=True) as plugin, pytest.raises(hardpoint.CrashedError):
            plugin.harm("abort")

    def crash_in_create() -> None:
        with pytest.raises(hardpoint.CrashedError):
            hardpoint.load(hostile_library, Hostile, isolated=True, config="create:_exit")

    def hang() -> None:
        with (
            hardpoint.loaded(hostile_library, Hostile, isolated=quick) as plugin,
            pytest.raises(hardpoint.TimedOutError),
        ):
            plugin.harm("pause")

    def reload() -> None:
        with hardpoint.loaded(hostile_library, Hostile, isolated=True) as plugin:
            hardpoint.reload(plugin)
            plugin.count()

    def pool() -> None:
        with hardpoint.loaded(hostile_library, Hostile, isolated=Isolation(workers=2)) as plugin:
            threads = [threading.Thread(target=plugin.nap, args=(5,)) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    def kill_zygote() -> None:
        with hardpoint.loaded(hostile_library, Hostile, isolated=True) as plugin:
            zygote = parent(workers(plugin)[0])
            os.kill(zygote, signal.SIGKILL)
            eventually(lambda: not runs(zygote))
            with pytest.raises(hardpoint.CrashedError):
                plugin.count()
            plugin.count()

    return {function.__name__: function for function in
            (load_and_close, drop, crash, crash_in_create, hang, reload, pool, kill_zygote)}  # fmt: skip


NAMES = ["load_and_close", "drop", "crash", "crash_in_create", "hang", "reload", "pool", "kill_zygote"]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_left_behind(hostile_library: Path, name: str) -> None:
    function = loads(hostile_library)[name]
    times = 5 if name in {"hang", "kill_zygote", "pool"} else 20
    for _ in range(3):
        function()
    gc.collect()
    before = settled()
    for _ in range(times):
        function()
    gc.collect()
    assert eventually(lambda: held() == before, 5), (held(), before)


def settled() -> tuple[int, int, int]:
    """What `held` returns, once that is stable."""
    last = held()
    for _ in range(100):
        time.sleep(0.05)
        if held() == last:
            return last
        last = held()
    return last


def test_loads_leave_no_memory_behind(hostile_library: Path, run_python: RunPython) -> None:
    code = f"""
import gc, logging, sys
sys.path[:0] = {IMPORTABLE!r}
import hardpoint
from hostile import Hostile
from processes import eventually
logging.disable(logging.WARNING)  # a busy machine takes too long to end a worker, now and then
def blocks():
    gc.collect()
    return sys.getallocatedblocks()
def some(count):
    for _ in range(count):
        with hardpoint.loaded({str(hostile_library)!r}, Hostile, isolated=True) as plugin:
            plugin.count()
            try:
                plugin.harm("_exit")
            except hardpoint.CrashedError:
                plugin.count()
some(150)  # lists of free blocks fill up meanwhile
grown = []
while len(grown) < 3 and (not grown or grown[-1] >= 80):
    before = blocks()
    some(120)  # one object a load would be 120
    eventually(lambda: blocks() - before < 80, 2)
    grown.append(blocks() - before)
print("nothing" if grown[-1] < 80 else grown)
"""
    assert run_python(code).stdout == "nothing\n"


def test_no_worker_has_a_zombie(hostile_library: Path) -> None:
    with hardpoint.loaded(hostile_library, Hostile, isolated=True) as plugin:
        zygote = parent(workers(plugin)[0])
        for _ in range(5):
            with pytest.raises(hardpoint.CrashedError):
                plugin.harm("_exit")
        assert eventually(lambda: not children(zygote))


def test_a_close_that_a_signal_ends_leaves_nothing(hostile_library: Path, run_python: RunPython) -> None:
    """The handler raises during the wait for a destroy that hangs."""
    code = f"""
import os, select, signal, sys
sys.path[:0] = {IMPORTABLE!r}
import hardpoint
from hostile import Hostile
from processes import eventually
def descriptors_of_the_dead():
    found = 0
    for fd in os.listdir("/proc/self/fdinfo"):
        try:
            with open(f"/proc/self/fdinfo/{{fd}}") as file:
                found += "Pid:\\t-1" in file.read()
        except FileNotFoundError:  # the descriptor of the listing itself
            pass
    return found
sys.unraisablehook = lambda told: print(told.exc_type.__name__)  # who closes gets none from a finalizer
signal.signal(signal.SIGALRM, lambda *_: 1 / 0)
hardpoint.load({str(hostile_library)!r}, Hostile, isolated=True)
plugin = hardpoint.load({str(hostile_library)!r}, Hostile, config="destroy:spin", isolated=True)
[pid] = hardpoint.info(plugin).isolation.workers
watched = os.pidfd_open(pid)
signal.setitimer(signal.ITIMER_REAL, 0.1)
hardpoint.close(plugin)
print(bool(select.select([watched], [], [], 10)[0]))
print(eventually(lambda: descriptors_of_the_dead() == 1))
"""
    assert run_python(code).stdout == "ZeroDivisionError\nTrue\nTrue\n"  # 1 is the test's own


@pytest.mark.parametrize("stride", [9, pytest.param(1, marks=pytest.mark.long)])
def test_a_signal_that_comes_between_any_two_steps_leaves_nothing(
    hostile_library: Path, run_python: RunPython, stride: int
) -> None:
    """The handler raises before a function starts or after one in C returned; a profile function can do so at each."""
    code = f"""
import gc, os, sys
sys.path[:0] = {IMPORTABLE!r}
import hardpoint
from hostile import Hostile
from processes import children, eventually, parent, workers
sys.unraisablehook = lambda told: None  # who closes gets none from a finalizer
steps = 0
def use(broken_off_at):
    global steps
    steps = 0
    def profile(frame, event, function):
        global steps
        if event in ("call", "c_return") and "hardpoint/isolation/" in frame.f_code.co_filename:
            steps += 1
            if steps == broken_off_at:
                done.append((frame.f_code.co_name, frame.f_lineno, event))
                raise KeyboardInterrupt
    sys.setprofile(profile)
    try:
        with hardpoint.loaded({str(hostile_library)!r}, Hostile, isolated=True) as plugin:
            plugin.count()
    except KeyboardInterrupt:
        pass
    finally:
        sys.setprofile(None)
def descriptors():
    gc.collect()
    return len(os.listdir("/proc/self/fd"))
with hardpoint.loaded({str(hostile_library)!r}, Hostile, isolated=True) as plugin:
    zygote = parent(workers(plugin)[0])
assert eventually(lambda: not children(zygote))
before, done, at = descriptors(), [], 0
while len(done) == at:
    at += 1
    use(at * {stride})
    if not eventually(lambda: descriptors() <= before and not children(zygote), 10):
        print(*done[-1], before, descriptors(), len(children(zygote)))
        break
print(at * {stride} > 150, steps > 150)
"""
    assert run_python(code).stdout == "True True\n"


def test_a_host_that_has_no_descriptors_left(hostile_library: Path, run_python: RunPython) -> None:
    """Each load or call works or raises, and all work once there are descriptors again."""
    code = f"""
import os, resource, sys
sys.path[:0] = {IMPORTABLE!r}
import hardpoint
from hostile import Hostile
with hardpoint.loaded({str(hostile_library)!r}, Hostile, isolated=True) as plugin:
    plugin.count()
resource.setrlimit(resource.RLIMIT_NOFILE, (80, 1024))
taken = []
try:
    while True:
        taken.append(os.dup(0))
except OSError:
    pass
errors = set()
while taken:
    try:
        with hardpoint.loaded({str(hostile_library)!r}, Hostile, isolated=True) as plugin:
            plugin.count()
    except hardpoint.HardpointError as error:
        errors.add(type(error).__name__)
    os.close(taken.pop())
with hardpoint.loaded({str(hostile_library)!r}, Hostile, isolated=True) as plugin:
    print(plugin.count(), errors)
"""
    assert run_python(code).stdout == "1 {'LoadError'}\n"


@pytest.mark.parametrize("often", [700, 5])
def test_a_reference_cycle_is_collected_without_a_word(run_python: RunPython, english: Path, often: int) -> None:
    """The collector finalizes older objects first, and those that it has looked at before in any order."""
    run_python(f"""
import gc, warnings
gc.set_threshold({often}, 2, 2)
import hardpoint
from hardpoint.contracts import Greeter
warnings.simplefilter("always")
for _ in range(3):
    plugin = hardpoint.load({str(english)!r}, Greeter, isolated=True)
    assert plugin.lang() == "English"
    cycle = [plugin]
    cycle.append(cycle)
    del plugin, cycle
    gc.collect()
""")
