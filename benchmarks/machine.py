"""The machine of a run, on which its figures depend."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

from benchmarks.workshop import MissingError, compiler


def describe() -> dict[str, str | int]:
    """Processor, cores, load, system, Python and compiler."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count() or 0,
        "load": f"{os.getloadavg()[0]:.1f} at the start",
        "system": f"Linux {platform.release().partition('-')[0]}, glibc {platform.libc_ver()[1]}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "compiler": _compiler(),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _compiler() -> str:
    try:
        done = subprocess.run([*compiler(Path("x.c")), "--version"], capture_output=True, text=True, check=True)
    except (MissingError, OSError, subprocess.CalledProcessError):
        return "no C compiler"
    return done.stdout.partition("\n")[0]
