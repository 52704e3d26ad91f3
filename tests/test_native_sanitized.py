"""The native binding under AddressSanitizer and UndefinedBehaviorSanitizer, and on request under valgrind.

The binding's tests run again in another process, with a copy of the package whose module was built with sanitizers.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from conftest import CAN_BUILD_NATIVE, ROOT

SOURCE = ROOT / "src/hardpoint"
PYTHON_H = sysconfig.get_path("include")
MODULE = f"_native{sysconfig.get_config_var('EXT_SUFFIX')}"
# Tests that measure the memory of the process would measure that of the sanitizer or of valgrind.
CHOSEN = "not cffi and not ctypes and not isolated and not given_back"

pytestmark = pytest.mark.skipif(
    not CAN_BUILD_NATIVE, reason="the native binding is built with Python.h, and there is none"
)


def _copy_package(folder: Path) -> Path:
    """Link the package into a folder for PYTHONPATH, without the module; return the module's path."""
    binding = folder / "hardpoint/binding"
    binding.mkdir(parents=True)
    for path in (*SOURCE.iterdir(), *(SOURCE / "binding").iterdir()):
        if path.name not in {"binding", "__pycache__", MODULE}:
            (folder / "hardpoint" / path.relative_to(SOURCE)).symlink_to(path.resolve())
    return binding / MODULE


def _python(*words: str, env: dict[str, str], under: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*under, sys.executable, *words],
        env={**os.environ, **env},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


# -- sanitizers ------------------------------------------------------------------------------------------------------

SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")


def _runtimes() -> str:
    """gcc's libasan and libubsan, for LD_PRELOAD: Python was built without them."""
    gcc = shutil.which("gcc") or pytest.skip("there is no gcc")
    asked = [[gcc, f"-print-file-name=lib{name}.so"] for name in ("asan", "ubsan")]
    found = [subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip() for words in asked]
    for path in found:
        if not Path(path).is_absolute():
            pytest.skip(f"gcc has no {path}")
    return " ".join(found)


def _finds_leaks(folder: Path) -> bool:
    """True if LeakSanitizer works here: it needs ptrace, which containers often forbid."""
    source, program = folder / "leak.c", folder / "leak"
    source.write_text("#include <stdlib.h>\nchar *volatile p;\nint main(void) { p = malloc(7); p = 0; return 0; }\n")
    subprocess.run(["gcc", "-fsanitize=address", str(source), "-o", str(program)], check=True)
    env = {**os.environ, "ASAN_OPTIONS": "detect_leaks=1"}
    done = subprocess.run([str(program)], env=env, capture_output=True, text=True, check=False)
    return "7 byte(s) leaked" in done.stderr


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that uses the sanitized module."""
    runtimes, folder = _runtimes(), tmp_path_factory.mktemp("sanitized")
    module = _copy_package(folder)
    words = ["-shared", "-fPIC", "-std=c11", "-O1", "-g", "-fvisibility=hidden", *SANITIZE, f"-I{PYTHON_H}"]
    sources = map(str, [*(SOURCE / "binding").glob("_*.c"), SOURCE / "isolation/channel/_host.c"])
    subprocess.run(["gcc", *words, *sources, "-o", str(module)], check=True)
    suppressions = folder / "suppressions"
    # Python and libffi do not free everything at exit, and neither does a plugin whose instances are not destroyed.
    # Of each leak only the allocating function is matched: all of them have python3 among their callers.
    suppressions.write_text(f"leak:python3\nleak:libffi\nleak:{folder / 'tests'}\n")
    return {
        "LD_PRELOAD": runtimes,
        "CC": f"env -u LD_PRELOAD {os.environ.get('CC') or 'cc'}",
        "PYTHONPATH": str(folder),
        "PYTHONMALLOC": "malloc",
        "ASAN_OPTIONS": f"detect_leaks={_finds_leaks(folder):d}:malloc_context_size=2:allocator_may_return_null=1",
        "LSAN_OPTIONS": f"suppressions={suppressions}:print_suppressions=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "HARDPOINT_BATCHES": "1",
    }


LEAKS = f"{CHOSEN} and not interpreter_ends and not the_exit"


@pytest.mark.parametrize(
    ("files", "chosen", "options"),
    [
        pytest.param(["binding_edges"], LEAKS, "", id="leaks"),
        pytest.param(["native", "bindings", "random_contracts"], LEAKS, "", id="more-leaks", marks=pytest.mark.long),
        # Threads that never return leak, and LSan itself may crash if a thread ends during its check (seen).
        pytest.param(
            ["bindings", "native"],
            "native and (interpreter_ends or the_exit) and not isolated",
            ":detect_leaks=0",
            id="at-exit",
            marks=pytest.mark.long,
        ),
    ],
)
def test_the_bindings_tests_are_clean_under_sanitizers(
    sanitized: dict[str, str], files: list[str], chosen: str, options: str
) -> None:
    sanitized = {**sanitized, "ASAN_OPTIONS": sanitized["ASAN_OPTIONS"] + options}
    module = _python("-c", "import hardpoint.binding._native as native; print(native.__file__)", env=sanitized)
    assert module.stdout == f"{sanitized['PYTHONPATH']}/hardpoint/binding/{MODULE}\n"
    tests = [f"tests/test_{name}.py" for name in files]
    # A sanitizer writes to the descriptor and ends the process; pytest must not capture it there.
    words = ["-q", "--capture=sys", "-p", "no:cacheprovider", f"--basetemp={sanitized['PYTHONPATH']}/tests"]
    words += ["-k", chosen, *tests]
    done = _python("-m", "pytest", *words, env=sanitized)
    if "LeakSanitizer has encountered a fatal error" in done.stdout:
        # LSan may crash if a thread ends during its check (seen on a busy machine), and then it reports no leaks.
        done = _python("-m", "pytest", *words, env=sanitized)
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout.splitlines()[-1]


# -- valgrind --------------------------------------------------------------------------------------------------------

# These would never end, take many minutes, or call in processes that valgrind does not follow.
TOO_LONG = "filter_that_hangs or before_the_exit or at_any_point or flood or mebibytes or interpreter_ends or wrong"


@pytest.mark.skipif(
    not os.environ.get("HARDPOINT_VALGRIND"), reason="it takes minutes: HARDPOINT_VALGRIND=1 asks for it"
)
def test_the_bindings_tests_are_clean_under_valgrind(tmp_path: Path) -> None:
    valgrind = shutil.which("valgrind") or pytest.skip("there is no valgrind")
    log = tmp_path / "valgrind.log"
    words = ["--leak-check=full", "--show-leak-kinds=definite", "--num-callers=25", f"--log-file={log}"]
    tests = [f"tests/test_{name}.py" for name in ("bindings", "native", "random_contracts")]
    chosen = f"{CHOSEN} and not good_calls and not ({TOO_LONG})"
    done = _python(
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen, *tests),
        env={"PYTHONMALLOC": "malloc", "HARDPOINT_BATCHES": "1"},
        under=(valgrind, *words),
    )
    assert done.returncode == 0, done.stdout
    # It reports hundreds of errors in Python itself (gcc reads ahead in longobject.c, libc in wmemcmp).
    blocks = re.split(r"^==\d+== \n", log.read_text(), flags=re.MULTILINE)
    assert "LEAK SUMMARY" in blocks[-2] + blocks[-1]
    ours = [block for block in blocks if "_native." in block and "Command:" not in block]
    assert not ours, "\n".join(ours)
