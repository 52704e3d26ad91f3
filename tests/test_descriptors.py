"""Descriptors, process groups and signals between the host, the zygote, its workers, and processes that they start."""

from __future__ import annotations

import fcntl
import gc
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import IMPORTABLE, how
from probe import Probe
from processes import children, parent, workers

import hardpoint
from hardpoint.cli import main
from hardpoint.contracts import Greeter

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Compiler, Fresh, LoadHostile, RunPython, Way

CLOEXEC = 0o2000000
"""O_CLOEXEC in the flags that /proc/PID/fdinfo shows, in octal."""

OPENED = """
import os, sys
sys.path[:0] = {importable!r}
secret = os.open({secret!r}, os.O_RDONLY)  # before any process of hardpoint's
for number in (secret, os.dup2(secret, 5), os.dup2(secret, 40), os.dup2(secret, 900)):
    os.set_inheritable(number, True)
import hardpoint
from hostile import Hostile
from processes import children, eventually, parent, workers
with hardpoint.loaded({library!r}, Hostile, isolated=True) as plugin:
    [worker] = workers(plugin)
    zygote = parent(worker)
    assert children(zygote) == [worker]
    for pid in (zygote, *children(zygote)):
        links = [os.readlink(f"/proc/{{pid}}/fd/{{name}}") for name in os.listdir(f"/proc/{{pid}}/fd")]
        print({secret!r} in links, len(links) < 15)
"""


def test_no_process_of_hardpoint_inherits_what_the_host_lets_its_children_inherit(
    hostile_library: Path, run_python: RunPython, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.touch()
    code = OPENED.format(importable=IMPORTABLE, secret=str(secret), library=str(hostile_library))
    assert run_python(code).stdout == "False True\n" * 2  # the zygote and the worker


def test_the_zygote_is_started_while_others_are_open(hostile_library: Path, run_python: RunPython) -> None:
    """The same for each kind of descriptor, and for a worker that takes the place of another."""
    run_python(f"""
import os, socket, sys
sys.path[:0] = {IMPORTABLE!r}
import hardpoint
from hostile import Hostile
from processes import parent, workers
ends = [*os.pipe(), os.memfd_create("secret", 0), os.open("/", os.O_RDONLY)]
ends += [each.detach() for each in socket.socketpair()]
for number in ends:
    os.set_inheritable(number, True)
def targets(pid):
    return {{os.readlink(f"/proc/{{pid}}/fd/{{name}}") for name in os.listdir(f"/proc/{{pid}}/fd")}}
mine = {{os.readlink(f"/proc/self/fd/{{number}}") for number in ends}}
with hardpoint.loaded({str(hostile_library)!r}, Hostile, isolated=True) as plugin:
    assert not mine & targets(workers(plugin)[0])
    assert not mine & targets(parent(workers(plugin)[0]))
    try:
        plugin.harm("abort")
    except hardpoint.CrashedError:
        assert plugin.count() == 1
    assert not mine & targets(workers(plugin)[0])
""")


def inheritable(pid: int) -> list[str]:
    """Return the targets of a process's descriptors above 2 that a program it starts would have."""
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            lines = Path(f"/proc/{pid}/fdinfo/{name}").read_text().splitlines()
            target = os.readlink(f"/proc/{pid}/fd/{name}")
        except FileNotFoundError:  # closed meanwhile
            continue
        flags = next(int(line.split()[1], 8) for line in lines if line.startswith("flags:"))
        if int(name) > 2 and not flags & CLOEXEC:
            found.append(target)
    return found


def test_every_descriptor_of_the_processes_is_closed_on_exec(load_hostile: LoadHostile) -> None:
    """With `processes=True` a plugin starts programs; they must not hold the host's connection."""
    plugin = load_hostile(isolated=hardpoint.Isolation(processes=True, workers=2))
    plugin.write("x" * 100_000, 1)  # shared memory
    [worker, *_] = workers(plugin)
    zygote = parent(worker)
    for pid in (zygote, *children(zygote)):
        assert inheritable(pid) == []


HOST = """
import fcntl, os, sys
sys.path[:0] = {importable!r}
import hardpoint, hashlib, logging
from hostile import Hostile
from probe import Probe
logging.disable()
first = {{int(name) for name in os.listdir("/proc/self/fd")}}
leaky, watching = set(), True
def profile(frame, event, function):
    if event in ("return", "c_return") and "/hardpoint/" in frame.f_code.co_filename:
        for name in os.listdir("/proc/self/fd"):
            number = int(name)
            try:
                if number not in first and not fcntl.fcntl(number, fcntl.F_GETFD) & fcntl.FD_CLOEXEC:
                    leaky.add((os.readlink(f"/proc/self/fd/{{name}}"), frame.f_code.co_name))
            except OSError:  # that of the listing
                pass
sys.setprofile(profile)
library, probe = {library!r}, {probe!r}
with open(library, "rb") as file:
    digest = hashlib.sha256(file.read()).hexdigest()
with open(probe, "rb") as file:
    other = hashlib.sha256(file.read()).hexdigest()
with hardpoint.loaded(library, Hostile, isolated=True, sha256=digest) as plugin:
    plugin.count()
    plugin.write("x" * 50_000, 1)
    hardpoint.reload(plugin)
    try:
        plugin.harm("abort")
    except hardpoint.CrashedError:
        plugin.count()
with hardpoint.loaded(probe, Probe, sha256=other) as plugin:
    plugin.log(30, "x")
    plugin.text("x" * 5000)
    hardpoint.info(plugin)
registry = hardpoint.Registry([os.path.dirname(library)])
list(registry)
sys.setprofile(None)
print(sorted(leaky))
"""


def test_every_descriptor_of_the_host_is_closed_on_exec(
    hostile_library: Path, probe_library: Path, run_python: RunPython
) -> None:
    """At every step, since another thread may start a program at any."""
    code = HOST.format(importable=IMPORTABLE, library=str(hostile_library), probe=str(probe_library))
    assert run_python(code).stdout == "[]\n"


def test_a_host_without_standard_streams(hostile_library: Path, tmp_path: Path) -> None:
    """Descriptors 0 to 2 are free then, and hardpoint's own get these numbers."""
    code = f"""
import os, sys
sys.path[:0] = {IMPORTABLE!r}
os.closerange(0, 3)
import hardpoint
from hostile import Hostile
for _ in range(2):
    with hardpoint.loaded({str(hostile_library)!r}, Hostile, isolated=True) as plugin:
        assert plugin.count() == 1
        plugin.write("a line\\n", 1)
with open({str(tmp_path / "said")!r}, "w") as file:
    file.write("done")
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert (tmp_path / "said").read_text() == "done"


# -- nothing stays open ------------------------------------------------------------------------------------------------


def test_no_operation_leaves_a_descriptor_open(
    compiler: Compiler,
    probe_library: Path,
    english: Path,
    tmp_path: Path,
    alone: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each public way to open a file, with success and with each error; the collector must not be what closes it."""
    library, text = tmp_path / "plugins" / "probe.so", tmp_path / "plugins" / "text.so"
    library.parent.mkdir()
    shutil.copy(probe_library, library)
    shutil.copy(english, library.parent)
    text.write_text("not a library")
    digest = hashlib.sha256(library.read_bytes()).hexdigest()
    lock = str(tmp_path / "hardpoint.lock")
    assert main(["lock", "-o", lock, str(library.parent)]) == 0
    kept = hardpoint.load(library, Probe)
    allow = hardpoint.Allow(lock=lock)
    operations: dict[str, Callable[[], object]] = {
        "load": lambda: hardpoint.load(library, Probe),
        "load-other": lambda: hardpoint.load(library, Greeter),
        "load-text": lambda: hardpoint.load(text, Probe),
        "load-missing": lambda: hardpoint.load(tmp_path / "missing.so", Probe),
        "load-folder": lambda: hardpoint.load(tmp_path, Probe),
        "load-another-digest": lambda: hardpoint.load(library, Probe, sha256="0" * 64),
        "load-no-digest": lambda: hardpoint.load(library, Probe, sha256="x"),
        "load-pinned-other": lambda: hardpoint.load(library, Greeter, sha256=digest),
        "create-fails": lambda: hardpoint.load(library, Probe, config="refuse"),
        "info": lambda: hardpoint.info(kept),
        "registry": lambda: [found.status for found in hardpoint.Registry([library.parent])],
        "registry-allow": lambda: [found.status for found in hardpoint.Registry([library.parent], allow=allow)],
        "registry-load": lambda: hardpoint.Registry([library.parent]).load("probe", Probe),
        "registry-missing": lambda: hardpoint.Registry([library.parent]).load("nothing", Probe),
        "registry-other": lambda: hardpoint.Registry([library.parent]).load("english", Probe),
        "discover": lambda: list(hardpoint.Registry.discover([library.parent])),
        "check": lambda: main(["check", str(library), "--json"]),
        "check-text": lambda: main(["check", str(text)]),
        "inspect": lambda: main(["inspect", str(library)]),
        "doctor": lambda: main(["doctor", str(library)]),
        "list": lambda: main(["list", str(library.parent), "--allow", lock]),
        "lock": lambda: main(["lock", "--check", "-o", lock, str(library.parent)]),
    }
    before = warnings.showwarning
    left: dict[str, list[str]] = {}
    gc.collect()
    gc.disable()
    try:
        for name, operation in operations.items():
            with suppress(hardpoint.HardpointError, ValueError):
                operation()  # the first time, what stays for good is opened
            descriptors = set(os.listdir("/proc/self/fd"))
            for _ in range(3):
                with suppress(hardpoint.HardpointError, ValueError):
                    operation()
            new = set(os.listdir("/proc/self/fd")) - descriptors
            left[name] = [
                os.readlink(f"/proc/self/fd/{each}") for each in new if os.path.lexists(f"/proc/self/fd/{each}")
            ]
    finally:
        gc.enable()
        warnings.showwarning = before
        capsys.readouterr()
    assert {name: found for name, found in left.items() if found} == {}


def test_a_pinned_file_is_sealed_and_stays_one(probe_library: Path) -> None:
    """No process may write to it, cut it or let it grow; a second load takes the first one's copy."""
    digest = hashlib.sha256(probe_library.read_bytes()).hexdigest()
    plugin = hardpoint.load(probe_library, Probe, sha256=digest.upper())
    copy = hardpoint.info(plugin).library
    with open(copy, "rb") as file:
        seals = fcntl.fcntl(file, fcntl.F_GET_SEALS)
        assert file.read() == probe_library.read_bytes()
    assert seals == fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    with pytest.raises(PermissionError):
        os.truncate(copy, 0)
    assert hardpoint.info(plugin).sha256 == digest
    assert hardpoint.info(hardpoint.load(probe_library, Probe, sha256=digest)).library == copy
    assert plugin.text("x") == "x"


def test_the_host_has_no_end_of_a_workers_pipes(load_hostile: LoadHostile) -> None:
    """Else it would never see that the worker closed its end."""
    plugin = load_hostile()
    [worker] = workers(plugin)
    mine = {name: os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")
            if os.path.lexists(f"/proc/self/fd/{name}")}  # fmt: skip
    for number in (1, 2):
        pipe = os.readlink(f"/proc/{worker}/fd/{number}")
        assert pipe.startswith("pipe:")
        ends = [name for name, target in mine.items() if target == pipe]
        assert len(ends) == 1
        assert fcntl.fcntl(int(ends[0]), fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY


@pytest.mark.parametrize("way", ["native", "cffi", "ctypes", "isolated"], indirect=True)
def test_an_error_that_is_kept_holds_no_buffer(probe_library: Path, fresh: Fresh, way: Way) -> None:
    """Its traceback keeps the frames of the call alive."""
    kept: list[BaseException] = []
    data = bytearray(b"abc")
    with hardpoint.loaded(fresh(probe_library), Probe, **how(way)) as probe:
        loose: Any = probe
        for call in (lambda: probe.fill(data, 300), lambda: loose.fill(data, "x"), lambda: loose.fill(byte="x", value=data),
                     lambda: loose.mixed(1, 2.5, "c", True, data, data, 0.125, None), lambda: loose.fill(data)):  # fmt: skip
            try:
                call()
            except (hardpoint.CallError, TypeError) as error:
                kept.append(error)
            data.append(1)
    assert len(kept) == 5


# -- process groups and signals ----------------------------------------------------------------------------------------


def test_workers_are_in_no_group_and_session_of_the_host(load_hostile: LoadHostile) -> None:
    """A Ctrl-C in the host's terminal, or a kill of its group, is not theirs."""
    plugin = load_hostile()
    [worker] = workers(plugin)
    zygote = parent(worker)
    assert children(zygote) == [worker]
    for pid in (zygote, *children(zygote)):
        assert os.getsid(pid) == zygote != os.getsid(0)
        assert os.getpgid(pid) == zygote != os.getpgrp()


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT], ids=lambda each: each.name
)
def test_a_signal_to_the_hosts_group_reaches_no_worker(hostile_library: Path, number: signal.Signals) -> None:
    """The host ignores it here, and its plugin goes on."""
    code = f"""
import os, signal, sys
sys.path[:0] = {IMPORTABLE!r}
import hardpoint
from hostile import Hostile
from processes import workers
os.setpgid(0, 0)
with hardpoint.loaded({str(hostile_library)!r}, Hostile, isolated=True) as plugin:
    before = workers(plugin)
    signal.signal({int(number)}, signal.SIG_IGN)
    os.killpg(0, {int(number)})
    assert plugin.nap(100) == before[0]
    assert workers(plugin) == before
    print("alive")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("alive\n", "", 0)


def test_workers_start_with_the_defaults_of_signals(hostile_library: Path, run_python: RunPython) -> None:
    """Though the host ignores or blocks some."""
    code = f"""
import os, signal, sys
sys.path[:0] = {IMPORTABLE!r}
import hardpoint
from hostile import Hostile
from processes import parent, workers
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGQUIT):
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGALRM, signal.SIGTERM])
def mask(pid, name):
    with open(f"/proc/{{pid}}/status") as file:
        return next(int(line.split()[1], 16) for line in file if line.startswith(name))
def bits(*numbers):
    return sum(1 << number - 1 for number in numbers)
with hardpoint.loaded({str(hostile_library)!r}, Hostile, isolated=True) as plugin:
    for pid in (workers(plugin)[0], parent(workers(plugin)[0])):
        print(mask(pid, "SigBlk"), mask(pid, "SigIgn") & bits(1, 3, 10, 12, 14, 15))
    try:
        plugin.harm("alarm")  # SIGALRM ends it, as by default
    except hardpoint.CrashedError as error:
        print(error.signal == signal.SIGALRM)
"""
    assert run_python(code).stdout == "0 0\n0 0\nTrue\n"
