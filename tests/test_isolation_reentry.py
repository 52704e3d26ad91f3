"""What happens within a call of an isolated plugin: forks, calls of the same plugin, arguments that are refused."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from conftest import IMPORTABLE
from probe import Probe
from processes import eventually, freeze, workers

import hardpoint
from hardpoint import Isolation
from hardpoint.contracts import Greeter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Binding, Compiler, LoadHostile, RunPython


class Index:
    """An int that runs code when it is converted."""

    def __init__(self, run: Callable[[], object]) -> None:
        self._run = run

    def __index__(self) -> int:
        self._run()
        return 5


def test_a_fork_in_an_argument_and_in_a_signal_handler(
    probe_library: Path, hostile_library: Path, binding: Binding, run_python: RunPython
) -> None:
    """The memory of a channel is not in the child, which crashed there, or killed the parent's worker."""
    code = f"""
import os, signal, sys
sys.path[:0] = {IMPORTABLE!r}
import hardpoint
from hostile import Hostile
from probe import Probe
parent = os.getpid()
class Forks:
    def __index__(self):
        os.fork()
        return 5
for load, call in (
    (({str(probe_library)!r}, Probe), lambda plugin: plugin.add(Forks(), 2)),
    (({str(hostile_library)!r}, Hostile), lambda plugin: plugin.nap(400)),
):
    plugin = hardpoint.load(*load, binding={binding!r}, isolated=True)
    signal.signal(signal.SIGALRM, lambda *_: os.fork())
    signal.setitimer(signal.ITIMER_REAL, 0.1 if load[1] is Hostile else 0)
    try:
        result = call(plugin)
    except hardpoint.ClosedError as error:
        os._exit(7 if os.getpid() != parent and "before this process was forked" in str(error) else 8)
    print(os.waitstatus_to_exitcode(os.wait()[1]), result if load[1] is Probe else result > 0, flush=True)
"""
    assert run_python(code).stdout == "7 7\n7 True\n"


def test_a_call_within_a_call_of_a_serial_pool(compiler: Compiler, binding: Binding) -> None:
    """Each has a worker, and waits for one more: that was for ever."""
    compiler.header(Probe)
    serial = compiler.library("probe.c", "-DSERIAL")
    with hardpoint.loaded(serial, Probe, binding=binding, isolated=Isolation(workers=2, timeout=20)) as plugin:
        values: list[Any] = []
        nested = Index(lambda: values.append(plugin.add(1, 2)))
        with pytest.raises(hardpoint.CallError) as caught:
            plugin.add(nested, 2)  # type: ignore[arg-type]
        assert str(caught.value) == (
            "add cannot be called from within a call of probe on the same thread: the plugin takes one call at a time "
            "(HP_SERIAL)"
        )
        assert (values, plugin.add(1, 2)) == ([], 3)


def test_calls_that_are_given_up_leave_no_threads(load_hostile: LoadHostile) -> None:
    """The worker had not looked at the request, and waited for its number for ever."""
    plugin = load_hostile()
    plugin.count()
    [pid] = workers(plugin)

    def give_up(*_: object) -> None:
        raise InterruptedError

    before = signal.signal(signal.SIGALRM, give_up)
    try:
        for _ in range(5):
            freeze(pid)
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(InterruptedError):
                plugin.count()
            os.kill(pid, signal.SIGCONT)
            assert plugin.count() > 0
    finally:
        signal.signal(signal.SIGALRM, before)
    assert eventually(lambda: len(os.listdir(f"/proc/{pid}/task")) <= 3)


def test_a_refused_argument_leaves_no_large_one_in_memory(probe_library: Path, binding: Binding) -> None:
    def blocks() -> int:
        found = 0
        for each in os.scandir("/proc/self/fd"):
            try:
                if "memfd:hardpoint " in f"{os.readlink(each.path)} ":
                    found += os.stat(each.path).st_blocks * 512
            except OSError:
                continue
        return found

    with hardpoint.loaded(probe_library, Probe, binding=binding, isolated=True) as plugin:
        plugin.add(1, 2)
        before = blocks()
        for _ in range(2):
            with pytest.raises(TypeError, match="read-write"):
                plugin.mixed(1, 1.0, "x" * (32 << 20), True, b"", b"read-only", 1.0, 1)  # type: ignore[arg-type]
        plugin.add(1, 2)
        assert blocks() - before < 16 << 20


class Real(float):
    """A float whose class is another."""


class Whole(int):
    """An int whose class is another, and which says otherwise when it is asked."""

    def __int__(self) -> int:
        return 17

    def __and__(self, _: int) -> int:
        return 17


@pytest.mark.parametrize("value", [1.5, -2.0, 1e300, float("inf")], ids=str)
def test_a_subclass_of_float(probe_library: Path, binding: Binding, value: float) -> None:
    with hardpoint.loaded(probe_library, Probe, binding=binding, isolated=True) as plugin:
        assert plugin.half(Real(value)) == value / 2
        assert plugin.add(Whole(2), 3) == 5


FORGED = """
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>
#include "greeter.h"
/* Answers its own loading: refused, for a reason of so many bytes. */
__attribute__((constructor)) static void forge(void) {
    char line[600], *half = NULL;
    unsigned long start, end, offset;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        if (strstr(line, "memfd:hardpoint (") && sscanf(line, "%lx-%lx %*s %lx", &start, &end, &offset) == 3 && offset > 0) {
            half = (char *)start;
        }
    }
    memset(half + 32, 1, 1 << 20);
    *(uint64_t *)(half + 8) = 1 << 20;
    *(uint64_t *)(half + 16) = 2;
    __atomic_store_n((uint32_t *)half, 2, __ATOMIC_RELEASE);
    for (;;) pause();
}
static hp_status greet(void *self, const char *name, size_t name_len, hp_out *out) {
    return (void)self, hp_write(out, name, name_len);
}
static hp_status lang(void *self, hp_out *out) { return (void)self, hp_puts(out, "English"); }
GREETER_PLUGIN("forged", "1.0.0", .greet = greet, .lang = lang);
"""


def test_a_constructor_that_answers_with_a_long_reason(compiler: Compiler) -> None:
    """Its escapes took the host minutes, and gigabytes."""
    with pytest.raises(hardpoint.CrashedError, match=r"a malformed answer \(a length beyond its memory\)"):
        hardpoint.load(compiler.text("forged", FORGED), Greeter, isolated=Isolation(timeout=20))
