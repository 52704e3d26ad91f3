"""_registers.h on x86-64 and AArch64: functions of random signatures get exactly their arguments."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest
from conftest import CAN_BUILD_NATIVE, ROOT, TESTS, WARNINGS

if TYPE_CHECKING:
    from collections.abc import Sequence

BINDING = ROOT / "src/hardpoint/binding"
MODULES = [*BINDING.glob("_*.c"), ROOT / "src/hardpoint/benchmark/_floor.c"]
CC = shlex.split(os.environ.get("CC") or "cc")
CLANG = [sys.executable, "-m", "ziglang", "cc"]
COUNT = 300
C_TYPES = {"s": "const char *p{0}, size_t n{0}", "i": "int64_t p{0}", "f": "double p{0}", "?": "bool p{0}",
           "r": "double *p{0}"}  # fmt: skip
HEAD = """\
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    void (*function)(void);
    const char *kinds;
    int32_t status;
} signature;

extern const signature signatures[];
extern const int signature_count;
extern bool check_word(int index, uint64_t found), check_double(int index, double found);

"""


def _signatures() -> list[str]:
    """Signatures of methods: up to eight parameters, with or without a result; the longest ones first."""
    random = Random(3)
    fixed = ["", "r", *(kind * 8 + result for kind in "sif?" for result in ("", "r"))]
    kinds = ("".join(random.choices("sif?", k=random.randint(1, 8))) for _ in range(COUNT - len(fixed)))
    return [*fixed, *(each + random.choice(("", "r")) for each in kinds)]


def _function(index: int, kinds: str, status: int) -> str:
    """A function in C that returns its status if it got the right arguments."""
    checks = ["check_word(0, (uint64_t)(uintptr_t)self)"]
    word, double = 1, 0
    for place, kind in enumerate(kinds):
        if kind == "f":
            checks.append(f"check_double({double}, p{place})")
            double += 1
            continue
        cast = "(uintptr_t)" if kind in "sr" else ""
        checks.append(f"check_word({word}, (uint64_t){cast}p{place})")
        word += 1
        if kind == "s":
            checks.append(f"check_word({word}, n{place})")
            word += 1
    checks.append(f"check_word({word}, (uint64_t)(uintptr_t)out)")
    types = [C_TYPES[kind].format(place) for place, kind in enumerate(kinds)]
    parameters = ", ".join(["void *self", *types, "void *out"])
    return f"static int32_t f{index}({parameters}) {{\n    return {' && '.join(checks)} ? {status} : 12345;\n}}\n"


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The program's source files."""
    random = Random(4)
    named = [(index, kinds, random.randint(-(2**31) + 1, 2**31 - 1)) for index, kinds in enumerate(_signatures())]
    table = "".join(f'    {{(void (*)(void))f{index}, "{kinds}", {status}}},\n' for index, kinds, status in named)
    code = HEAD + "\n".join(_function(*each) for each in named)
    code += f"\nconst signature signatures[] = {{\n{table}}};\nconst int signature_count = {len(named)};\n"
    written = tmp_path_factory.mktemp("registers") / "signatures.c"
    written.write_text(code)
    return [str(TESTS / "plugins/registers.c"), str(written)]


def _build(compiler: list[str], sources: list[str], program: Path) -> Path:
    words = ["-std=gnu11", *WARNINGS, f"-I{BINDING}", *sources, "-o", str(program)]
    subprocess.run([*compiler, *words], check=True)
    return program


def _check(program: Path, runner: Sequence[str] = ()) -> None:
    done = subprocess.run([*runner, str(program)], capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{COUNT * 10} calls, 0 wrong\n", "")


@pytest.mark.parametrize(
    "compiler",
    [
        pytest.param([*CC, "-O0"], id="O0"),
        pytest.param([*CC, "-O2"], id="O2"),
        pytest.param([*CLANG, "-O2"], id="clang"),
    ],
)
def test_every_function_gets_exactly_its_arguments(compiler: list[str], sources: list[str], tmp_path: Path) -> None:
    _check(_build(compiler, sources, tmp_path / "registers"))


def test_it_is_clean_under_sanitizers(sources: list[str], tmp_path: Path) -> None:
    sanitize = ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    program = _build([*CC, *sanitize], sources, tmp_path / "registers")
    _check(program, ["env", "ASAN_OPTIONS=detect_leaks=0"])


@pytest.mark.parametrize("level", ["-O0", "-O2"])
def test_on_aarch64(level: str, sources: list[str], tmp_path: Path) -> None:
    emulator = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
    if emulator is None:
        pytest.skip("there is no qemu-aarch64 to run it (Debian: qemu-user-static)")
    # zig's -O0 turns on sanitizers, whose runtime is not available here.
    words = ["-target", "aarch64-freestanding-none", "-ffreestanding", "-nostdlib", "-static", "-fno-sanitize=all"]
    _check(_build([*CLANG, *words, level], sources, tmp_path / "registers"), [emulator])


def _headers_for_aarch64(folder: Path) -> list[str]:
    """This Python's headers: sizes are the same. Debian's include pyconfig.h from a folder named for the machine."""
    include = Path(sysconfig.get_path("include"))
    place = folder / "aarch64-linux-gnu" / include.name
    place.mkdir(parents=True)
    shutil.copy(sysconfig.get_config_h_filename(), place / "pyconfig.h")
    return ["-isystem", str(include), "-isystem", str(folder)]


@pytest.mark.skipif(not CAN_BUILD_NATIVE, reason="there is no Python.h")
def test_the_module_compiles_for_aarch64(tmp_path: Path) -> None:
    words = ["-target", "aarch64-linux-gnu", "-c", "-std=c11", "-O2", "-fPIC", "-fvisibility=hidden"]
    # No -Wextra: Python's own macros cast functions and shadow arguments.
    quiet = ["-Wall", "-Werror"]
    headers = _headers_for_aarch64(tmp_path)
    for source in MODULES:
        target = tmp_path / f"{source.stem}.o"
        subprocess.run([*CLANG, *words, *quiet, *headers, str(source), "-o", str(target)], check=True)
        assert int.from_bytes(target.read_bytes()[18:20], "little") == 183, "e_machine is not EM_AARCH64"
    assert b"PyInit__native" in (tmp_path / "_native.o").read_bytes()
