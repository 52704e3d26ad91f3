"""Rust, Zig and Go: check if this machine can build plugins in them, and build them with `make`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
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
# Offline. Only Zig uses its default cache: it holds the parts of libc, which take a minute and serve other tests too.
OFFLINE = {
    "GOPROXY": "off",
    "GOFLAGS": "-mod=mod",
    "GOTOOLCHAIN": "local",
    "CARGO_NET_OFFLINE": "true",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}


@cache
def missing(language: Language, oldest: tuple[int, int] | None = None) -> str | None:
    """Return the reason why plugins in the language cannot be built here, or None."""
    if shutil.which("make") is None:
        return "there is no make"
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
    env = {**os.environ, **OFFLINE, "GOCACHE": str(scratch / "go")}
    command = ["make", "--no-print-directory", "-C", str(folder), f"PYTHON={sys.executable}", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, timeout=540)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout
