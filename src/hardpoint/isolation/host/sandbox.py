"""The options of a plugin -> the limits of its workers, and the files that they may open; and a line about each."""

from __future__ import annotations

import os
import resource
from functools import cache
from typing import TYPE_CHECKING, Any

from ...elf.constants import GLIBC, SYSTEM_FOLDERS
from ...fields import Fields
from ...preflight.sanitizers import has_sanitizer
from ..options import bytes_of
from . import landlock

if TYPE_CHECKING:
    from ...elf.reader import ElfFile
    from ...file import LibraryFile
    from ..options import Isolation

_READ = (
    *SYSTEM_FOLDERS, "/usr/local/lib", "/etc/ld.so.cache",  # what plugins need, and dlopen
    "/etc/localtime", "/usr/share/zoneinfo", "/usr/share/locale", "/dev/zero", "/dev/random", "/dev/urandom",
    "/sys/devices/system/cpu", "/proc/cpuinfo", "/proc/meminfo",  # how many threads to start, how much memory to take
)  # fmt: skip
_READ_FOR_NETWORK = (
    "/etc/resolv.conf", "/etc/hosts", "/etc/host.conf", "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/services",
    "/etc/protocols", "/etc/ssl", "/etc/pki", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates",
)  # fmt: skip
_READ_FOR_PROCESSES = ("/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin")
_WRITE = ("/dev/null",)
_MOST_NAMED = 8


class Limits(Fields):
    """Limits of a process."""

    rows: list[tuple[int, int, int]]
    """Resource, soft and hard limit, as setrlimit(2) takes them."""
    lines: list[str]


def limits(options: Isolation) -> Limits:
    """The limits that the options ask for, none above the host's own.

    RLIMIT_NPROC is not among them: it counts all processes of the user, and exempts root.
    """
    made = Limits([(resource.RLIMIT_CORE, 0, 0)], ["no core dumps"])
    memory = None if options.memory is None else bytes_of(options.memory)
    if has_sanitizer():
        made.lines.append("lacking: the limit of memory, since a sanitizer reserves terabytes")
    elif size := _add(made, resource.RLIMIT_DATA, memory):
        counted = "private writable memory; what is shared or mapped from files is not counted"
        made.lines.append(f"memory: {size >> 20} MiB of {counted}")
    # SIGXCPU at the soft limit; a plugin that ignores it gets SIGKILL a second later.
    if seconds := _add(made, resource.RLIMIT_CPU, options.cpu, 1):
        made.lines.append(f"processor time: {seconds} s")
    if files := _add(made, resource.RLIMIT_NOFILE, options.files):
        made.lines.append(f"open files: {files}")
    return made


def _add(limits: Limits, number: int, wanted: int | None, more: int = 0) -> int | None:
    """Add a limit unless `wanted` is None, `more` to the hard one; return the soft limit."""
    if wanted is None:
        return None
    hard = resource.getrlimit(number)[1]
    most = (1 << 64) - 1 if hard == resource.RLIM_INFINITY else hard
    wanted = min(wanted, most)
    limits.rows.append((number, wanted, min(wanted + more, most)))
    return wanted


def files(options: Isolation, file: LibraryFile, elf: ElfFile) -> landlock.Ruleset:
    """The files that the library, the dynamic linker and the options need."""
    network, processes = options.network, options.processes
    read = [*_existing(_READ), *libraries(file, elf), "/proc/self", *_paths(options.read)]
    read += (_existing(_READ_FOR_NETWORK) if network else ()) + (_existing(_READ_FOR_PROCESSES) if processes else ())
    write = [*_WRITE, *_paths(options.write)]
    return landlock.ruleset(landlock.version(), read, write, network=network, processes=processes)


def _paths(given: Any) -> tuple[str, ...]:
    """The paths of an option, which `options.checked` has made absolute."""
    return tuple(given)


@cache
def _existing(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Those that exist, without those within others: each costs a worker some µs."""
    real = {os.path.realpath(path) for path in paths if os.path.exists(path)}
    return tuple(sorted(path for path in real if not any(path.startswith(f"{other}/") for other in real)))


def libraries(file: LibraryFile, elf: ElfFile) -> list[str]:
    """The plugin's own file and those of all libraries that dlopen will want for it, in a process that has loaded none.

    Never a folder: the plugin chooses its search path, and what else lies in a folder may be nobody's business.
    """
    own = [] if file.pinned else [file.loader_path]
    if GLIBC.issuperset(elf.needed):
        return own
    from ...elf.needed import needed  # 1 ms, which plugins that need glibc alone do without

    origin = None if file.pinned else os.path.dirname(file.loader_path)
    for each in needed(elf, origin):
        own += [each.path] if each.path and not each.is_system else []
        own += [each.hidden] if each.hidden else []  # the host has loaded another of that name
    return own


def line_of_files(options: Isolation, abi: int) -> str:
    """The line about the files that a worker may open."""
    named = [_paths(options.read), _paths(options.write)]
    reads, writes = (", ".join(each) if len(each) <= _MOST_NAMED else f"{len(each)} more paths" for each in named)
    more = f", and {reads}" if reads else ""
    writable = writes or "none"
    return f"files: reads what the library and the loader need{more}; writes {writable} (Landlock, version {abi})"


def lines_of_calls(options: Isolation) -> list[str]:
    """The lines about the system calls that are refused."""
    signalled = "inspected" if options.processes else "signalled or inspected"
    listed = ["system calls: those on a list, and no others (seccomp)"] if options.sandbox == "strict" else []
    return [
        "network: IPv4 and IPv6" if options.network else "network: none, and no Unix sockets (seccomp)",
        f"processes: {'can start others, which can outlive it' if options.processes else 'starts none (seccomp)'}",
        f"other processes: cannot be {signalled}; no administration, keys or IPC (seccomp)",
        *listed,
    ]
