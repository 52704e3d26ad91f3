"""What a worker gives up before it loads the plugin; and what it cannot give up here, which is said and not fatal.

Entered by the worker's only thread, so it holds for all that come after. What needs the kernel's consent comes last.
"""

from __future__ import annotations

import os
import resource
import struct
from typing import TYPE_CHECKING, Any

from ...elf.constants import GLIBC, SYSTEM_FOLDERS
from ...elf.needed import needed
from ...errors import LoadError
from ...ffi.libc import ffi, libc
from . import landlock, seccomp

if TYPE_CHECKING:
    from ...elf.reader import ElfFile
    from ...file import LibraryFile

_PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _CLEAR_ALL = 38, 47, 4
_CAPGET, _CAPSET = {"x86_64": (125, 126), "aarch64": (90, 91)}[os.uname().machine]
_CAPABILITY_VERSION = 0x20080522
_OVER_FILES = 0b110
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: root may keep plugins in another's home. Landlock bounds their reach."""


def _existing(*paths: str) -> tuple[str, ...]:
    """Those that are there, without those within others: each costs a worker 7 µs."""
    real = {os.path.realpath(path) for path in paths if os.path.exists(path)}
    return tuple(path for path in real if not any(path.startswith(f"{other}/") for other in real))


_READ = _existing(
    *SYSTEM_FOLDERS, "/usr/local/lib", "/etc/ld.so.cache",  # what plugins need, and dlopen
    os.path.dirname(os.__file__), os.path.dirname(os.path.dirname(os.path.dirname(__file__))),  # imports that come late, and tracebacks
    "/etc/localtime", "/usr/share/zoneinfo", "/usr/share/locale", "/dev/zero", "/dev/random", "/dev/urandom",
    "/sys/devices/system/cpu", "/proc/cpuinfo", "/proc/meminfo",  # how many threads to start, how much memory to take
)  # fmt: skip
_READ_FOR_NETWORK = _existing(
    "/etc/resolv.conf", "/etc/hosts", "/etc/host.conf", "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/services",
    "/etc/protocols", "/etc/ssl", "/etc/pki", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates",
)  # fmt: skip
_READ_FOR_PROCESSES = _existing("/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin")
_WRITE = ("/dev/null",)
seccomp.prepare()


def enter(options: dict[str, Any], file: LibraryFile, elf: ElfFile) -> list[str]:
    """Give up what the options say; a line for each thing that is in force, or that is lacking here.

    LoadError if something is lacking and the sandbox is required.
    """
    told = _limit(options)
    if options["sandbox"]:
        given, lacking = _confine(options, file, elf)
        if lacking and options["sandbox"] == "required":
            raise LoadError(
                f"{file.path} is not loaded: needs the whole sandbox for Isolation(sandbox='required'), found: "
                f"{'; '.join(lacking)}; "
                "use another kernel or container, or Isolation(sandbox=True) for a partial sandbox",
                path=file.path,
            )
        told += given + [f"lacking: {each}" for each in lacking]
    else:
        told.append("lacking: sandbox=False leaves files, network and processes to the plugin")
    return told


def _limit(options: dict[str, Any]) -> list[str]:
    """Set limits by setrlimit(2), but not RLIMIT_NPROC, which counts all processes of the user and exempts root."""
    told = ["no core dumps"]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if "LD_PRELOAD" in os.environ:
        told.append("lacking: the limit of memory, since a sanitizer reserves terabytes")
    elif memory := _lower(resource.RLIMIT_DATA, options["memory"], 0):
        told.append(
            f"memory: {memory >> 20} MiB of private writable memory; what is shared or mapped from files is not counted"
        )
    # The soft limit tells by SIGXCPU; who ignores that meets SIGKILL a second later.
    if cpu := _lower(resource.RLIMIT_CPU, options["cpu"], 1):
        told.append(f"processor time: {cpu} s")
    if files := _lower(resource.RLIMIT_NOFILE, options["files"], 0):
        told.append(f"open files: {files}")
    return told


def _lower(number: int, wanted: int | None, more: int) -> int | None:
    """Set a limit, if there is to be one, and not above what there is already."""
    if wanted is None:
        return None
    hard = resource.getrlimit(number)[1]
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
        more = min(more, hard - wanted)
    resource.setrlimit(number, (wanted, wanted + more))
    return wanted


def _confine(options: dict[str, Any], file: LibraryFile, elf: ElfFile) -> tuple[list[str], list[str]]:
    """What was given up, and what could not be."""
    given, lacking = ["no new privileges"], []
    network, processes = options["network"], options["processes"]
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    abi = landlock.version()
    why: str | None = "the kernel has no Landlock (Linux 5.13 has it, if it is turned on)"
    if abi:
        read = [*_READ, *libraries(file, elf), "/proc/self", *options["read"]]
        read += (_READ_FOR_NETWORK if network else ()) + (_READ_FOR_PROCESSES if processes else ())
        why = landlock.restrict(abi, read, [*_WRITE, *options["write"]], network=network, processes=processes)
    if why:
        lacking.append(f"files are not confined: {why}")
    else:
        given.append(_files(options, abi))
    if _drop_capabilities():
        given.append("no capabilities, except those over files")
    why = seccomp.install(network=network, processes=processes)
    if why:
        lacking.append(f"system calls are not confined: {why}")
    else:
        given += _calls(network, processes)
    return given, lacking


def _files(options: dict[str, Any], abi: int) -> str:
    given = [options[name] for name in ("read", "write")]
    reads, writes = (", ".join(paths) if len(paths) <= 8 else f"{len(paths)} more paths" for paths in given)
    return (
        f"files: reads what the library, the loader and Python need{f', and {reads}' * bool(reads)}; "
        f"writes {writes or 'none'} (Landlock, version {abi})"
    )


def _calls(network: bool, processes: bool) -> list[str]:  # noqa: FBT001
    return [
        "network: IPv4 and IPv6" if network else "network: none, and no Unix sockets (seccomp)",
        "processes: can start others, which can outlive it" if processes else "processes: starts none (seccomp)",
        "other processes: cannot be signalled or inspected; no administration, keys or IPC (seccomp)"
        if not processes
        else "other processes: cannot be inspected; no administration, keys or IPC (seccomp)",
    ]


def _drop_capabilities() -> bool:
    """Give up what only root may do, but for files; whether there was something."""
    head = ffi.new("char[]", struct.pack("=Ii", _CAPABILITY_VERSION, 0))
    sets = ffi.new("uint32_t[6]")  # effective, permitted, inheritable: the low words, then the high ones
    where = [int(ffi.cast("uintptr_t", each)) for each in (head, sets)]
    libc.syscall(_CAPGET, *where, 0, 0, 0)
    before = list(sets)
    kept = [sets[0] & _OVER_FILES, sets[1] & _OVER_FILES, 0, 0, 0, 0]
    if before == kept:
        return False
    sets[0:6] = kept
    libc.prctl(_PR_CAP_AMBIENT, _CLEAR_ALL, 0, 0, 0)
    libc.syscall(_CAPSET, *where, 0, 0, 0)
    return True


def libraries(file: LibraryFile, elf: ElfFile) -> list[str]:
    """The plugin's own file and those of all libraries that dlopen will want for it.

    Never a folder: the plugin chooses its search path, and what else lies in a folder may be nobody's business.
    """
    own = [] if file.pinned else [file.loader_path]
    if GLIBC.issuperset(elf.needed):
        return own
    origin = None if file.pinned else os.path.dirname(file.loader_path)
    return [*own, *(each.path for each in needed(elf, origin) if each.path and not each.is_system)]
