"""The seccomp filter of a worker: its program is interpreted for every system call and class of arguments."""

from __future__ import annotations

import fcntl
import itertools
import os
import re
import signal
import socket
import struct
import subprocess
import termios
from typing import TYPE_CHECKING, NamedTuple

import pytest
from bpf import MOST, answer
from languages import zig

from hardpoint.isolation.host import seccomp
from hardpoint.isolation.host.call_numbers import NEWEST, numbers
from hardpoint.isolation.options import Isolation

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conftest import Compiler

MACHINES = ("x86_64", "aarch64")
PID, SOME = 4242, (1 << 64) - 1  # SOME argument has all bits
X32 = 0x40000000


class Options(NamedTuple):
    """Options that change the filter."""

    network: bool = False
    processes: bool = False
    strict: bool = False


EVERY = [Options(*each) for each in itertools.product((False, True), repeat=3)]


def filter_for(machine: str, options: Options) -> bytes:
    return seccomp.make(machine, PID, **options._asdict())


# -- every call --------------------------------------------------------------------------------------------------------

REFUSED = set(
    """
    ptrace process_vm_readv process_vm_writev process_madvise process_mrelease kcmp pidfd_open pidfd_getfd
    pidfd_send_signal tkill migrate_pages move_pages setpriority ioprio_set
    mount umount2 move_mount open_tree open_tree_attr fsopen fsconfig fsmount fspick mount_setattr pivot_root chroot setns
    unshare listns swapon swapoff quotactl quotactl_fd acct
    bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register name_to_handle_at open_by_handle_at
    add_key request_key keyctl init_module finit_module create_module delete_module kexec_load kexec_file_load reboot syslog
    iopl ioperm modify_ldt uselib lookup_dcookie vhangup personality sethostname setdomainname settimeofday clock_settime
    clock_adjtime adjtimex lsm_set_self_attr
    setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups capset
    chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat utime utimes futimesat utimensat setxattr lsetxattr
    fsetxattr setxattrat removexattr lremovexattr fremovexattr removexattrat file_setattr truncate
    inotify_init inotify_init1 inotify_add_watch inotify_rm_watch fanotify_init fanotify_mark
    shmget shmat shmctl semget semop semtimedop semctl msgget msgsnd msgrcv msgctl mq_open mq_unlink
    """.split()
)
"""Refused whatever the options are."""
BY_NETWORK = {"connect", "bind", "sendmsg", "sendmmsg"}
BY_PROCESSES = {"execve", "execveat", "fork", "vfork"}
ARGUED = set(
    """
    clone socket sendto socketpair kill tgkill rt_sigqueueinfo rt_tgsigqueueinfo sched_setaffinity sched_setscheduler
    sched_setparam sched_setattr prlimit64 fcntl ioctl fallocate madvise prctl
    """.split()
)
"""Those that depend on an argument: see below."""
NOT_STRICT = set(
    """
    _sysctl afs_syscall cachestat epoll_ctl_old epoll_wait_old fgetxattr file_getattr flistxattr get_kernel_syms
    get_robust_list get_thread_area getpmsg getxattr getxattrat io_cancel io_destroy io_getevents io_pgetevents io_setup
    io_submit ioprio_get landlock_add_rule landlock_create_ruleset landlock_restrict_self lgetxattr listmount listxattr
    listxattrat llistxattr lsm_get_self_attr lsm_list_modules map_shadow_stack mbind memfd_secret mknod mknodat
    mq_getsetattr mq_notify mq_timedreceive mq_timedsend nfsservctl putpmsg query_module remap_file_pages seccomp security
    set_mempolicy_home_node set_thread_area shmdt statmount sync syncfs sysfs tuxcall ustat vmsplice vserver
    """.split()
)
"""Allowed, except by `sandbox="strict"`."""
NOT_STRICT_WITHOUT_NETWORK = set("accept accept4 getpeername getsockname getsockopt listen recvmmsg setsockopt".split())
NOT_STRICT_WITHOUT_PROCESSES = {"setpgid", "setsid", "wait4", "waitid"}


def expected(name: str, options: Options) -> str:
    """What the tables above say about a call by its name."""
    if name == "clone3":
        return "ENOSYS"
    refused = REFUSED | (set() if options.network else BY_NETWORK) | (set() if options.processes else BY_PROCESSES)
    if options.strict:
        refused |= NOT_STRICT
        refused |= set() if options.network else NOT_STRICT_WITHOUT_NETWORK
        refused |= set() if options.processes else NOT_STRICT_WITHOUT_PROCESSES
    return "EPERM" if name in refused else "allowed"


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("options", EVERY, ids=str)
def test_every_call_by_its_number(machine: str, options: Options) -> None:
    code, names = filter_for(machine, options), {number: name for name, number in numbers(machine).items()}
    wrong = {}
    for number in range(NEWEST + 31):
        name = names.get(number, "")
        if number > NEWEST:
            wanted = "ENOSYS"
        elif name:
            wanted = expected(name, options)
        else:  # a gap among the numbers, where the kernel itself says ENOSYS
            wanted = "EPERM" if options.strict else "allowed"
        found = {answer(code, machine, number, *[each] * 6) for each in (0, 1, PID, SOME)}
        if name not in ARGUED and found != {wanted}:
            wrong[name or number] = found
    assert not wrong


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("options", EVERY, ids=str)
def test_other_abis_and_numbers(machine: str, options: Options) -> None:
    code = filter_for(machine, options)
    assert {answer(code, machine, number) for number in (NEWEST + 1, 512, 547, 4000, X32 - 1)} == {"ENOSYS"}
    assert {answer(code, machine, X32 + number) for number in (*range(600), X32 - 1)} == {"EPERM"}
    assert {answer(code, machine, number) for number in (-1, -2, 1 << 31)} == {"EPERM"}
    other = next(each for each in MACHINES if each != machine)
    for arch in ("i386", "arm", other):
        assert {answer(code, arch, number) for number in (*range(NEWEST + 31), X32, -1)} == {"EPERM"}


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("options", EVERY, ids=str)
def test_the_kernel_takes_the_program(machine: str, options: Options) -> None:
    """Jumps go forward and to an instruction, and the last one returns: what the kernel's own checker asks for."""
    code = list(struct.iter_unpack("=HBBI", filter_for(machine, options)))
    assert len(code) <= 700 <= MOST  # which it holds for each worker
    assert code[-1][0] == 0x06
    for at, (operation, yes, no, value) in enumerate(code):
        assert operation in {0x20, 0x54, 0x05, 0x15, 0x35, 0x45, 0x06}
        if operation & 7 == 5:
            assert at + 1 + max(yes, no, value if operation == 0x05 else 0) < len(code)
        if operation == 0x20:
            assert value % 4 == 0
            assert value < 64


def test_the_table_names_calls_that_are() -> None:
    named = REFUSED | BY_NETWORK | BY_PROCESSES | ARGUED | NOT_STRICT
    named |= NOT_STRICT_WITHOUT_NETWORK | NOT_STRICT_WITHOUT_PROCESSES
    assert named <= numbers("x86_64").keys()
    assert {*seccomp._words(*seccomp._REFUSED.values(), *seccomp._STRICT.values())} <= numbers("x86_64").keys()


def numbers_of(command: list[str]) -> dict[str, int]:
    """The numbers of system calls in the C library's headers."""
    code = "#include <asm/unistd.h>\n"
    done = subprocess.run([*command, "-E", "-dM", "-xc", "-"], input=code, capture_output=True, text=True, check=True)
    return {name: int(value) for name, value in re.findall(r"#define __NR_(\w+) (\d+)$", done.stdout, re.MULTILINE)}


@pytest.mark.parametrize("machine", MACHINES)
def test_the_numbers_are_the_kernels(machine: str, compiler: Compiler) -> None:
    command = compiler.command
    if machine != os.uname().machine:
        pytest.importorskip("ziglang")
        command = zig("cc", f"{machine}-linux-gnu")
    there, named = numbers_of(command), numbers(machine)
    assert len(there) > 280
    old = {name: number for name, number in there.items() if number <= NEWEST}
    assert old.items() <= named.items()


# -- arguments ---------------------------------------------------------------------------------------------------------

PEOPLE = {0, 1, PID - 1, PID, PID + 1, -PID, -1}


def allowed(machine: str, name: str, tried: Iterable[int], options: Options, *before: int) -> set[int]:
    """The values of an argument that a call is allowed for; `before` are the arguments before it.

    The kernel takes 32 bits of it, so others change nothing.
    """
    code, number = filter_for(machine, options), numbers(machine)[name]
    found = set()
    for value in tried:
        low = value & 0xFFFFFFFF
        said = {answer(code, machine, number, *before, each) for each in (value, low, low | 1 << 32, low | 1 << 63)}
        assert said in ({"allowed"}, {"EPERM"})
        found |= {value} if said == {"allowed"} else set()
    return found


def words(module: object, *prefixes: str) -> dict[str, int]:
    """The numbers that a module of Python names so."""
    named = {name: getattr(module, name) for name in dir(module) if name.startswith(prefixes)}
    return {name: value & 0xFFFFFFFF for name, value in named.items() if isinstance(value, int)}


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("options", EVERY, ids=str)
def test_signals_and_limits_stay_in_the_process(machine: str, options: Options) -> None:
    for name in ("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"):  # to its children, too
        assert allowed(machine, name, PEOPLE, options) == (PEOPLE if options.processes else {PID})
    for name in ("sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr"):
        assert allowed(machine, name, PEOPLE, options) == {0, PID}
    assert allowed(machine, "prlimit64", PEOPLE, options) == (PEOPLE if options.processes else {0, PID})


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("options", EVERY, ids=str)
def test_clone_makes_threads(machine: str, options: Options) -> None:
    pthread, fork = 0x3D0F00, signal.SIGCHLD
    made = allowed(machine, "clone", {pthread, fork, 0x4111, 0}, options)  # CLONE_VFORK | CLONE_VM is of posix_spawn
    assert made == ({pthread, fork, 0x4111, 0} if options.processes else {pthread})
    refused = {1 << bit for bit in (15, 17, 25, 26, 27, 28, 29, 30)}  # CLONE_PARENT, and CLONE_NEW* of seven kinds
    thread = 0x10000
    tried = {1 << bit for bit in range(32)} - {thread}
    made = allowed(machine, "clone", {each | thread for each in tried}, options)
    assert {each - thread for each in made} == tried - refused


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("options", EVERY, ids=str)
def test_commands_of_fcntl(machine: str, options: Options) -> None:
    # F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE, F_NOTIFY, F_SETDELEG; hints of a file, which Linux has no longer
    refused = {8, 10, 15, 1024, 1026, 1040, 1037, 1038}
    named = set(words(fcntl, "F_DUP", "F_GET", "F_SET", "F_OFD", "F_ADD").values()) | {1035, 1036, 1027, 1028}
    tried = {*range(2048), -1}
    assert allowed(machine, "fcntl", tried, options, 3) == (named | {16}) - refused
    flags = {0, os.O_NONBLOCK, os.O_APPEND, os.O_ASYNC, os.O_ASYNC | os.O_NONBLOCK, -1}
    harmless = {0, os.O_NONBLOCK, os.O_APPEND}
    assert allowed(machine, "fcntl", flags, options, 3, fcntl.F_SETFL) == harmless
    assert allowed(machine, "fcntl", flags, options, 3, fcntl.F_DUPFD) == flags


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("options", EVERY, ids=str)
def test_requests_of_ioctl(machine: str, options: Options) -> None:
    named = {"TCGETS", "TIOCGWINSZ", "TIOCGPGRP", "FIONREAD", "TIOCINQ", "TIOCOUTQ", "FIONBIO", "FIOCLEX", "FIONCLEX"}
    known = words(termios, "TC", "TIO", "FIO")
    wanted = {known[name] for name in named} | {0x802C542A, 0x8905, 0xC0686611}  # TCGETS2, SIOCATMARK, PROCMAP_QUERY
    wanted |= {0x8910, 0x8933} if options.network else set()  # SIOCGIFNAME, SIOCGIFINDEX
    files = {0x40086602, 0x40087602, 0x401C5820, 0x40049409, 0xC0185879, 0xC0045877}  # FS_IOC_SETFLAGS, SETVERSION, ...
    tried = {*range(0x5400, 0x5480), *range(0x8900, 0x8A00), *range(0x80), *known.values(), *files, *wanted}
    assert allowed(machine, "ioctl", tried, options, 3) == wanted


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("options", EVERY, ids=str)
def test_holes_and_bindings(machine: str, options: Options) -> None:
    assert allowed(machine, "fallocate", range(512), options, 3) == {0, 1}
    assert allowed(machine, "madvise", range(256), options, 0, 4096) == set(range(256)) - {9, 100, 101}
    tried = {*range(100), 0x53564D41, 0x59616D61, -1}
    control = allowed(machine, "prctl", tried, options)
    assert not control & {1, 62}  # PR_SET_PDEATHSIG, PR_SCHED_CORE
    assert control >= {15, 16, 38, 39, 0x53564D41}  # names of threads and memory, new privileges
    assert len(control) == (23 if options.strict else len(tried) - 2)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("options", EVERY, ids=str)
def test_sockets(machine: str, options: Options) -> None:
    families = {socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK}
    assert allowed(machine, "socket", range(50), options) == (families if options.network else set())
    protocols, netlink = set(range(300)), (socket.AF_NETLINK, socket.SOCK_RAW)
    assert allowed(machine, "socket", protocols, options, *netlink) == ({0} if options.network else set())
    internet = allowed(machine, "socket", protocols, options, socket.AF_INET6, socket.SOCK_STREAM)
    assert internet == (protocols if options.network else set())
    kinds = {socket.SOCK_STREAM, socket.SOCK_SEQPACKET}
    flags = {0, socket.SOCK_CLOEXEC, socket.SOCK_NONBLOCK, socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK}
    tried = {kind | flag for kind in range(16) for flag in flags}
    for family in range(50):
        pairs = allowed(machine, "socketpair", tried, options, family)
        assert pairs == ({kind | flag for kind in kinds for flag in flags} if family == socket.AF_UNIX else set())
    code, number = filter_for(machine, options), numbers(machine)["sendto"]
    addressed = {answer(code, machine, number, 3, 1, 1, 0, to) for to in (1, 1 << 32, 1 << 63, SOME)}
    assert addressed == {"allowed" if options.network else "EPERM"}
    assert answer(code, machine, number, 3, 1, 1, 0, 0) == "allowed"


@pytest.mark.parametrize("options", EVERY, ids=str)
def test_the_workers_pid_takes_the_place_of_another(options: Options) -> None:
    made = Isolation(network=options.network, processes=options.processes, sandbox="strict" if options.strict else True)
    place, pid = (number.to_bytes(4, "little") for number in (seccomp.PLACEHOLDER, PID))
    assert seccomp.filter_of(made).replace(place, pid) == filter_for(os.uname().machine, options)
    assert seccomp.PLACEHOLDER > 1 << 22  # the kernel's largest pid
