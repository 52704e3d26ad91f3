"""Describe the environment: Python, kernel, libc, compiler and plugin folders, and what is wrong with them."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import warnings
from typing import TYPE_CHECKING, Any

import _cffi_backend

from .. import contracts
from ..binding import default, why_not_native
from ..errors import Problem
from ..ffi.abi import ABI
from ..ffi.libc import libc
from ..isolation.host import landlock, program
from ..preflight.platform import check_host, dotted, host_glibc
from ..registry.registry import Registry
from ..version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

_COMPILER_TIMEOUT = 10  # seconds
_PR_GET_SECCOMP = 21


def describe_environment() -> dict[str, Any]:
    """Everything that a bug report should say about the machine, ready for JSON."""
    system = os.uname()
    return {
        "hardpoint": {"version": __version__, "abi": dotted(ABI), "folder": os.path.dirname(os.path.dirname(__file__))},
        "python": {
            "implementation": platform.python_implementation(),
            "version": platform.python_version(),
            "executable": sys.executable,
        },
        "machine": system.machine,
        "system": f"{system.sysname} {system.release}",
        "libc": _libc(),
        "binding": {"default": default(), "why_not_native": why_not_native()},
        "isolation": _isolation(),
        "cffi": _cffi_backend.__version__,
        "compiler": _compiler(),
        "python_h": _python_h(),
        "headers": os.path.realpath(contracts.__path__[0]),
        "places": _places(),
    }


def find_problems() -> list[Problem]:
    """Return what keeps plugins from being loaded here, and warnings about everything else that is missing."""
    problems = check_host()
    words = _named_compiler()
    native = why_not_native() is None
    if isinstance(words, str):
        needs, fix = "a $CC that can be split into words", "correct its quotes"
        problems.append(Problem.of("compiler-missing", f"{words} in {os.environ['CC']}", needs=needs, fix=fix))
    elif words and shutil.which(words[0]) is None:
        needs, fix = "the compiler that $CC names", "set CC to an installed compiler, or unset it"
        problems.append(Problem.of("compiler-missing", f"no {words[0]} in $PATH", needs=needs, fix=fix))
    elif not native and _compiler() is None:
        problems.append(Problem.of("compiler-missing", "no cc, gcc or clang in $PATH"))
    if not native and _python_h() is None:
        problems.append(Problem.of("python-h-missing", f"no {_header()}"))
    isolation = _isolation()
    if not isolation["memfd"]:
        problems.append(Problem.of("memfd-missing", "none here"))
    if not isolation["pidfd"]:
        problems.append(Problem.of("pidfd-missing", "none here"))
    if not isolation["program"]:
        problems.append(Problem.of("program-missing", "none that runs here"))
    problems += [
        Problem.of("search-path", place.state, folder=place.folder)
        for place, _ in _discovered().places
        if place.origin == "$HARDPOINT_PATH" and not place.is_read
    ]
    return problems


def _isolation() -> dict[str, Any]:
    """What isolation uses: Landlock's version (0 if missing), system calls, and the worker's program."""
    return {
        "landlock": landlock.version(),
        "seccomp": libc.prctl(_PR_GET_SECCOMP, 0, 0, 0, 0) >= 0,
        "memfd": _works(lambda: os.memfd_create("hardpoint-doctor", os.MFD_ALLOW_SEALING)),
        "pidfd": _works(lambda: os.pidfd_open(os.getpid())),
        "program": program.lacks() is None,
    }


def _works(opens: Callable[[], int]) -> bool:
    try:
        os.close(opens())
    except OSError:
        return False
    return True


def _libc() -> dict[str, str]:
    version = host_glibc()
    name, number = ("glibc", dotted(version)) if version else platform.libc_ver()
    return {"name": name or "not glibc", "version": number}


def _compiler() -> dict[str, str] | None:
    """The compiler that `build.sh` would use: $CC, or the first of the usual ones; None if there is none."""
    named = _named_compiler()
    words = (
        []
        if isinstance(named, str)
        else named or next(([name] for name in ("cc", "gcc", "clang") if shutil.which(name)), [])
    )
    path = shutil.which(words[0]) if words else None
    if path is None:
        return None
    try:
        done = subprocess.run(
            [path, *words[1:], "--version"], capture_output=True, timeout=_COMPILER_TIMEOUT, check=False, stdin=subprocess.DEVNULL
        )  # fmt: skip
        version = done.stdout.decode(errors="replace").partition("\n")[0]
    except (OSError, subprocess.TimeoutExpired) as error:
        version = f"unknown version: {error}"
    return {"command": shlex.join(words), "path": path, "version": version or "unknown version"}


def _named_compiler() -> list[str] | str:
    """The words of $CC, such as `ccache gcc`; or why it has none, such as an unclosed quote."""
    try:
        return shlex.split(os.environ.get("CC", ""))
    except ValueError as error:
        return str(error).lower()


def _header() -> str:
    return os.path.join(sysconfig.get_path("include"), "Python.h")


def _python_h() -> str | None:
    return _header() if os.path.exists(_header()) else None


def _discovered() -> Registry:
    """The usual places, without warnings: doctor has a problem of its own for them."""
    with warnings.catch_warnings(action="ignore"):
        return Registry.discover()


def _places() -> list[dict[str, str]]:
    """The places that are searched for plugins, and what was found there."""
    return [{"folder": place.folder, "origin": place.origin, "found": what} for place, what in _discovered().places]
