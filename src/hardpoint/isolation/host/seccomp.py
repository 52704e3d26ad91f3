"""The system calls that a worker does without, as a seccomp filter (seccomp(2)) for x86-64 and AArch64.

A call that is refused fails with EPERM, and nothing is killed for it: what a plugin could do before, it may still ask
for. Calls that are newer than the table give ENOSYS, as on an older kernel. By default it is a list of what is refused
and not of what is allowed, since what libraries rightly call differs by libc, allocator and language;
`sandbox="strict"` also refuses whatever is not on a list. libseccomp is on few machines; what is needed of it is
`bpf.py`.
"""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

from .bpf import ALLOWED, REFUSED, UNKNOWN, but, has, lacks, null, only, program, where
from .call_numbers import NEWEST, numbers

if TYPE_CHECKING:
    from ..options import Isolation

_REFUSED = {
    "other processes": (
        "ptrace process_vm_readv process_vm_writev process_madvise process_mrelease kcmp pidfd_open pidfd_getfd "
        "pidfd_send_signal tkill migrate_pages move_pages setpriority ioprio_set"
    ),
    "mounts, namespaces and roots": (
        "mount umount2 move_mount open_tree open_tree_attr fsopen fsconfig fsmount fspick mount_setattr pivot_root chroot "
        "setns unshare listns swapon swapoff quotactl quotactl_fd acct"
    ),
    "wide interfaces of the kernel": (
        "bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register name_to_handle_at "
        "open_by_handle_at add_key request_key keyctl init_module finit_module create_module delete_module kexec_load "
        "kexec_file_load reboot syslog iopl ioperm modify_ldt uselib lookup_dcookie vhangup personality sethostname "
        "setdomainname settimeofday clock_settime clock_adjtime adjtimex lsm_set_self_attr"
    ),
    "users, groups and capabilities": (
        "setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups capset"
    ),
    "changes of files that Landlock leaves open": (
        "chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat utime utimes futimesat utimensat setxattr lsetxattr "
        "fsetxattr setxattrat removexattr lremovexattr fremovexattr removexattrat file_setattr truncate"
    ),
    "files of others watched": (
        "inotify_init inotify_init1 inotify_add_watch inotify_rm_watch fanotify_init fanotify_mark"
    ),
    "objects that outlive the process": (
        "shmget shmat shmctl semget semop semtimedop semctl msgget msgsnd msgrcv msgctl mq_open mq_unlink"
    ),
}
"""By what they reach. Never allowed."""
_NETWORK = "socket connect bind sendmsg sendmmsg"
_STARTING = "execve execveat fork vfork"

_TO_ITSELF = "sched_setaffinity sched_setscheduler sched_setparam sched_setattr prlimit64"
_SIGNALS = "kill tgkill rt_sigqueueinfo rt_tgsigqueueinfo"  # abort() and raise() need them

_CLONE_THREAD, _CLONE_PARENT = 0x10000, 0x8000
_CLONE_NEW = 0x7E020000  # namespaces of every kind but time, which clone(2) cannot make

_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16
_NETLINK_ROUTE = 0  # getaddrinfo(3) asks for addresses by it; others list sockets, or reach the kernel's subsystems
_SOCK_STREAM, _SOCK_SEQPACKET, _SOCK_TYPE_MASK = 1, 5, 0xF

_FCNTL = (
    0, 1, 2, 3, 4, 5, 6, 7,  # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_GETLK, F_SETLK, F_SETLKW
    9, 11, 16,               # F_GETOWN, F_GETSIG, F_GETOWN_EX
    36, 37, 38,              # F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW
    1025, 1027, 1028,        # F_GETLEASE, F_DUPFD_QUERY, F_CREATED_QUERY
    1030, 1031, 1032, 1033, 1034,  # F_DUPFD_CLOEXEC, F_SETPIPE_SZ, F_GETPIPE_SZ, F_ADD_SEALS, F_GET_SEALS
    1035, 1036,              # F_GET_RW_HINT, F_SET_RW_HINT
)  # fmt: skip
"""Commands of fcntl(2). Not among them: F_SETOWN, F_SETSIG and F_SETOWN_EX, which send signals to other processes;
F_SETLEASE and F_SETDELEG, which stop others' open(2) for 45 s; F_NOTIFY."""
_F_SETFL, _O_ASYNC = 4, 0x2000
_IOCTL = (
    0x5401, 0x802C542A, 0x5413, 0x540F,  # TCGETS and TCGETS2, by which isatty(3) asks, TIOCGWINSZ, TIOCGPGRP
    0x541B, 0x5411, 0x8905,              # FIONREAD, TIOCOUTQ, SIOCATMARK
    0x5421, 0x5450, 0x5451,              # FIONBIO, FIONCLEX, FIOCLEX
    0xC0686611,                          # PROCMAP_QUERY: what is mapped at an address
)  # fmt: skip
"""Requests of ioctl(2). Not among them: FIOASYNC, FIOSETOWN and SIOCSPGRP, which send SIGIO to other processes;
FS_IOC_SETFLAGS and the like, which change files that are only readable; SIOCGIF*, which list interfaces; TIOCSTI."""
_IOCTL_NETWORK = (0x8933, 0x8910)  # SIOCGIFINDEX and SIOCGIFNAME: the scope of an address such as fe80::1%eth0
_KEEP_SIZE = 1  # FALLOC_FL_KEEP_SIZE. The others punch holes into memory that the host reads
_MADV = (9, 100, 101)  # MADV_REMOVE, which punches holes too, MADV_HWPOISON and MADV_SOFT_OFFLINE
_PRCTL = (1, 62)  # PR_SET_PDEATHSIG, since it would outlive the host, and PR_SCHED_CORE, which binds others' processors

_STRICT = {
    "memory": (
        "brk mmap munmap mremap mprotect madvise mincore msync mlock mlock2 munlock mlockall munlockall membarrier "
        "memfd_create pkey_alloc pkey_free pkey_mprotect get_mempolicy set_mempolicy mseal"
    ),
    "threads": (
        "clone exit exit_group futex futex_waitv futex_wake futex_wait futex_requeue set_robust_list set_tid_address rseq "
        "rseq_slice_yield arch_prctl gettid sched_yield sched_getaffinity sched_getparam sched_getscheduler "
        "sched_get_priority_max sched_get_priority_min sched_rr_get_interval sched_getattr getcpu uretprobe uprobe"
    ),
    "time": (
        "nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time times getrusage getitimer setitimer alarm "
        "timer_create timer_settime timer_gettime timer_getoverrun timer_delete timerfd_create timerfd_settime "
        "timerfd_gettime"
    ),
    "signals": (
        "rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigsuspend sigaltstack pause "
        "restart_syscall signalfd signalfd4"
    ),
    "files": (
        "read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 open openat openat2 creat close "
        "close_range dup dup2 dup3 lseek fsync fdatasync ftruncate sync_file_range fadvise64 readahead flock stat fstat "
        "lstat newfstatat statx statfs fstatfs access faccessat faccessat2 readlink readlinkat getdents getdents64 getcwd "
        "chdir fchdir umask mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat symlink symlinkat "
        "sendfile copy_file_range splice tee"
    ),
    "events": (
        "poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 eventfd "
        "eventfd2 pipe pipe2 recvfrom recvmsg shutdown"
    ),
    "the process": (
        "getpid getppid getuid geteuid getgid getegid getresuid getresgid getgroups getpgrp getpgid getsid capget "
        "getpriority uname sysinfo getrandom getrlimit setrlimit"
    ),
}
"""Allowed by `sandbox="strict"`, with those that are allowed for some arguments. What the runtimes of C, C++, Rust, Zig
and Go call; tests try them."""
_STRICT_NETWORK = (
    "connect bind listen accept accept4 getsockname getpeername getsockopt setsockopt sendmsg sendmmsg recvmmsg"
)
_STRICT_PROCESSES = "execve execveat fork vfork wait4 waitid setpgid setsid"
_STRICT_PRCTL = (
    2, 3, 4, 15, 16, 21, 23,  # PR_GET_PDEATHSIG, PR_GET_ and SET_DUMPABLE, SET_ and GET_NAME, GET_SECCOMP, CAPBSET_READ
    29, 30, 38, 39, 41, 42,   # PR_SET_ and GET_TIMERSLACK, SET_ and GET_NO_NEW_PRIVS, SET_ and GET_THP_DISABLE
    50, 51, 54, 55, 56, 60, 61, 63, 64,  # AArch64: SVE's and SME's vectors, pointer authentication, tagged addresses
    0x53564D41,               # PR_SET_VMA: names of memory, which Go sets
)  # fmt: skip

PLACEHOLDER = 0x7E57AB1E
"""Stands where the worker's own pid belongs; above what the kernel gives, and no number that a filter compares with."""


def filter_of(options: Isolation) -> bytes:
    """The filter of any worker of this machine with these options, with PLACEHOLDER for its pid."""
    return _filter(os.uname().machine, options.network, options.processes, options.sandbox == "strict")


@cache
def _filter(machine: str, network: bool, processes: bool, strict: bool) -> bytes:  # noqa: FBT001 - for the cache
    """Kept, since it takes 1 ms to make."""
    return make(machine, PLACEHOLDER, network=network, processes=processes, strict=strict)


def make(machine: str, pid: int, *, network: bool, processes: bool, strict: bool) -> bytes:
    """The filter of the process `pid`."""
    number = numbers(machine)
    named = _refused(network=network, processes=processes)
    named |= _argued(pid, network=network, processes=processes, strict=strict)
    blocks = {number[name]: block for name, block in named.items() if name in number}
    others = ALLOWED
    if strict:
        others = REFUSED
        allowed = _words(*_STRICT.values(), _STRICT_NETWORK * network, _STRICT_PROCESSES * processes)
        blocks = {number[name]: ALLOWED for name in allowed if name in number} | blocks
    rows = [(at, blocks.get(at, others)) for at in range(NEWEST + 1)]
    # An x32 number, a third ABI of x86-64, reaches the same calls.
    return program(machine, [*rows, (NEWEST + 1, UNKNOWN), (0x40000000, REFUSED)])


def _words(*texts: str) -> list[str]:
    return " ".join(texts).split()


def _refused(*, network: bool, processes: bool) -> dict[str, bytes]:
    """The calls that are refused whatever their arguments are."""
    names = _words(*_REFUSED.values(), "" if network else _NETWORK, "" if processes else _STARTING)
    # Flags of clone3 are in memory, out of a filter's sight; glibc takes clone instead.
    return dict.fromkeys(names, REFUSED) | {"clone3": UNKNOWN}


def _argued(pid: int, *, network: bool, processes: bool, strict: bool) -> dict[str, bytes]:
    """The calls that are allowed for some arguments."""
    checks = {
        "fcntl": only(1, *_FCNTL) + where(1, _F_SETFL, lacks(2, _O_ASYNC)),
        "ioctl": only(1, *_IOCTL, *(_IOCTL_NETWORK if network else ())),
        "fallocate": only(1, 0, _KEEP_SIZE),
        "madvise": but(2, *_MADV),
        "prctl": only(0, *_STRICT_PRCTL) if strict else but(0, *_PRCTL),
        "clone": lacks(0, _CLONE_NEW | _CLONE_PARENT) + (b"" if processes else has(0, _CLONE_THREAD)),
        # A datagram socket of a pair can still send to a path such as /dev/log; SOCK_RAW is one too.
        "socketpair": only(0, _AF_UNIX) + only(1, _SOCK_STREAM, _SOCK_SEQPACKET, mask=_SOCK_TYPE_MASK),
        "sendto": b"" if network else null(4),
    }
    if network:  # not AF_UNIX: Docker's socket, for one, is root's power
        family = only(0, _AF_INET, _AF_INET6, _AF_NETLINK)
        checks["socket"] = family + where(0, _AF_NETLINK, only(2, _NETLINK_ROUTE))
    checks |= dict.fromkeys(_words(_TO_ITSELF), only(0, 0, pid))
    checks |= dict.fromkeys(_words(_SIGNALS), only(0, pid))
    if processes:  # a child's own number is another
        checks |= dict.fromkeys(_words(_SIGNALS, "prlimit64"), b"")
    return {name: check + ALLOWED for name, check in checks.items()}
