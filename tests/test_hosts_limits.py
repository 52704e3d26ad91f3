"""Hosts with many threads and few resources: calls queue, and errors say what is lacking."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from probe import Probe
from processes import eventually, parent, together, workers

import hardpoint
from hardpoint import Isolation
from hardpoint.contracts import Greeter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Compiler, RunPython

UNUSED = 54_321
"""A user who has no other processes: the limit counts all of a user's."""


@pytest.mark.parametrize("memory", ["256MiB", "16MiB"])
def test_32_threads_and_little_memory(probe_library: Path, memory: str) -> None:
    """With 16 MiB there is no room for so many stacks: calls wait for a thread that is free."""

    def work() -> int:
        return sum(plugin.add(1, 1) for _ in range(5) if plugin.overlap(5))

    with hardpoint.loaded(probe_library, Probe, isolated=Isolation(memory=memory, timeout=60)) as plugin:
        assert together(*[work] * 32) == [10] * 32


LIMITED = """
import hashlib, os, sys, threading  # a Python of root may be out of reach later
from resource import RLIMIT_NPROC, setrlimit
sys.path[:0] = {folders!r}
import hardpoint
from hardpoint import Isolation
from probe import Probe
options = Isolation(timeout=60)
plugin = hardpoint.load({library!r}, Probe, isolated=options)
plugin.overlap(1)
if os.getuid() == 0:  # whom the limit does not concern
    os.setgroups([])
    os.setgid({unused})
    os.setuid({unused})
mine = f"Uid:\\t{{os.getuid()}}\\t"
def read(pid):
    try:
        return open(f"/proc/{{pid}}/status").read()
    except OSError:
        return ""
def limit(more):
    user = [text for text in map(read, filter(str.isdigit, os.listdir("/proc"))) if mine in text]
    threads = sum(int(text.partition("Threads:")[2].split()[0]) for text in user)
    setrlimit(RLIMIT_NPROC, (threads + more, threads + more))
"""
QUEUE = """
ready, results = threading.Barrier(41), []
def work():
    ready.wait()
    for _ in range(5):
        try:
            results.append(plugin.overlap(5) is not None)
        except hardpoint.HardpointError as error:
            results.append(str(error))
threads = [threading.Thread(target=work) for _ in range(40)]
for thread in threads:
    thread.start()
limit(10)  # and what the limit leaves goes to a zygote, its thread here, and the worker
plugin = hardpoint.load({library!r}, Probe, isolated=options)
ready.wait()
for thread in threads:
    thread.join()
[worker] = hardpoint.info(plugin).isolation.workers
print(len(results), set(results), len(os.listdir(f"/proc/{{worker}}/task")) < 20)
"""
NOTHING = """
limit(0)
for attempt in range(2):
    try:
        hardpoint.load({library!r}, Probe, isolated=options)
    except hardpoint.LoadError as error:
        print(error)
"""


def limited(library: Path, code: str) -> str:
    folders = [str(Path(__file__).parent / "support")]
    return (LIMITED + code).format(library=str(library), folders=folders, unused=UNUSED)


def test_40_threads_and_few_processes(probe_library: Path, run_python: RunPython, open_path: None) -> None:
    assert run_python(limited(probe_library, QUEUE)).stdout == "200 {True} True\n"


def test_no_process_at_all(probe_library: Path, run_python: RunPython, open_path: None) -> None:
    """The first attempt has to start a zygote for the new user, the second finds one that could not be started."""
    assert run_python(limited(probe_library, NOTHING)).stdout == 2 * (
        f"{probe_library}: loading is not possible now: Resource temporarily unavailable; a limit of processes or threads is "
        "reached (ulimit -u, or pids.max of the container); end some, or raise it\n"
    )


@pytest.fixture
def open_path(probe_library: Path) -> None:
    from conftest import open_parents

    open_parents(probe_library.parent)


@pytest.mark.parametrize(("score", "workers"), [(0, 500), (300, 800), (900, 1000), (1000, 1000)])
def test_a_worker_goes_before_its_host_when_memory_runs_out(
    english: Path, run_python: RunPython, score: int, workers: int
) -> None:
    code = f"""
import hardpoint
from hardpoint.contracts import Greeter
open("/proc/self/oom_score_adj", "w").write("{score}")
plugin = hardpoint.load({str(english)!r}, Greeter, isolated=True)
print(open(f"/proc/{{hardpoint.info(plugin).isolation.workers[0]}}/oom_score_adj").read())
"""
    assert int(run_python(code).stdout) == workers


def test_ps_shows_whose_plugin_a_worker_serves(english: Path) -> None:
    with hardpoint.loaded(english, Greeter, isolated=True) as plugin:
        [pid] = workers(plugin)
        assert Path(f"/proc/{pid}/cmdline").read_bytes() == b"hardpoint: english\0"
        assert Path(f"/proc/{pid}/comm").read_text() == "english\n"
        zygote = f"hardpoint: zygote of {os.getpid()}"
        assert eventually(lambda: Path(f"/proc/{parent(pid)}/cmdline").read_bytes().rstrip(b"\0") == zygote.encode())


HUNGRY = """
#include "greeter.h"
#include <stdlib.h>
static hp_status greet(void *self, const char *name, size_t name_len, hp_out *out) {
    (void)self, (void)name, (void)name_len;
    for (size_t chunks = 0; chunks < 1024; chunks++) {
        char *memory = malloc(1 << 20);
        if (memory == NULL) {
            return hp_puts(out, "no memory");
        }
        memset(memory, 1, 1 << 20);
    }
    return hp_puts(out, "full");
}
static hp_status lang(void *self, hp_out *out) { (void)self; return hp_puts(out, "English"); }
GREETER_PLUGIN("hungry", "1.0.0", .greet = greet, .lang = lang);
"""
STARVED = """
import os
open({group!r} + "/cgroup.procs", "w").write(str(os.getpid()))
import hardpoint
from hardpoint.contracts import Greeter
plugin = hardpoint.load({library!r}, Greeter, isolated=hardpoint.Isolation(memory=None))
ballast = bytes(range(256)) * (80 << 12)  # more than the worker has: without its score, the host would go
try:
    print(plugin.greet("you"))
except hardpoint.CrashedError as error:
    print(error.signal, error)
print(plugin.lang())
"""


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group for 160 MiB, as a container is."""
    root = Path("/sys/fs/cgroup")
    version1 = (root / "memory").is_dir()
    made = root / ("memory" if version1 else "") / f"hardpoint-{os.getpid()}"
    try:
        made.mkdir()
        (made / ("memory.limit_in_bytes" if version1 else "memory.max")).write_text(str(160 << 20))
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    yield made
    assert eventually(lambda: not (made / "cgroup.procs").read_text())
    made.rmdir()


def test_out_of_memory_in_a_container(compiler: Compiler, group: Path, run_python: RunPython) -> None:
    library = compiler.text("hungry", HUNGRY)
    error, lang = run_python(STARVED.format(library=str(library), group=str(group))).stdout.splitlines()
    assert error == (
        f"9 {library}: the worker was killed by SIGKILL in greet, which hardpoint did not send: the kernel or somebody else "
        "did, perhaps for lack of memory (out-of-memory killer); it wrote nothing to stdout or stderr"
    )
    assert lang == "English"
