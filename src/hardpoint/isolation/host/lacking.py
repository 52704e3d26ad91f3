"""What isolation needs of the system and does not find: a sentence each, with the remedy."""

from __future__ import annotations

import errno
import os

from .unpatched import is_main_interpreter, replaced_by


class LackingError(Exception):
    """The system lacks something that isolation needs; the message ends a sentence that names the file."""

    def __init__(self, message: str, done: str = "isolated") -> None:
        super().__init__(message)
        self.done = done
        """What the file cannot be."""


def not_built() -> LackingError:
    """The shared object is not there."""
    return LackingError(
        "needs the program that isolated plugins run in, found that it was not built when hardpoint was installed, which "
        "takes a C compiler; install one (apt-get install gcc libc6-dev), and then reinstall hardpoint, or install its wheel"
    )


def not_runnable(path: str, error: OSError) -> LackingError:
    """Neither the shared object's file nor a copy of it in memory can be opened and run."""
    return LackingError(
        f"needs a program of its own, found that neither {path}.*.so nor a copy in memory can be run ({_why(error)}); "
        "install hardpoint on a file system that is not mounted noexec, or allow memory to be executed "
        "(sysctl vm.memfd_noexec=1, or 0)"
    )


def no_pidfd(number: int) -> LackingError:
    """pidfd_open(2) failed."""
    return LackingError(
        f"needs pidfd_open(2), found that it fails here ({os.strerror(number)}); use a newer kernel (Linux 5.3 has it), or "
        "allow it in the container's seccomp profile"
    )


_STEPS = {
    1: "memfd_create(2), found that it fails here ({why}); use a newer kernel (Linux 3.17 has it), or allow it in the "
    "container's seccomp profile",
    3: "to seal memory against another size (F_ADD_SEALS of fcntl(2)), found that it fails here ({why}); use a newer "
    "kernel (Linux 3.17 has it), or allow it in the container's seccomp profile",
}


def no_channel(code: int, half: int) -> LackingError | OSError:
    """The error for hp_channel_open's code; an OSError if it is one of resources."""
    number, step = code >> 8, code & 0xFF
    if step == 2 and number == errno.EFBIG:
        return small_files(2 * half)
    if step in _STEPS and number in {errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.EACCES}:
        return LackingError("needs " + _STEPS[step].format(why=os.strerror(number)))
    return OSError(number, os.strerror(number))


def no_memory_file(error: OSError) -> LackingError | OSError:
    """The error for a memfd_create(2) that failed."""
    return no_channel((error.errno or 0) << 8 | 1, 0)


def no_zygote(how: str) -> LackingError:
    """The process that forks workers ended three times in a row."""
    return LackingError(
        f"needs a process that forks workers, found that it ends at once ({how}); look for the program that kills it, such as "
        "a security module or the out-of-memory killer, in the kernel's log (dmesg)"
    )


def small_files(size: int) -> LackingError:
    """RLIMIT_FSIZE is too small for a channel."""
    import resource

    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return LackingError(
        f"needs files of {size} bytes for its memory, found that this process may write {limit} (RLIMIT_FSIZE); raise the "
        "limit (ulimit -f, or LimitFSIZE= of systemd)"
    )


def no_proc() -> LackingError | None:
    """The error where proc(5) cannot be read; None if it can."""
    if os.access("/proc/self/maps", os.R_OK):
        return None
    return LackingError(
        "there is no /proc here, which tells what the dynamic linker mapped; mount it (mount -t proc proc /proc)",
        "loaded",
    )


def no_threads() -> LackingError | None:
    """The error where there can be no threads of the system's own that go on until the process ends; None elsewhere.

    Neither in a subinterpreter, at whose end Python aborts the process if it has threads, nor where a package other
    than gevent and eventlet replaced them by its own.
    """
    if not is_main_interpreter():
        return LackingError(
            "needs the main interpreter, found another one, which could not end while threads watch workers; load it in the "
            "main one, or in a process of its own"
        )
    name = replaced_by()
    if name is None:
        return None
    return LackingError(
        f"needs the system's own threads, locks and polls, found those of {name}, which replaced them; load isolated "
        f"plugins in a process that {name} does not patch"
    )


def _why(error: OSError) -> str:
    return error.strerror or str(error)
