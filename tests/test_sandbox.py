"""The sandbox of a worker: each restriction is tried by a plugin under it, and by one without it."""

from __future__ import annotations

import datetime as dt
import decimal
import errno
import fractions
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

import pytest
from conftest import IMPORTABLE

import hardpoint
from hardpoint.contracts import Greeter
from hardpoint.isolation.host import landlock, seccomp
from hardpoint.isolation.host.call_numbers import numbers
from hardpoint.isolation.options import Isolation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Compiler, RunPython

LANDLOCK = landlock.version()
IS_ROOT = os.getuid() == 0
UNSUPPORTED = {os.strerror(number) for number in (errno.ENOTTY, errno.EOPNOTSUPP, errno.EAGAIN)} | {"ENOSYS", "EINVAL"}
"""Answers of a file system that does not have the operation."""
needs_landlock = pytest.mark.skipif(not LANDLOCK, reason="this kernel has no Landlock, or has it turned off")
MACHINE = os.uname().machine
NUMBERS = numbers(MACHINE)


@hardpoint.contract("escape", version="1.0")
@runtime_checkable
class Escape(Protocol):
    """A plugin that tries to escape."""

    def attempt(self, what: str, argument: str) -> str:
        """Try one thing: `done`, or the name of the errno."""
        ...

    def environment(self) -> str:
        """Return the environment, one variable a line."""
        ...

    def descriptors(self) -> str:
        """Return the open descriptors and their targets, one a line."""
        ...


@pytest.fixture(scope="session")
def library(compiler: Compiler) -> Path:
    compiler.header(Escape)
    return compiler.library("escape.c", "-pthread", "-ldl", "-Wno-infinite-recursion")


@pytest.fixture(scope="module")
def confined(library: Path) -> Iterator[Escape]:
    with hardpoint.loaded(library, Escape, isolated=True) as plugin:
        yield plugin


@pytest.fixture(scope="module")
def free(library: Path) -> Iterator[Escape]:
    with hardpoint.loaded(library, Escape, isolated=Isolation(sandbox=False, memory=None, files=None)) as plugin:
        yield plugin


@pytest.fixture
def victim() -> Iterator[int]:
    """A process of the same user that ignores SIGUSR1."""
    code = "import signal; signal.signal(signal.SIGUSR1, signal.SIG_IGN); print(flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-ISc", code], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield process.pid
        process.kill()


def load(library: Path, **options: Any) -> Escape:
    return hardpoint.load(library, Escape, isolated=Isolation(**options))


@contextmanager
def load_for(library: Path, **options: Any) -> Iterator[Escape]:
    plugin = load(library, **options)
    try:
        yield plugin
    finally:
        hardpoint.close(plugin)


def lines(plugin: object) -> tuple[str, ...]:
    isolation = hardpoint.info(plugin).isolation
    assert isolation
    return isolation.sandbox


def lacking(plugin: object) -> list[str]:
    return [line for line in lines(plugin) if line.startswith("lacking: ")]


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("nobody's business")
    return path


@needs_landlock
@pytest.mark.parametrize("what", ["read", "write", "make", "remove", "make folder", "list"])
def test_files_of_the_host_are_out_of_reach(what: str, confined: Escape, free: Escape, secret: Path) -> None:
    argument = str(
        {"make": secret.parent / "new", "make folder": secret.parent / "new", "list": secret.parent}.get(what, secret)
    )
    assert confined.attempt(what, argument) == "EACCES"
    assert secret.exists()
    assert free.attempt(what, argument) == "done"


@pytest.mark.parametrize("what", ["truncate", "chmod", "utimes"])
def test_seccomp_refuses_what_landlock_does_not_cover(what: str, confined: Escape, free: Escape, secret: Path) -> None:
    assert confined.attempt(what, str(secret)) in {"EACCES", "EPERM"}
    assert free.attempt(what, str(secret)) == "done"


@pytest.mark.parametrize("what", ["lease", "notify", "watch", "flags"])
def test_files_that_it_may_read_are_neither_held_nor_watched(
    what: str, library: Path, confined: Escape, free: Escape, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_text("")
    assert free.attempt(what, str(tmp_path if what == "notify" else path)) in {"done", *UNSUPPORTED}
    assert confined.attempt(what, str(library.parent if what == "notify" else library)) in {"EPERM", "EACCES"}
    with hardpoint.loaded(library, Escape, isolated=Isolation(read=tmp_path)) as plugin:
        assert plugin.attempt(what, str(tmp_path if what == "notify" else path)) == "EPERM"


@needs_landlock
def test_its_own_folder_and_passwords_cannot_be_read(library: Path, confined: Escape, free: Escape) -> None:
    beside = library.parent / "beside"
    beside.write_text("")
    attempts = [("read", str(beside)), ("make", str(library.parent / "new")), ("read", "/etc/passwd"), ("user", "root")]
    assert {confined.attempt(*each) for each in attempts} == {"EACCES"}
    assert {free.attempt(*each) for each in attempts} == {"done"}


@needs_landlock
def test_others_are_hidden_under_proc_too(confined: Escape, free: Escape) -> None:
    environment = f"/proc/{os.getpid()}/environ"
    assert confined.attempt("read", environment) == "EACCES"
    assert free.attempt("read", environment) == "done"


@needs_landlock
def test_read_and_write_allow_only_the_named_paths(library: Path, tmp_path: Path) -> None:
    for name in ("shelf", "desk", "safe"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("")

    def tries(plugin: Escape, what: str) -> list[str]:
        return [
            plugin.attempt(what, str(tmp_path / name / ("new" if what == "make" else "file")))
            for name in ("shelf", "desk", "safe")
        ]

    plugin = load(library, read=tmp_path / "shelf", write=[str(tmp_path / "desk")])
    assert tries(plugin, "read") == ["done", "done", "EACCES"]
    assert tries(plugin, "write") == ["EACCES", "done", "EACCES"]
    assert tries(plugin, "make") == ["EACCES", "done", "EACCES"]
    assert tries(plugin, "remove") == ["EACCES", "done", "EACCES"]
    told = next(line for line in lines(plugin) if line.startswith("files:"))
    assert str(tmp_path / "shelf") in told
    assert str(tmp_path / "desk") in told
    hardpoint.close(plugin)


def test_a_path_may_be_relative(library: Path, secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(secret.parent)
    plugin = load(library, read="secret")
    assert plugin.attempt("read", str(secret)) == "done"
    hardpoint.close(plugin)


# -- the network -------------------------------------------------------------------------------------------------------


def test_there_is_no_network(confined: Escape, free: Escape) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        assert confined.attempt("connect", port) == "EPERM"
        assert free.attempt("connect", port) == "done"


@pytest.mark.parametrize(
    "family", [socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK], ids=lambda family: family.name
)
def test_no_socket_is_made(family: int, confined: Escape, free: Escape) -> None:
    assert confined.attempt("socket", str(int(family))) == "EPERM"
    assert free.attempt("socket", str(int(family))) != "EPERM"  # a host may lack IPv6


@pytest.mark.parametrize("what", ["sendto", "sendmsg"])
def test_a_socket_pair_cannot_reach_other_sockets(what: str, confined: Escape, free: Escape, tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(path)
        assert confined.attempt(what, path) == "EPERM"
        assert free.attempt(what, path) == "done"


@pytest.mark.parametrize(
    ("what", "network"),
    [("redirect", False), ("redirect", True), ("records", False), ("records", True)],
)
def test_no_socket_of_its_own_reaches_a_path(
    what: str, network: bool, library: Path, free: Escape, tmp_path: Path
) -> None:
    path = str(tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log, load_for(library, network=network) as plugin:
        log.bind(path)
        log.setblocking(False)
        assert plugin.attempt(what, path) in {"EPERM", "EBADF"}
        with pytest.raises(BlockingIOError):
            log.recv(1)
        if what == "redirect":
            assert free.attempt(what, path) == "done"


def test_interfaces_are_not_listed(confined: Escape, free: Escape) -> None:
    assert confined.attempt("interfaces", "") == "EPERM"
    assert free.attempt("interfaces", "") == "done"


def test_network_allows_it(library: Path) -> None:
    plugin = load(library, network=True)
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert plugin.attempt("connect", str(server.getsockname()[1])) == "done"
    assert plugin.attempt("socket", str(int(socket.AF_UNIX))) == "EPERM"  # Docker listens on one
    assert plugin.attempt("read", "/etc/hosts") == "done"
    assert "network: IPv4 and IPv6" in lines(plugin)
    hardpoint.close(plugin)


# -- processes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "answer"), [("fork", "EPERM"), ("vfork", "EPERM"), ("clone3", "ENOSYS"), ("spawn", "EPERM")]
)
def test_it_cannot_start_a_process(what: str, answer: str, confined: Escape, free: Escape) -> None:
    assert confined.attempt(what, "/bin/true") == answer
    assert free.attempt(what, "/bin/true") == "done"


def test_it_cannot_exec(library: Path, confined: Escape) -> None:
    assert confined.attempt("exec", "/bin/true") == "EPERM"
    plugin = load(library, sandbox=False)
    with pytest.raises(hardpoint.HardpointError, match=r"the worker exited with status 0 in attempt"):
        plugin.attempt("exec", "/bin/true")


def test_processes_allows_them(library: Path) -> None:
    plugin = load(library, processes=True)
    assert [plugin.attempt(what, "/bin/true") for what in ("fork", "vfork", "spawn")] == ["done"] * 3
    assert plugin.attempt("clone3", "") == "ENOSYS"  # its flags are in memory, and could be those of a namespace
    assert plugin.attempt("clone", str(0x10000000 | signal.SIGCHLD)) == "EPERM"  # CLONE_NEWUSER
    assert plugin.attempt("clone", str(0x8000 | signal.SIGCHLD)) == "EPERM"  # CLONE_PARENT
    assert "processes: can start others, which can outlive it" in lines(plugin)
    hardpoint.close(plugin)


@pytest.mark.parametrize("what", ["kill", "tgkill", "sigqueue", "pidfd", "ptrace", "peek", "limit other", "owner"])
def test_other_processes_cannot_be_accessed(what: str, confined: Escape, free: Escape, victim: int) -> None:
    assert confined.attempt(what, str(victim)) == "EPERM"
    assert free.attempt(what, str(victim)) == ("EFAULT" if what == "peek" else "done")


@pytest.mark.parametrize("whom", ["0", "-1", "host"])
def test_neither_its_group_nor_everybody_nor_the_host_can_be_signalled(
    whom: str, confined: Escape, free: Escape
) -> None:
    words = f"{NUMBERS['kill']} {os.getpid() if whom == 'host' else whom} 0"  # signal 0 only checks permission
    assert confined.attempt("call", words) == "EPERM"
    assert free.attempt("call", words) == "done"


@needs_landlock
@pytest.mark.skipif(LANDLOCK < 6, reason="signals are Landlock's from its version 6 (Linux 6.12)")
def test_with_processes_signals_still_stay_among_them(library: Path, victim: int) -> None:
    plugin = load(library, processes=True)
    assert plugin.attempt("kill", str(victim)) == "EPERM"
    hardpoint.close(plugin)


@pytest.mark.parametrize("what", ["async", "group"])
def test_no_file_sends_signals(what: str, confined: Escape, free: Escape, victim: int) -> None:
    assert confined.attempt(what, str(victim)) == "EPERM"
    assert free.attempt(what, str(victim)) == "done"


@pytest.mark.parametrize("how", ["advice", "3", "16"], ids=["MADV_REMOVE", "PUNCH_HOLE", "ZERO_RANGE"])
def test_no_holes_are_punched_into_shared_memory(how: str, confined: Escape, free: Escape) -> None:
    assert confined.attempt("hole", how) == "EPERM"
    assert free.attempt("hole", how) in {"done", *UNSUPPORTED}


def test_it_cannot_arrange_to_outlive_the_host(confined: Escape, free: Escape) -> None:
    assert confined.attempt("orphan", "") == "EPERM"
    assert free.attempt("orphan", "") == "done"


# -- the rest of the kernel --------------------------------------------------------------------------------------------


class Call(NamedTuple):
    """A system call with harmless arguments, and its answer where it is allowed."""

    name: str
    arguments: str
    answer: str
    root: bool = False


CALLS = [
    Call("unshare", "0", "done"),
    Call("keyctl", "0 -3 0", "done"),
    Call("userfaultfd", "0xffff", "EINVAL"),
    Call("io_uring_setup", "0 0", "EFAULT"),
    Call("name_to_handle_at", "-1 0 0 0 0", "EFAULT"),
    Call("shmget", "0 0 0", "EINVAL"),
    Call("msgget", "0 0777", "done"),
    Call("mq_open", "0 0 0 0", "EFAULT"),
    Call("personality", "0xffffffff", "done"),
    Call("setuid", f"{os.getuid()}", "done"),
    Call("setpriority", "9 0 0", "EINVAL"),
    Call("perf_event_open", "0 0 0 0 0", "EFAULT"),
    Call("process_madvise", "-1 0 0 0 0", "EBADF"),
    Call("kcmp", "0 0 99 0 0", "ESRCH"),
    Call("bpf", "99 0 0", "EINVAL", root=True),
    Call("mount", "0 0 0 0 0", "EFAULT", root=True),
    Call("umount2", "0 0", "EFAULT", root=True),
    Call("chroot", "0", "EFAULT"),
    Call("setns", "-1 0", "EBADF"),
    Call("open_tree", "-100 0 0", "EFAULT"),
    Call("fsopen", "0 0", "EFAULT", root=True),
    Call("reboot", "0 0 0", "EINVAL", root=True),
    Call("init_module", "0 4096 0", "EFAULT", root=True),
    Call("kexec_load", "0 99 0 0", "EINVAL", root=True),
    Call("setgroups", "99999999 0", "EINVAL", root=True),
    Call("settimeofday", "8 0", "EFAULT", root=True),
    Call("fanotify_init", "0xffffff 0", "EINVAL", root=True),
    Call("open_by_handle_at", "-100 8 0", "EFAULT", root=True),
]


OUTER_FILTER = "\nSeccomp:\t2" in Path("/proc/self/status").read_text()


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
def test_system_calls_that_a_plugin_has_no_use_for(call: Call, confined: Escape, free: Escape) -> None:
    words = f"{NUMBERS[call.name]} {call.arguments}"
    assert confined.attempt("call", words) == "EPERM"
    if call.root and not IS_ROOT:
        pytest.skip("only root would be told something else without the sandbox")
    answer = free.attempt("call", words)
    if answer == "EPERM" and OUTER_FILTER:
        pytest.skip("these tests run under another filter, which refuses it as well: a container's, say")
    assert answer != "EPERM"
    if answer not in {"ENOSYS", call.answer}:  # the kernel may have been built without it
        assert (call.name, answer) == (call.name, call.answer)


def test_an_unknown_system_call_is_enosys(confined: Escape) -> None:
    assert confined.attempt("call", "4000 0") == "ENOSYS"


@pytest.mark.skipif(MACHINE != "x86_64", reason="only x86-64 has other ABIs to call the kernel by")
def test_other_abis_do_not_bypass_the_filter(confined: Escape, free: Escape) -> None:
    assert confined.attempt("i386", "") == "EPERM"
    assert free.attempt("i386", "") in {"done", "ENOSYS"}
    assert confined.attempt("call", f"{0x40000000 + 39}") == "EPERM"
    assert free.attempt("call", f"{0x40000000 + 39}") in {"done", "ENOSYS"}


@pytest.mark.skipif(not IS_ROOT, reason="only root has capabilities to give up")
def test_root_has_no_capabilities_left(confined: Escape, free: Escape) -> None:
    assert confined.attempt("capabilities", "") == "EPERM"
    assert free.attempt("capabilities", "") == "done"
    assert "no capabilities, except those over files" in lines(confined)


def test_no_program_gives_new_privileges(confined: Escape, free: Escape) -> None:
    assert confined.attempt("privileges", "") == "EPERM"
    assert free.attempt("privileges", "") == "done"


# -- limits ------------------------------------------------------------------------------------------------------------


def test_memory(library: Path, free: Escape) -> None:
    plugin = load(library, memory="128MiB")
    assert plugin.attempt("memory", "32") == "done"
    assert plugin.attempt("memory", "160") == "ENOMEM"
    assert free.attempt("memory", "160") == "done"
    assert any(line.startswith("memory: 128 MiB of private writable memory") for line in lines(plugin))
    hardpoint.close(plugin)


def test_files(library: Path, free: Escape) -> None:
    plugin = load(library, files=64)
    assert plugin.attempt("files", "20") == "done"
    assert plugin.attempt("files", "80") == "EMFILE"
    assert free.attempt("files", "80") == "done"
    assert "open files: 64" in lines(plugin)
    hardpoint.close(plugin)


def test_processor_time(library: Path) -> None:
    plugin = load(library, cpu=1)
    assert "processor time: 1 s" in lines(plugin)
    with pytest.raises(hardpoint.CrashedError, match="SIGXCPU") as caught:
        plugin.attempt("spin", "3")
    assert caught.value.signal == signal.SIGXCPU
    hardpoint.close(plugin)
    plugin = load(library)
    assert plugin.attempt("spin", "2") == "done"
    hardpoint.close(plugin)


def may_raise_limits() -> bool:
    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return found is not None and bool(int(found[1], 16) & 1 << 24)


@pytest.mark.parametrize("name", ["RLIMIT_CORE", "RLIMIT_NOFILE", "RLIMIT_DATA", "RLIMIT_CPU"])
def test_a_limit_is_not_raised_again(name: str, library: Path) -> None:
    import resource

    plugin = load(library, cpu=60)
    assert plugin.attempt("raise limit", str(getattr(resource, name))) == "EPERM"
    hardpoint.close(plugin)
    if not may_raise_limits():
        pytest.skip("only who has CAP_SYS_RESOURCE would be told something else without the sandbox")
    plugin = load(library, cpu=60, sandbox=False)
    assert plugin.attempt("raise limit", str(getattr(resource, name))) == "done"
    hardpoint.close(plugin)


# -- what it inherits ------------------------------------------------------------------------------------------------


def test_the_hosts_environment_stays_with_the_host(run_python: RunPython, library: Path) -> None:
    done = run_python(f"""
import os, sys
os.environ |= {{"SECRET_TOKEN": "hunter2", "LANG": "C.UTF-8", "TZ": "Asia/Tokyo"}}
sys.path[:0] = {IMPORTABLE!r}
from test_sandbox import Escape
import hardpoint
with hardpoint.loaded({str(library)!r}, Escape, isolated=True) as plugin:
    print(plugin.environment(), end="")
""")
    names = {line.partition("=")[0] for line in done.stdout.splitlines()}
    assert {"LANG", "TZ"} <= names <= {"LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PATH", "TZ"}


def test_a_worker_has_its_own_descriptors_alone(library: Path) -> None:
    with hardpoint.loaded(library, Escape, isolated=True) as plugin:
        listed = [line.split(" ", 1) for line in plugin.descriptors().splitlines()]
    kinds = [re.sub(r":.*", "", target) for _, target in listed]
    assert listed[0] == ["0", "/dev/null"]
    # stdout and stderr; the sockets of control, twice, and log. Channels and the dropped count are mapped and closed.
    assert sorted(kinds[1:]) == ["pipe", "pipe", "socket", "socket", "socket"]


# -- allowed: the needs of well-behaved plugins ------------------------------------------------------------------------


GOOD = {
    "thread": "", "time": "", "raise": "", "shared": "", "pair": "", "locale": "C.UTF-8", "iconv": "ISO-8859-2",
    "dlopen": "libm.so.6", "read": "/dev/urandom", "write": "/dev/null",
}  # fmt: skip


@pytest.mark.parametrize("what", GOOD)
def test_allowed_operations(what: str, confined: Escape, free: Escape) -> None:
    assert free.attempt(what, GOOD[what]) == "done"
    assert confined.attempt(what, GOOD[what]) == "done"


def test_names_of_shared_memory_are_its_own(confined: Escape, free: Escape) -> None:
    name = f"/hardpoint-{os.getpid()}"
    assert confined.attempt("names", name) == "done"
    assert free.attempt("names", name) == "done"
    try:
        assert confined.attempt("name", name) == "done"
        assert Path(f"/dev/shm{name}").exists() is not bool(LANDLOCK)
        assert free.attempt("name", name) == "done"
        assert Path(f"/dev/shm{name}").exists()
    finally:
        Path(f"/dev/shm{name}").unlink(missing_ok=True)


def test_libraries_of_its_own_are_found_and_their_folder_is_not_opened(compiler: Compiler, tmp_path: Path) -> None:
    """One needs another, which only the plugin's own search path finds (DT_RPATH is inherited)."""
    compiler.header(Escape)
    inner = tmp_path / "inner"
    inner.mkdir()
    shown = '__attribute__((visibility("default")))'
    made = compiler.text(
        "inner", f"{shown} int inner(void); int inner(void) {{ return 1; }}", "-Wl,-soname,libinner.so"
    )
    shutil.copy(made, inner / "libinner.so")
    code = f"int inner(void); {shown} int outer(void); int outer(void) {{ return inner(); }}"
    made = compiler.text("outer", code, f"-L{inner}", "-linner", "-Wl,-soname,libouter.so")
    shutil.copy(made, tmp_path / "libouter.so")
    paths = f"-Wl,--no-as-needed,--disable-new-dtags,-rpath,$ORIGIN:$ORIGIN/inner,-rpath-link,{inner}"
    library = tmp_path / "escape.so"
    shutil.copy(
        compiler.library("escape.c", "-pthread", "-ldl", "-Wno-infinite-recursion", f"-L{tmp_path}", paths, "-louter"),
        library,
    )
    (tmp_path / "secret").write_text("")
    with hardpoint.loaded(library, Escape, isolated=True) as plugin:
        assert plugin.attempt("read", str(inner / "libinner.so")) == "done"
        if LANDLOCK:
            assert plugin.attempt("read", str(tmp_path / "secret")) == "EACCES"


@pytest.mark.skipif(shutil.which("c++") is None, reason="there is no c++")
def test_a_plugin_in_cxx(compiler: Compiler, tmp_path: Path) -> None:
    compiler.header(Greeter)
    source = tmp_path / "cxx.cc"
    source.write_text("""
#include <iostream>
#include <locale>
#include <stdexcept>
#include <string>
#include <thread>
#define HP_CXX17
#include "greeter.h"
static hp_status greet(void *, const char *name, size_t len, hp_out *out) {
    std::string text;
    try {
        std::thread([&] { text = "Hi, " + std::string(name, len); }).join();
        throw std::runtime_error(text);
    } catch (const std::exception &error) {
        return hp_puts(out, error.what());
    }
}
static hp_status lang(void *, hp_out *out) {
    try {
        return hp_puts(out, std::locale("").name().c_str());
    } catch (const std::exception &error) {
        return hp_fail(out, HP_FAILED, "%s", error.what());
    }
}
GREETER_PLUGIN("cxx", "1.0.0", p.greet = greet, p.lang = lang);
""")
    library = tmp_path / "cxx.so"
    compiler.run(
        "-xc++", "-std=c++17", "-O2", "-fPIC", "-shared", str(source), "-o", str(library), "-lstdc++", "-pthread"
    )
    with hardpoint.loaded(library, Greeter, isolated=True) as plugin:
        assert plugin.greet("Ada") == "Hi, Ada"
        try:
            assert plugin.lang()
        except hardpoint.CallError as error:
            assert "locale" in error.text  # noqa: PT017 - one that this machine does not have


def test_a_pinned_library_loads(library: Path) -> None:
    import hashlib

    digest = hashlib.sha256(library.read_bytes()).hexdigest()
    with hardpoint.loaded(library, Escape, isolated=True, sha256=digest) as plugin:
        assert plugin.attempt("thread", "") == "done"
        if LANDLOCK:
            assert plugin.attempt("read", str(library)) == "EACCES"


# -- crashes ---------------------------------------------------------------------------------------------------------


def death(library: Path, how: str) -> hardpoint.CrashedError:
    plugin = load(library)
    with pytest.raises(hardpoint.CrashedError) as caught:
        plugin.attempt("crash", how)
    hardpoint.close(plugin)
    return caught.value


def test_a_crash_reports_the_address_and_the_native_stack(library: Path) -> None:
    error = death(library, "segv")
    first, *frames = error.stderr.splitlines()
    assert error.signal == signal.SIGSEGV
    assert first == "SIGSEGV at address 0xbad:"
    assert frames[0].startswith(f"{library}(+0x")
    assert f"  | {first}\n  | {frames[0].partition('[')[0].rstrip()}\n" in str(error)


def test_a_stack_overflow_is_reported(library: Path) -> None:
    error = death(library, "overflow")
    first, *frames = error.stderr.splitlines()
    assert error.signal == signal.SIGSEGV
    assert first.endswith(", where the stack ends: too deep a recursion, or too large a local variable:")
    assert len(frames) < 15
    assert frames[-1] == "..."


def test_an_abort_reports_its_caller(library: Path) -> None:
    error = death(library, "abort")
    assert error.signal == signal.SIGABRT
    assert error.stderr.startswith("SIGABRT:\n")
    assert f"{library}(+0x" in error.stderr


def test_a_plugin_may_have_its_own_handlers(library: Path) -> None:
    error = death(library, "handled")
    assert (error.signal, error.status, error.stderr) == (None, 7, "")


def test_a_crash_under_the_loaders_lock_is_reported_and_does_not_hang(compiler: Compiler) -> None:
    """The crashing thread cannot resolve function names while another holds the lock, and does not wait for it."""
    compiler.header(Escape)
    library = compiler.library("escape.c", "-pthread", "-ldl", "-Wno-infinite-recursion", "-DAT_START")
    with pytest.raises(hardpoint.CrashedError, match="the worker was killed by SIGSEGV in loading") as caught:
        hardpoint.load(library, Escape, isolated=Isolation(timeout=30))
    assert "SIGSEGV" in caught.value.stderr or "Segmentation fault" in caught.value.stderr


# -- what is reported --------------------------------------------------------------------------------------------------


def test_info_lists_limits_and_sandbox(confined: Escape) -> None:
    told = lines(confined)
    assert told[:3] == (
        "no core dumps",
        "memory: 1024 MiB of private writable memory; what is shared or mapped from files is not counted",
        "open files: 1024",
    )
    assert "network: none, and no Unix sockets (seccomp)" in told
    assert "processes: starts none (seccomp)" in told
    if LANDLOCK:
        assert f"files: reads what the library and the loader need; writes none (Landlock, version {LANDLOCK})" in told
        assert not lacking(confined)


def test_disabled_parts_are_listed(free: Escape) -> None:
    assert lines(free) == ("no core dumps", "lacking: sandbox=False leaves files, network and processes to the plugin")


@pytest.fixture
def old_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel without Landlock, that takes no filter."""
    monkeypatch.setattr(landlock, "version", lambda: 0)
    monkeypatch.setattr(seccomp, "filter_of", lambda _options: bytes(8))


NO_LANDLOCK = "files are not confined: the kernel has no Landlock (Linux 5.13 has it, if it is turned on)"
NO_SECCOMP = f"system calls are not confined: the kernel refuses a seccomp filter here ({os.strerror(errno.EINVAL)})"


@pytest.mark.usefixtures("old_kernel")
def test_missing_kernel_features_are_listed(library: Path) -> None:
    with hardpoint.loaded(library, Escape, isolated=True) as plugin:
        assert lacking(plugin) == [f"lacking: {NO_LANDLOCK}", f"lacking: {NO_SECCOMP}"]


@pytest.mark.usefixtures("old_kernel")
@pytest.mark.parametrize("mode", ["required", "strict"])
def test_missing_kernel_features_are_an_error_if_required(mode: Literal["required", "strict"], library: Path) -> None:
    with pytest.raises(hardpoint.LoadError) as caught:
        load(library, sandbox=mode)
    assert str(caught.value) == (
        f"{library} is not loaded: needs the whole sandbox for Isolation(sandbox={mode!r}), found: {NO_LANDLOCK}; "
        f"{NO_SECCOMP}; use another kernel or container, or Isolation(sandbox=True) for a partial sandbox"
    )


@needs_landlock
def test_required_loads_if_nothing_is_missing(library: Path) -> None:
    with hardpoint.loaded(library, Escape, isolated=Isolation(sandbox="required")) as plugin:
        assert plugin.attempt("fork", "") == "EPERM"


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"memory": "lots"}, "Isolation(memory=...) is a number of bytes, a size such as '256MiB', or None for no limit, not 'lots'"),
    ({"memory": True}, "Isolation(memory=...) is a number of bytes, a size such as '256MiB', or None for no limit, not True"),
    ({"memory": -1}, "Isolation(memory=...) is a number of bytes, a size such as '256MiB', or None for no limit, not -1"),
    ({"memory": "1MiB"}, "Isolation(memory=...) is 16 MiB or more, since each calling thread takes 2 MiB, not '1MiB'"),
    (
        {"memory": "256MB"},
        "Isolation(memory=...) is a number of bytes, a size such as '256MiB', or None for no limit, not '256MB'",
    ),
    ({"memory": "2 gb"}, "Isolation(memory=...) is a number of bytes, a size such as '2GiB', or None for no limit, not '2 gb'"),
    ({"memory": 0}, "Isolation(memory=...) is 16 MiB or more, since each calling thread takes 2 MiB, not 0"),
    ({"cpu": 0.5}, "Isolation(cpu=...) is a whole number from 1 to 2147483647, or None for no limit, not 0.5"),
    ({"cpu": True}, "Isolation(cpu=...) is a whole number from 1 to 2147483647, or None for no limit, not True"),
    ({"files": 3}, "Isolation(files=...) is a whole number from 32 to 2147483647, or None for no limit, not 3"),
    ({"workers": 0}, "Isolation(workers=...) is a whole number from 1 to 4096, not 0"),
    ({"workers": None}, "Isolation(workers=...) is a whole number from 1 to 4096, not None"),
    ({"timeout": 0}, "Isolation(timeout=...) is seconds above 0, such as 2 or 0.5, or None for no limit, not 0"),
    ({"timeout": "2s"}, "Isolation(timeout=...) is seconds above 0, such as 2 or 0.5, or None for no limit, not '2s'"),
    ({"timeout": float("nan")}, "Isolation(timeout=...) is seconds above 0, such as 2 or 0.5, or None for no limit, not nan"),
    ({"restart": "always"}, "Isolation(restart=...) is 'on-call' or 'never', not 'always'"),
    ({"sandbox": "on"}, "Isolation(sandbox=...) is True, False, 'required' or 'strict', not 'on'"),
    ({"network": "no"}, "Isolation(network=...) is True or False, not 'no'"),
    ({"processes": 4}, "Isolation(processes=...) is True or False, not 4"),
    ({"read": 7}, "Isolation(read=...) is a path, or a list or tuple of paths, not 7"),
    ({"write": [7]}, "Isolation(write=...) is a path, or a list or tuple of paths, not [7]"),
    ({"workers": 5000}, "Isolation(workers=...) is a whole number from 1 to 4096, not 5000"),
    (
        {"cpu": decimal.Decimal(2)},
        "Isolation(cpu=...) is a whole number from 1 to 2147483647, or None for no limit, not Decimal('2') (decimal.Decimal)",
    ),
    (
        {"timeout": 2j},
        "Isolation(timeout=...) is seconds above 0, such as 2 or 0.5, or None for no limit, not 2j",
    ),
    (
        {"timeout": dt.timedelta(seconds=2)},
        (
            "Isolation(timeout=...) is seconds above 0, such as 2 or 0.5, or None for no limit, not "
            "datetime.timedelta(seconds=2) (datetime.timedelta)"
        ),
    ),
    (
        {"timeout": 10**400},
        f"Isolation(timeout=...) is seconds above 0, such as 2 or 0.5, or None for no limit, not 1{'0' * 99}...",
    ),
    (
        {"cpu": 10**5000},
        "Isolation(cpu=...) is a whole number from 1 to 2147483647, or None for no limit, not a value of the type int",
    ),
    ({"memory": 10**5000}, "Isolation(memory=...) is less than 8 EiB, or None for no limit, not a value of the type int"),
    ({"memory": 2.5e9}, "Isolation(memory=...) is a number of bytes, a size such as '256MiB', or None for no limit, not 2500000000.0"),
    ({"network": 1}, "Isolation(network=...) is True or False, not 1"),
    ({"read": ""}, "Isolation(read=...) is a path, or a list or tuple of paths, not ''"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "message"), WRONG, ids=[message[-40:] for _, message in WRONG])
def test_invalid_options_are_refused_where_they_are_written(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"^Isolation\(") as caught:
        Isolation(**options)
    assert str(caught.value) == message
    with pytest.raises(ValueError, match=r"^Isolation\("):
        Isolation()._replace(**options)


def test_numbers_of_other_types_become_pythons_own() -> None:
    fraction: Any = fractions.Fraction(5, 2)
    assert repr(Isolation(timeout=fraction)).startswith("Isolation(timeout=2.5, restart=")
    half: Any = decimal.Decimal("0.5")
    assert Isolation(timeout=half).timeout == 0.5
    numpy: Any = pytest.importorskip("numpy")
    options = Isolation(
        timeout=numpy.float32(0.5), workers=numpy.array(2), memory=numpy.int64(1 << 30), cpu=numpy.uint8(9),
        files=numpy.int32(64), sandbox=numpy.True_, network=numpy.False_, processes=numpy.bool_(True),
    )  # fmt: skip
    assert options == Isolation(0.5, "on-call", 2, 1 << 30, 9, 64, True, False, True)
    assert {type(each).__module__ for each in options} == {"builtins"}
    for wrong in (numpy.complex64(2), numpy.timedelta64(2, "s"), numpy.array([2.0]), numpy.str_("2"), numpy.True_):
        with pytest.raises(ValueError, match=r"^Isolation\(timeout=...\) is seconds above 0, .*\(numpy\."):
            Isolation(timeout=wrong)
    with pytest.raises(ValueError, match=r"^Isolation\(workers=...\) .*\(numpy.float64\)$"):
        Isolation(workers=numpy.float64(2))


def test_a_timeout_of_any_length(library: Path) -> None:
    with hardpoint.loaded(library, Escape, isolated=Isolation(timeout=10**30, cpu=2**31 - 1, files=4096)) as plugin:
        assert plugin.attempt("fork", "") == "EPERM"


@pytest.mark.parametrize(
    ("path", "hint"), [("/nowhere", ""), ("~/nowhere", "; only a shell expands ~, so write /home/me/nowhere")]
)
def test_a_path_that_does_not_exist_is_refused_by_load(
    path: str, hint: str, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    options = Isolation(read=path)  # it may be made before load
    with pytest.raises(ValueError, match=r"^Isolation\(") as caught:
        hardpoint.load(library, Escape, isolated=options)
    assert str(caught.value) == f"Isolation(read=...) names {path!r}, which does not exist; make it first{hint}"


def test_an_unknown_option() -> None:
    with pytest.raises(TypeError, match="sandboxed="):
        Isolation(sandboxed=True)  # type: ignore[call-arg]


def test_an_invalid_value_of_isolated(library: Path) -> None:
    with pytest.raises(TypeError, match=r"^isolated is True, False or an Isolation\(...\), not dict$"):
        hardpoint.load(library, Escape, isolated={"memory": "1GiB"})  # type: ignore[arg-type]
