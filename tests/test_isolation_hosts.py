"""Isolation in unusual hosts: default time-outs, another working directory, bound methods, quick methods."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import pytest
from probe import Probe
from processes import freeze, together, workers

import hardpoint
from hardpoint import Isolation
from hardpoint.contracts import Greeter

if TYPE_CHECKING:
    from conftest import Compiler, LoadHostile, RunPython


@hardpoint.contract("napper", version="1.0")
@runtime_checkable
class Napper(Protocol):
    @hardpoint.quick
    def nap(self, milliseconds: int) -> int: ...


NAPPER = """
#include <time.h>
#include "napper.h"
static hp_status nap(void *self, int64_t milliseconds, int64_t *result, hp_out *out) {
    (void)self, (void)out;
    nanosleep(&(struct timespec){milliseconds / 1000, milliseconds % 1000 * 1000000}, NULL);
    *result = milliseconds;
    return HP_OK;
}
NAPPER_PLUGIN("napper", "1", .nap = nap);
"""


def test_a_quick_method_keeps_no_other_call_waiting(compiler: Compiler) -> None:
    compiler.header(Napper)
    library = compiler.text("napper", NAPPER)
    with hardpoint.loaded(library, Napper, isolated=Isolation(timeout=1.5)) as plugin:
        assert together(*[lambda: plugin.nap(700)] * 4) == [700] * 4  # in sequence, they would take too long


def test_a_serial_plugin_is_usable_after_a_call_was_given_up(compiler: Compiler, probe_library: Path) -> None:
    library = compiler.library("probe.c", "-pthread", "-DSERIAL")
    with hardpoint.loaded(library, Probe, isolated=Isolation(timeout=20)) as plugin:
        before = signal.signal(signal.SIGALRM, signal.default_int_handler)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(KeyboardInterrupt):
                plugin.overlap(60_000)
        finally:
            signal.signal(signal.SIGALRM, before)
        assert plugin.text("x") == "x"


SLOW = """
#include <unistd.h>
#include "greeter.h"
static hp_status create(const hp_host *host, const char *config, size_t config_len, void **self, hp_out *out) {
    (void)host, (void)config, (void)config_len, (void)self, (void)out;
    usleep(400000);
    return HP_OK;
}
static hp_status greet(void *self, const char *name, size_t name_len, hp_out *out) {
    return (void)self, hp_write(out, name, name_len);
}
static hp_status lang(void *self, hp_out *out) { return (void)self, hp_puts(out, "English"); }
GREETER_PLUGIN("slow", "1.0.0", .create = create, .greet = greet, .lang = lang);
"""


def test_a_default_timeout_of_sockets_does_not_apply(compiler: Compiler) -> None:
    slow = compiler.text("slow", SLOW)
    socket.setdefaulttimeout(0.2)
    try:
        with hardpoint.loaded(slow, Greeter, isolated=True) as plugin:
            time.sleep(0.4)
            assert plugin.lang() == "English"
    finally:
        socket.setdefaulttimeout(None)


def test_a_method_that_was_looked_up_before_a_reload(load_hostile: LoadHostile) -> None:
    plugin = load_hostile()
    count: Any = plugin.count
    reset = type(plugin).count
    assert count() == 1
    hardpoint.reload(plugin)
    assert count() == 1
    assert reset(plugin) == 2
    with pytest.raises(TypeError, match="doesn't apply to a"):
        reset(load_hostile())  # another plugin object


def test_many_callers_of_a_worker_that_does_not_read(load_hostile: LoadHostile) -> None:
    plugin = load_hostile(isolated=Isolation(timeout=2.0))
    [pid] = workers(plugin)
    freeze(pid)
    errors = together(*[plugin.count] * 330)
    assert {type(each) for each in errors} <= {hardpoint.TimedOutError, hardpoint.CrashedError, int}
    assert plugin.count() > 0


def test_a_forked_child_closes_only_its_own_descriptors(english: Path, run_python: RunPython) -> None:
    code = f"""
import gc, os, hardpoint
from hardpoint.contracts import Greeter
english = hardpoint.load({str(english)!r}, Greeter, isolated=True)
child = os.fork()
if child == 0:
    os.closerange(3, 200)
    mine = [os.open("/dev/null", os.O_RDONLY) for _ in range(60)]
    del english
    gc.collect()
    for fd in mine:
        os.fstat(fd)
    os._exit(0)
print(os.waitpid(child, 0)[1], english.lang())
"""
    assert run_python(code).stdout == "0 English\n"


def test_a_relative_path_and_another_folder(english: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(english, tmp_path / "here.so")
    monkeypatch.chdir(tmp_path)
    with hardpoint.loaded("here.so", Greeter, isolated=True) as plugin:
        monkeypatch.chdir("/")
        hardpoint.reload(plugin)
        assert plugin.lang() == "English"
        assert hardpoint.info(plugin).path == "here.so"


def test_a_path_that_is_not_utf8(english: Path, tmp_path: Path) -> None:
    path = os.fsdecode(bytes(tmp_path) + b"/bad\xff.so")
    shutil.copy(english, path)
    with hardpoint.loaded(path, Greeter, isolated=True) as plugin:
        assert plugin.lang() == "English"


def test_a_host_with_relative_entries_on_its_path(english: Path, run_python: RunPython, tmp_path: Path) -> None:
    package = Path(hardpoint.__file__).parent.parent
    code = f"""
import os, sys
os.chdir({str(package.parent)!r})
sys.path[:] = [{package.name!r}, *(each for each in sys.path if each != {str(package)!r})]
import hardpoint
from hardpoint.contracts import Greeter
os.chdir("/")
print(hardpoint.load({str(english)!r}, Greeter, isolated=True).lang())
"""
    assert run_python(code).stdout == "English\n"


@pytest.mark.parametrize("executable", ["", None, "/nonexistent/python", "/bin/false"])
def test_a_program_that_embeds_python(english: Path, run_python: RunPython, executable: str | None) -> None:
    """sys.executable is not asked: it may be the application itself."""
    code = f"""
import sys, hardpoint
from hardpoint.contracts import Greeter
sys.executable = {executable!r}
print(hardpoint.load({str(english)!r}, Greeter, isolated=True).lang())
"""
    assert run_python(code).stdout == "English\n"


def test_a_request_of_any_length(english: Path, tmp_path: Path) -> None:
    with hardpoint.loaded(english, Greeter, isolated=Isolation(read=[tmp_path] * 10_000)) as plugin:
        assert plugin.lang() == "English"


WITHOUT_CLOSE_RANGE = """
import os, struct, hardpoint
from hardpoint.contracts import Greeter
from hardpoint.ffi.libc import ffi, libc
close_range, enosys = 436, 38
steps = [(0x20, 0, 0, 0), (0x15, 0, 1, close_range), (0x06, 0, 0, 0x50000 | enosys), (0x06, 0, 0, 0x7FFF0000)]
code = ffi.from_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
head = ffi.new("char[]", struct.pack("@HP", len(steps), int(ffi.cast("uintptr_t", code))))
assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
assert libc.prctl(22, 2, int(ffi.cast("uintptr_t", head)), 0, 0) == 0  # PR_SET_SECCOMP
high = os.dup2(os.open({english!r}, os.O_RDONLY), 900)  # workers must not inherit it
with hardpoint.loaded({english!r}, Greeter, isolated=hardpoint.Isolation(sandbox=False)) as plugin:
    print(plugin.greet("World"))
    print(os.listdir(f"/proc/{{hardpoint.info(plugin).isolation.workers[0]}}/fd"))
"""


def test_a_kernel_without_close_range(english: Path, run_python: RunPython) -> None:
    """Before Linux 5.9, where closing 2^31 numbers one by one takes minutes."""
    greeting, descriptors = run_python(WITHOUT_CLOSE_RANGE.format(english=str(english))).stdout.splitlines()
    assert greeting == "Hello, World! Nice to meet you."
    assert max(int(each) for each in eval(descriptors)) < 20


def test_a_host_without_descriptors_says_so(english: Path, run_python: RunPython) -> None:
    """At a load, and at the restart after a crash; neither says that the plugin crashed."""
    code = f"""
import os, resource, select, signal
import hardpoint
from hardpoint.contracts import Greeter

def attempt(call):
    try:
        print(call())
    except hardpoint.HardpointError as error:
        print(type(error).__name__, error.plugin, error.method, error, sep="|")

plugin = hardpoint.load({str(english)!r}, Greeter, isolated=True)
[worker] = hardpoint.info(plugin).isolation.workers
process = os.pidfd_open(worker)
least = os.dup(0)
os.close(least)
limit = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (least, limit[1]))
os.kill(worker, signal.SIGKILL)
select.select([process], [], [])
attempt(plugin.lang)
attempt(plugin.lang)
attempt(lambda: hardpoint.load({str(english)!r}, Greeter, isolated=True))
resource.setrlimit(resource.RLIMIT_NOFILE, limit)
attempt(plugin.lang)
"""
    crashed, restart, loading, after = run_python(code).stdout.splitlines()
    why = (
        f"{english}: loading is not possible now: Too many open files; end some processes, close some files or free some "
        "memory"
    )
    assert crashed.startswith("CrashedError|english|lang|")
    assert restart == f"LoadError|english|lang|{why}"
    assert loading == f"LoadError|english|None|{why}"
    assert after == "English"
