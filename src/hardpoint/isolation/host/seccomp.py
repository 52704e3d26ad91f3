"""The system calls that a worker does without, as a seccomp filter (seccomp(2)) for x86-64 and AArch64.

A call that is refused fails with EPERM, and nothing is killed for it: what a plugin could do before, it may still ask
for. It is a list of what is refused and not of what is allowed, since what libraries rightly call differs by libc,
allocator and language; calls that are newer than this list give ENOSYS, as on an older kernel. pyseccomp wraps
libseccomp, which few machines have and which ctypes looks for by running a compiler; what is needed of it is the thirty
lines below.
"""

from __future__ import annotations

import errno
import os
import struct
from functools import cache

# A name, its number on x86-64, and on AArch64 if it is there. From asm/unistd_64.h; a test compares them.
_ALWAYS = """
ptrace 101 117, process_vm_readv 310 270, process_vm_writev 311 271, process_madvise 440 440, process_mrelease 448 448,
kcmp 312 272, pidfd_open 434 434, pidfd_getfd 438 438, pidfd_send_signal 424 424, tkill 200 130, migrate_pages 256 238,
move_pages 279 239, setpriority 141 140, ioprio_set 251 30,
mount 165 40, umount2 166 39, move_mount 429 429, open_tree 428 428, open_tree_attr 467 467, fsopen 430 430,
fsconfig 431 431, fsmount 432 432, fspick 433 433, mount_setattr 442 442, pivot_root 155 41, chroot 161 51,
setns 308 268, unshare 272 97, swapon 167 224, swapoff 168 225, quotactl 179 60, quotactl_fd 443 443, acct 163 89,
bpf 321 280, perf_event_open 298 241, userfaultfd 323 282, io_uring_setup 425 425, io_uring_enter 426 426,
io_uring_register 427 427, fanotify_init 300 262, fanotify_mark 301 263, name_to_handle_at 303 264,
open_by_handle_at 304 265, add_key 248 217, request_key 249 218, keyctl 250 219,
init_module 175 105, finit_module 313 273, create_module 174, delete_module 176 106, kexec_load 246 104,
kexec_file_load 320 294, reboot 169 142, syslog 103 116, iopl 172, ioperm 173, modify_ldt 154, uselib 134,
lookup_dcookie 212 18, vhangup 153 58, personality 135 92, sethostname 170 161, setdomainname 171 162,
settimeofday 164 170, clock_settime 227 112, clock_adjtime 305 266, adjtimex 159 171,
setuid 105 146, setgid 106 144, setreuid 113 145, setregid 114 143, setresuid 117 147, setresgid 119 149,
setfsuid 122 151, setfsgid 123 152, setgroups 116 159, capset 126 91,
chmod 90, fchmod 91 52, fchmodat 268 53, fchmodat2 452 452, chown 92, fchown 93 55, lchown 94, fchownat 260 54,
utime 132, utimes 235, futimesat 261, utimensat 280 88, setxattr 188 5, lsetxattr 189 6, fsetxattr 190 7,
setxattrat 463 463, removexattr 197 14, lremovexattr 198 15, fremovexattr 199 16, removexattrat 466 466,
file_setattr 469 469, truncate 76 45,
shmget 29 194, shmat 30 196, shmctl 31 195, semget 64 190, semop 65 193, semtimedop 220 192, semctl 66 191,
msgget 68 186, msgsnd 69 189, msgrcv 70 188, msgctl 71 187, mq_open 240 180, mq_unlink 241 181
"""
"""What reaches other processes or the machine, what Landlock leaves open, and what outlives the process."""
_NETWORK = "connect 42 203, bind 49 200, sendmsg 46 211, sendmmsg 307 269"
_STARTING = "execve 59 221, execveat 322 281, fork 57, vfork 58"
_ARGUED = (
    "kill 62 129, tgkill 234 131, rt_sigqueueinfo 129 138, rt_tgsigqueueinfo 297 240, prlimit64 302 261, clone 56 220, "
    "clone3 435 435, sched_setaffinity 203 122, sched_setscheduler 144 119, sched_setparam 142 118, sched_setattr 314 274, "
    "socket 41 198, sendto 44 206, prctl 157 167, fcntl 72 25"
)
"""What depends on an argument, or on what is allowed."""
_NEWEST = 471

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32 = 0x40000000  # set in the numbers of a third ABI of x86-64, which reach the same calls
_CLONE_THREAD = 0x10000
_F_SETOWN, _F_SETSIG, _F_SETOWN_EX = 8, 10, 15  # have a signal sent to another process
_PR_SET_PDEATHSIG = 1  # without it, the worker would outlive the host
_FAMILIES = (2, 10, 16)  # AF_INET, AF_INET6, AF_NETLINK, and not AF_UNIX: Docker's socket, for one, is root's power

# Classic BPF: 8 bytes an instruction, and jumps that count from the next one.
_LOAD, _JUMP, _IF_EQUAL, _IF_AT_LEAST, _IF_BITS, _RETURN = 0x20, 0x05, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCH = 0, 4  # places in struct seccomp_data


def _do(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value)


_ALLOWED = _do(_RETURN, 0x7FFF0000)
_REFUSED = _do(_RETURN, 0x50000 | errno.EPERM)
_UNKNOWN = _do(_RETURN, 0x50000 | errno.ENOSYS)


def _argument(index: int, *, high: bool = False) -> bytes:
    return _do(_LOAD, 16 + 8 * index + 4 * high)


def _only(index: int, *values: int) -> bytes:
    """Allowed only if an argument (32 bits of it, as the kernel takes these) is one of some."""
    return _argument(index) + b"".join(_do(_IF_EQUAL, value, 0, 1) + _ALLOWED for value in values) + _REFUSED


def _but(index: int, *values: int) -> bytes:
    """Allowed unless an argument is one of some."""
    return _argument(index) + b"".join(_do(_IF_EQUAL, value, 0, 1) + _REFUSED for value in values) + _ALLOWED


def _table(text: str, machine: str) -> dict[str, int]:
    column = 1 if machine == "x86_64" else 2
    rows = [each.split() for each in text.replace("\n", " ").split(",")]
    return {row[0]: int(row[column]) for row in rows if len(row) > column}


def _tree(blocks: list[tuple[int, bytes]]) -> bytes:
    """What to do from each number on, found by halving.

    The kernel runs the filter for every number when it takes it, so a list would cost each worker 0.3 ms.
    """
    if len(blocks) == 1:
        return blocks[0][1]
    middle = len(blocks) // 2
    low, high = _tree(blocks[:middle]), _tree(blocks[middle:])
    return _do(_IF_AT_LEAST, blocks[middle][0], 0, 1) + _do(_JUMP, len(low) // 8) + low + high


def rules(machine: str, pid: int, *, network: bool, processes: bool) -> dict[int, bytes]:
    """What is done about each system call that is not simply allowed, by its number."""
    number = _table(_ARGUED, machine)
    one = dict.fromkeys(_table(_ALWAYS, machine).values(), _REFUSED)
    one[number["prctl"]] = _but(0, _PR_SET_PDEATHSIG)
    one[number["fcntl"]] = _but(1, _F_SETOWN, _F_SETSIG, _F_SETOWN_EX)
    for name in ("prlimit64", "sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr"):
        one[number[name]] = _only(0, 0, pid)
    for name in ("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"):  # abort() and raise() need it
        one[number[name]] = _only(0, pid)
    if network:
        one[number["socket"]] = _only(0, *_FAMILIES)
    else:
        one |= dict.fromkeys([number["socket"], *_table(_NETWORK, machine).values()], _REFUSED)
        # To the other end alone: a datagram may have another address, and be for /dev/log.
        one[number["sendto"]] = (
            _argument(4)
            + _do(_IF_EQUAL, 0, 0, 3)
            + _argument(4, high=True)
            + _do(_IF_EQUAL, 0, 0, 1)
            + _ALLOWED
            + _REFUSED
        )
    if processes:
        for name in ("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "prlimit64"):
            del one[number[name]]  # a child's own number is another
    else:
        one |= dict.fromkeys(_table(_STARTING, machine).values(), _REFUSED)
        one[number["clone"]] = _argument(0) + _do(_IF_BITS, _CLONE_THREAD, 0, 1) + _ALLOWED + _REFUSED
        one[number["clone3"]] = _UNKNOWN  # its flags are out of sight; glibc then takes clone
    return one


def program(machine: str, pid: int, *, network: bool, processes: bool) -> bytes:
    """The filter of the process `pid`."""
    one = rules(machine, pid, network=network, processes=processes) | {_NEWEST + 1: _UNKNOWN, _X32: _REFUSED}
    steps = [(0, _ALLOWED)]
    for at in sorted(one):
        if steps[-1][0] == at:
            steps.pop()
        steps.append((at, one[at]))
        if at + 1 not in one and at <= _NEWEST:
            steps.append((at + 1, _ALLOWED))
    start = _do(_LOAD, _ARCH) + _do(_IF_EQUAL, _AUDIT_ARCH[machine], 1, 0) + _REFUSED + _do(_LOAD, _NUMBER)
    return start + _tree(steps)


PLACEHOLDER = 0x7E57AB1E
"""Stands where the worker's own pid belongs; above what the kernel gives, and no number that the filter compares with."""


@cache
def prepared(*, network: bool, processes: bool, strict: bool) -> bytes:
    """The filter of any process of this machine; kept, since it takes 2 ms to make."""
    return program(os.uname().machine, PLACEHOLDER, network=network, processes=processes)
