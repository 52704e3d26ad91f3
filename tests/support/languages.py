"""Compilers other than the system's for C: zig's clang, and for plugins in Rust, Zig and Go."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from pathlib import Path

Language = Literal["rust", "zig", "go"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
COMMANDS = {
    "rust": ["rustc", "--version"],
    "zig": [sys.executable, "-m", "ziglang", "version"],
    "go": ["go", "version"],
}
OLDEST = {"rust": (1, 82), "zig": (0, 16), "go": (1, 19)}
BESIDE = {
    # Commands from wheels in this environment, such as cmake and python-zig, and a wheel's build with its packages.
    "PATH": f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}",
    "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it as the value of build_isolation
}
# Offline. Only Zig uses its default cache: it holds the parts of libc, which take a minute and serve other tests too.
OFFLINE = {
    "GOPROXY": "off",
    "GOFLAGS": "-mod=mod",
    "GOTOOLCHAIN": "local",
    "CARGO_NET_OFFLINE": "true",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}


def zig(name: Literal["cc", "c++"], target: str = f"{os.uname().machine}-linux-gnu.2.17") -> list[str]:
    """The command of zig's clang. Given a target, it uses its own headers of libc and not the system's.

    Those need not be whole: where Debian's multilib and cross compilers were, there was no asm/errno.h.
    """
    return [sys.executable, "-m", "ziglang", name, "-target", target]


@cache
def cannot_link(*command: str) -> str | None:
    """Why a compiler cannot link a library here; None if it can."""
    program = next((word for word in command if word != "env" and "=" not in word), command[0])
    if shutil.which(program) is None:
        return f"there is no {program}"
    with tempfile.TemporaryDirectory() as folder:
        words = ["-x", "c++" if "++" in f"{command}" else "c", "-shared", "-fPIC", "-", "-o", f"{folder}/library.so"]
        source = "#include <errno.h>\n#include <string.h>\nint library(void) { return errno; }\n"
        done = subprocess.run([*command, *words], input=source, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"{' '.join(command)} links no library: {done.stderr.strip()}"


@cache
def missing(language: Language, oldest: tuple[int, int] | None = None) -> str | None:
    """Return the reason why plugins in the language cannot be built here, or None."""
    for tool in ("make", "cmake"):
        if shutil.which(tool, path=BESIDE["PATH"]) is None:
            return f"there is no {tool}"
    if language == "zig" and find_spec("ziglang") is None:
        return "there is no ziglang"
    command = COMMANDS[language]
    oldest = oldest or OLDEST[language]
    if shutil.which(command[0]) is None or (language == "rust" and shutil.which("cargo") is None):
        return f"there is no {command[0]}"
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = re.search(r"(\d+)\.(\d+)", said)
    if found is None or tuple(map(int, found.groups())) < oldest:
        return f"{said.strip()!r} is older than {oldest[0]}.{oldest[1]}"
    return None


def make(folder: Path, scratch: Path, *words: str) -> str:
    """Run `make` in a folder, with Go's cache in `scratch`, and return its output."""
    env = {**os.environ, **OFFLINE, **BESIDE, "GOCACHE": str(scratch / "go")}
    command = ["make", "--no-print-directory", "-C", str(folder), f"PYTHON={sys.executable}", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, timeout=540)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout
