"""Ask the dynamic linker whether it would load a file, in a process of its own that runs none of the file's code.

That is its trace mode (ld.so(8)): it maps and relocates this host's program with the file preloaded, and ends before it
would start any code. LD_TRACE_LOADED_OBJECTS lists the libraries; LD_WARN and LD_BIND_NOW, every symbol that nothing
defines. Since glibc 2.30 it calls no indirect functions (IFUNC) there either.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from typing import TYPE_CHECKING

from ..elf.constants import DT_SONAME, PT_INTERP
from ..elf.needed import needed
from ..elf.reader import ElfError, open_elf
from ..elf.search_path import at_start, link_map, loaded_path, uses_origin
from ..errors import Problem
from ..ffi.libc import ffi, libc
from .loader_words import Answer, odd_names, problems_of

if TYPE_CHECKING:
    from ..elf.reader import ElfFile
    from ..file import LibraryFile

_TRACE = {"LD_TRACE_LOADED_OBJECTS": "1", "LD_WARN": "1", "LD_BIND_NOW": "1", "LC_ALL": "C"}
_KEPT = ("LD_LIBRARY_PATH", "LD_PRELOAD", "GLIBC_TUNABLES")
"""Variables that change what the dynamic linker does, kept as they were when this process started."""
_SECONDS, _MOST_BYTES = 5, 1 << 20
"""A trace takes 2 ms, or 20 with Qt; its output some hundred bytes, or 60 KB for 500 undefined symbols of C++."""
_CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT}
"""Signals by which ld.so dies of a damaged library, as the host would."""
_SEPARATORS = (" ", ":")
"""They separate the paths that ld.so preloads, and cannot be escaped."""


class _UnaskedError(Exception):
    """The dynamic linker could not be asked; the message is the reason."""


class _CrashedError(Exception):
    """The dynamic linker died; the message says of which signal."""


def ask(file: LibraryFile, elf: ElfFile) -> list[Problem]:
    """Return every reason for which the dynamic linker would refuse the file now; a warning if it cannot be asked.

    It is asked anew each time, since the answer depends on other files and on what this process has loaded.
    """
    origin = None if file.pinned else os.path.dirname(file.loader_path)
    try:
        others, names = set[str](), odd_names(elf)
        for library in needed(elf, origin):
            if path := loaded_path(library.name):
                others.add(path)
            elif library.elf is not None:
                names |= odd_names(library.elf)
        answer = _trace(file, elf, others).readable(names)
        late = {path for name in answer.missing() if (path := loaded_path(name))}
        if late - others:  # needed by one of the system's libraries, which `needed` does not read
            answer = _trace(file, elf, others | late).readable(names)
    except (_UnaskedError, OSError, ElfError) as error:
        return [Problem.of("loader-unasked", f"none: {error}")]
    except _CrashedError as error:
        fix = "load it isolated, and build it and the libraries that it needs again"
        return [Problem.of("loader-refused", error, fix=fix)]
    problems = problems_of(answer, file, elf)
    if any(problem.fatal for problem in problems) and _has_name_of_program(elf):
        name = elf.text(DT_SONAME)
        return [Problem.of("loader-unasked", f"none: the program itself needs a library of its soname, {name}")]
    if not problems and not answer.is_loaded():
        words = answer.output.strip().splitlines() or ["it said nothing"]
        return [Problem.of("loader-unasked", f"none: {words[0]}")]
    return problems


def _trace(file: LibraryFile, elf: ElfFile, others: set[str]) -> Answer:
    """Trace the file, with `others` that dlopen would take, since this process has loaded them by the names needed.

    ld.so gets a path under /proc/self/fd, so that no folder's name can hold a separator; $ORIGIN works all the same,
    since the kernel follows the descriptor.
    """
    listed = sorted(path for path in others if not any(map(path.__contains__, _SEPARATORS)))
    folder, name = os.path.split(file.loader_path)
    if file.pinned or any(map(name.__contains__, _SEPARATORS)):
        if not file.pinned and uses_origin(elf):
            raise _UnaskedError(f"ld.so preloads no file whose name has a space or colon, and {name!r} uses $ORIGIN")
        path = f"/proc/self/fd/{file.fd}"
        return Answer(_run([path, *listed], file.fd), path, path, file.absolute)
    fd = os.open(folder or "/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        prefix = f"/proc/self/fd/{fd}"
        path = f"{prefix}/{name}"
        return Answer(_run([path, *listed], fd), path, prefix, folder)
    finally:
        os.close(fd)


def _has_name_of_program(elf: ElfFile) -> bool:
    """True if a library that the program needs has its soname: in the trace, the file takes that one's place."""
    name = elf.text(DT_SONAME)
    if name is None:
        return False
    try:
        _, path = program()
        with open_elf(path) as own:
            return any(library.name == name for library in needed(own, os.path.dirname(os.path.realpath(path))))
    except (OSError, ElfError, _UnaskedError):
        return False


def _command(preloaded: list[str]) -> list[str]:
    if (os.getuid(), os.getgid()) != (os.geteuid(), os.getegid()):
        raise _UnaskedError("ld.so ignores its variables in a process that changed its user (AT_SECURE)")
    linker, path = program()
    return [linker, "--preload", ":".join(preloaded), path]


def program() -> tuple[str, str]:
    """Return the paths of the dynamic linker and of the program that this process runs.

    They are not `sys.executable`, which may be a script, or anything where a program embeds Python.
    """
    try:
        executable = os.readlink("/proc/self/exe")
    except OSError as error:
        raise _UnaskedError("there is no /proc here, which tells the program (mount -t proc proc /proc)") from error
    with open_elf(executable) as elf:
        for segment in elf.segments:
            if segment.type == PT_INTERP:
                linker = elf.read(segment.offset, segment.file_size, "PT_INTERP").rstrip(b"\0")
                return os.fsdecode(linker), executable
    # Without one it is ld.so itself, started as a command with the program's path.
    dynamic = int(ffi.cast("uintptr_t", link_map(libc.dlopen(ffi.NULL, os.RTLD_LAZY)).l_ld))
    path = _mapped_path(dynamic)
    if not path or os.path.samefile(path, executable):
        raise _UnaskedError(f"{executable} is statically linked")
    return executable, path


def _mapped_path(address: int) -> str | None:
    """Return the path of the file that is mapped at an address, by proc(5)."""
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        for line in maps:
            start, _, end = line.partition(" ")[0].partition("-")
            if int(start, 16) <= address < int(end, 16) and "/" in line:
                return line[line.index("/") :].rstrip("\n")
    return None


def _run(preloaded: list[str], descriptor: int) -> str:
    """Run ld.so, and return what it wrote. _UnaskedError if that never ended, or was endless; _CrashedError."""
    kept = {name: value for name in _KEPT if (value := at_start(name))}
    with subprocess.Popen(
        _command(preloaded), env={**kept, **_TRACE}, pass_fds=[descriptor], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(_SECONDS, end)
        timer.daemon = True
        timer.start()
        try:
            output = process.stdout.read(_MOST_BYTES) if process.stdout else b""
            if len(output) < _MOST_BYTES:
                process.wait()
        finally:
            timer.cancel()
            process.kill()
    if len(output) == _MOST_BYTES:
        raise _UnaskedError(f"ld.so wrote more than {_MOST_BYTES} bytes")
    if late.is_set():
        raise _UnaskedError(f"ld.so did not answer in {_SECONDS} s")
    if process.returncode < 0:
        error = _CrashedError if -process.returncode in _CRASHES else _UnaskedError
        raise error(f"ld.so was killed by signal {-process.returncode}")
    return output.decode("utf-8", "surrogateescape")
