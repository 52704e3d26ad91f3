"""The system calls of a worker, against a list that is independent of the filter's own table.

The list names what the documentation promises: docs/isolation.md, "The sandbox". The numbers are the C library's. Every
call of the machine's headers is in one of the two groups: one that is refused, or one that is not.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import bpf
import pytest
from languages import zig
from test_sandbox import Escape
from test_sandbox_filter import Options, filter_for, numbers_of

import hardpoint
from hardpoint import Isolation

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Compiler

MACHINES = ["x86_64", "aarch64"]
GROUPS = {
    "other processes": "ptrace process_vm_readv process_vm_writev process_madvise process_mrelease kcmp pidfd_open "
    "pidfd_getfd pidfd_send_signal tkill migrate_pages move_pages setpriority ioprio_set",
    "file systems": "mount umount2 move_mount open_tree open_tree_attr fsopen fsconfig fsmount fspick mount_setattr "
    "pivot_root chroot swapon swapoff quotactl quotactl_fd acct",
    "namespaces": "setns unshare listns",
    "the kernel": "bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register fanotify_init "
    "fanotify_mark init_module finit_module create_module delete_module kexec_load kexec_file_load reboot syslog iopl "
    "ioperm modify_ldt uselib lookup_dcookie vhangup personality sethostname setdomainname lsm_set_self_attr",
    "the clock": "settimeofday clock_settime clock_adjtime adjtimex",
    "files by handle": "name_to_handle_at open_by_handle_at",
    "keys": "add_key request_key keyctl",
    "users": "setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups capset",
    "attributes of files": "chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat utime utimes futimesat utimensat "
    "setxattr lsetxattr fsetxattr setxattrat removexattr lremovexattr fremovexattr removexattrat file_setattr truncate",
    "IPC": "shmget shmat shmctl semget semop semtimedop semctl msgget msgsnd msgrcv msgctl mq_open mq_unlink",
    "the network": "socket connect bind sendmsg sendmmsg",
    "watching files": "inotify_init inotify_init1 inotify_add_watch inotify_rm_watch",
    "starting processes": "fork vfork execve execveat",
}
"""Refused whatever the arguments, without `network` and `processes`."""
REFUSED = {name for names in GROUPS.values() for name in names.split()}
BY_ARGUMENT = set(
    "kill tgkill rt_sigqueueinfo rt_tgsigqueueinfo prlimit64 clone clone3 sched_setaffinity sched_setscheduler "
    "sched_setparam sched_setattr sendto prctl fcntl ioctl socketpair".split()
)
NEWEST = 471
"""The last call that the filter knows; newer ones are as on an older kernel."""


@pytest.fixture(scope="module", params=MACHINES)
def kernel(request: pytest.FixtureRequest, compiler: Compiler) -> tuple[str, dict[str, int]]:
    """The name of a machine, and the numbers of its system calls."""
    import os

    command = compiler.command
    if request.param != os.uname().machine:
        pytest.importorskip("ziglang")
        command = zig("cc", f"{request.param}-linux-gnu")
    return request.param, numbers_of(command)


def answer(machine: str, number: int, **options: bool) -> str:
    """Return the filter's answer to a call with arguments of 0."""
    return bpf.answer(filter_for(machine, Options(**options)), machine, number)


def refused(kernel: tuple[str, dict[str, int]], **options: bool) -> set[str]:
    """Return the system calls that the filter refuses, with arguments of 0."""
    machine, numbers = kernel
    given = {name: number for name, number in numbers.items() if number <= NEWEST and name not in BY_ARGUMENT}
    return {name for name, number in given.items() if answer(machine, number, **options) == "EPERM"}


def test_a_worker_has_these_calls_and_no_others(kernel: tuple[str, dict[str, int]]) -> None:
    machine, numbers = kernel
    assert len(REFUSED & numbers.keys()) > (105 if machine == "x86_64" else 85)
    assert refused(kernel) == REFUSED & numbers.keys()
    assert numbers.keys() >= BY_ARGUMENT


def test_network_and_processes_give_back_exactly_their_own(kernel: tuple[str, dict[str, int]]) -> None:
    network, starting = set(GROUPS["the network"].split()), set(GROUPS["starting processes"].split())
    assert refused(kernel) - refused(kernel, network=True) == network - {"socket"}  # that depends on the family
    assert refused(kernel, network=True) <= refused(kernel)
    assert refused(kernel) - refused(kernel, processes=True) == starting & kernel[1].keys()
    assert refused(kernel, processes=True) <= refused(kernel)


def test_newer_calls_are_unknown_and_not_refused(kernel: tuple[str, dict[str, int]]) -> None:
    machine, _ = kernel
    assert {answer(machine, number) for number in range(NEWEST + 1, NEWEST + 40)} == {"ENOSYS"}
    assert answer(machine, NEWEST) in {"allowed", "EPERM"}


HARMLESS = {"vhangup": "", "sync": ""}
"""Not tried with -1 in a worker: with a hole in the filter, they would do something."""


@pytest.fixture(scope="module")
def library(compiler: Compiler) -> Path:
    compiler.header(Escape)
    return compiler.library("escape.c", "-pthread", "-ldl", "-Wno-infinite-recursion")


def test_a_plugin_is_refused_each_of_them(library: Path, compiler: Compiler) -> None:
    """Tried in a worker, with arguments that no call takes: all bits set."""
    numbers = numbers_of(compiler.command)
    arguments = " -1" * 6
    with hardpoint.loaded(library, Escape, isolated=Isolation(timeout=60)) as plugin:
        answers = {
            name: plugin.attempt("call", f"{numbers[name]}{arguments}")
            for name in sorted(REFUSED & numbers.keys() - HARMLESS.keys())
        }
        own = plugin.attempt("raise", "")
    assert {name: told for name, told in answers.items() if told != "EPERM"} == {}
    assert own == "done"


ORDINARY = {
    "getpid": "", "getuid": "", "gettid": "", "getppid": "", "sched_yield": "", "close": "-1", "read": "-1 0 0",
    "write": "-1 0 0", "fstat": "-1 0", "lseek": "-1 0 0", "mmap": "0 0 0 0 -1 0", "munmap": "1 1", "mprotect": "1 1 0",
    "madvise": "1 1 0", "futex": "0 0 0 0 0 0", "nanosleep": "0 0", "clock_gettime": "-1 0", "getrandom": "0 0 0",
    "dup": "-1", "ioctl": "-1 21523 0", "getdents64": "-1 0 0", "epoll_create1": "-1", "eventfd2": "0 -1",
    "timerfd_create": "-1 0", "memfd_create": "0 -1", "sched_getaffinity": "0 0 0", "getrusage": "-99 0",
    "membarrier": "-1 0 0", "rseq": "0 0 0 0", "socketpair": "1 1 -1 0", "recvfrom": "-1 0 0 0 0 0",
    "ftruncate": "-1 0", "getcpu": "0 0 0",
}  # fmt: skip
"""What libraries do all the time, with arguments that have no effect."""


def test_a_plugin_has_the_ordinary_ones(library: Path, compiler: Compiler) -> None:
    numbers = numbers_of(compiler.command)
    with hardpoint.loaded(library, Escape, isolated=True) as plugin:
        answers = {name: plugin.attempt("call", f"{numbers[name]} {words}") for name, words in ORDINARY.items()}
    assert {name for name, told in answers.items() if told in {"EPERM", "ENOSYS"}} == set(), errno.errorcode
