"""Programs in C for the tests of the channel: tests/plugins/channel_*.c with the host's side of src/hardpoint."""

from __future__ import annotations

import os
import shlex
import subprocess
from functools import cache
from typing import TYPE_CHECKING

from conftest import ROOT, TESTS, WARNINGS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CHANNEL = ROOT / "src/hardpoint/isolation/channel"
CC = shlex.split(os.environ.get("CC") or "cc")
ADDRESS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
THREAD = ("-fsanitize=thread",)
TRIVIAL = "#include <stdlib.h>\nint main(void) { free(malloc(7)); return 0; }\n"
LEAKING = "#include <stdlib.h>\nchar *volatile p;\nint main(void) { p = malloc(7); p = 0; return 0; }\n"


def build(source: str, program: Path, *words: str, host: bool = True, compiler: Sequence[str] = CC) -> Path:
    """Compile a program, with the host's side as a file of its own unless the program includes it."""
    sources = [str(TESTS / "plugins" / source), *([str(CHANNEL / "_host.c")] if host else [])]
    options = ["-std=c11", "-g", *WARNINGS, f"-I{CHANNEL}", *words]
    subprocess.run([*compiler, *options, *sources, "-o", str(program), "-pthread", "-lrt"], check=True)
    return program


def _runs(code: str, folder: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str] | None:
    source, program = folder / "tried.c", folder / "tried"
    source.write_text(code)
    made = subprocess.run([*CC, *words, str(source), "-o", str(program)], capture_output=True, check=False)
    if made.returncode != 0:
        return None
    return subprocess.run([str(program)], env={**os.environ, **env}, capture_output=True, text=True, check=False)


@cache
def lacks(folder: Path, *sanitizer: str) -> str | None:
    """Why programs cannot be built or run with these options here; None if they can."""
    done = _runs(TRIVIAL, folder, *sanitizer)
    if done is None:
        return f"{CC[0]} has no {' '.join(sanitizer)}"
    return None if done.returncode == 0 else f"programs with {' '.join(sanitizer)} do not run here: {done.stderr}"


@cache
def finds_leaks(folder: Path) -> bool:
    """True if LeakSanitizer works here: it needs ptrace, which containers often forbid."""
    done = _runs(LEAKING, folder, "-fsanitize=address", ASAN_OPTIONS="detect_leaks=1")
    return done is not None and "7 byte(s) leaked" in done.stderr
