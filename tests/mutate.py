"""Put faults into the package, one at a time, and report those that no test notices.

    python tests/mutate.py --seed 7 --count 80
    python tests/mutate.py --path 'src/hardpoint/binding/*' --count 20
    python tests/mutate.py --again report.txt

Each fault is put into a private copy of the checkout, and the tests that cover the file are run there, until one fails
or the time is up; both count as noticed. The tests run in a PID namespace of their own, by unshare(1), so that a fault
in what kills processes reaches no other process, and nothing outlives its test. The exit status is 1 if a fault was not
noticed. Of what is reported, some faults change nothing that a test could see: judge each, and list it in `EQUIVALENT`.
"""

from __future__ import annotations

import argparse
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import defaultdict
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from mutations import Mutation, mutations  # noqa: E402 - its folder is put on the path above

COVERED: tuple[tuple[str, str], ...] = (
    ("binding/*.[ch]", "binding_rules binding_edges promises references native result_types bindings registers native_sanitized -k not(cffi|ctypes|isolated)"),
    ("binding/ctypes.py", "binding_rules binding_edges promises references native result_types kinds bindings -k not(cffi|native|isolated)"),
    ("binding/cffi.py", "binding_rules binding_edges promises references native result_types kinds bindings -k not(ctypes|native|isolated)"),
    ("binding/*.py", "binding_rules binding_edges promises references native result_types kinds bindings"),
    ("backend.py", "travel isolation_reload library"),
    ("fields.py", "fields"),
    ("table.py", "table cli"),
    ("launcher.py", "launcher isolation_hosts"),
    ("errors.py", "plugin_text surroundings refusals travel error_examples problems"),
    ("file.py", "library read_bounds refusals policy bounds descriptors isolation_hosts"),
    ("loading.py", "bindings library isolation_reload travel descriptors"),
    ("pickling.py", "travel"),
    ("aio.py", "isolation_calls torture"),
    ("definition/*", "definition specification bounds kinds signature header manifest"),
    ("elf/processor.py", "dependencies loader"),
    ("elf/linker_cache.py", "dependencies resolve read_bounds"),
    ("elf/needed.py", "dependencies resolve loader policy read_bounds"),
    ("elf/search_path.py", "resolve dependencies loader policy read_bounds"),
    ("elf/lookup.py", "versions verdicts loader dependencies weak_versions"),
    ("elf/*", "elf_edges elf_refusals integrity notes elf_bytes refusals elf weak_versions elf_linkers dependencies verdicts read_bounds"),
    ("preflight/static_tls.py", "dependencies refusals integrity"),
    ("preflight/growth.py", "refusals versions"),
    ("preflight/cpu_level.py", "loader dependencies"),
    ("preflight/loader*.py", "loader loader_names verdicts dependencies descriptors"),
    ("preflight/dependencies.py", "dependencies refusals loader weak_versions verdicts"),
    ("preflight/*", "refusals manifest notes versions weak_versions verdicts loader dependencies bounds resolve doctor elf integrity"),
    ("inprocess/loader_name.py", "library loader_names descriptors"),
    ("inprocess/*", "process_state library plugin_text bindings bounds native references descriptors"),
    ("isolation/host/output.py", "isolation_output isolation_leaks isolation_errors"),
    ("isolation/host/reader.py", "isolation_output isolation_leaks"),
    ("isolation/host/claims.py", "isolation_claims isolation_together isolation_deadlines"),
    ("isolation/host/flow.py", "isolation_errors isolation_output"),
    ("isolation/host/protocol.py", "isolation_protocol"),
    ("isolation/host/process.py", "isolation_errors isolation_claims isolation isolation_together isolation_deadlines isolation_hang isolation_leaks"),
    ("isolation/host/lacking.py", "isolation_lacking isolation_errors"),
    ("isolation/host/connection.py", "isolation_lacking channel_hostile isolation"),
    ("isolation/host/session.py", "isolation_deadlines isolation_calls isolation isolation_reload isolation_claims isolation_errors"),
    ("isolation/host/workers.py", "isolation_deadlines isolation_restart restart_pauses isolation_together isolation_calls isolation isolation_reload isolation_hang isolation_claims isolation_errors"),
    ("isolation/host/failures.py", "isolation_lacking isolation_deadlines isolation_crash isolation_restart isolation_memory isolation_hang isolation_leaks isolation_errors"),
    ("isolation/host/remote.py", "result_types bindings isolation_calls isolation_errors isolation -k not(native|cffi|ctypes)"),
    ("isolation/host/isolate.py", "isolation isolation_reload policy travel isolation_hosts"),
    ("isolation/host/program.py", "descriptors isolation isolation_hosts isolation_ends"),
    ("isolation/host/spawner.py", "isolation isolation_ends isolation_leaks isolation_hosts isolation_errors"),
    ("isolation/host/restarts.py", "restart_pauses isolation_restart"),
    ("isolation/host/zygote.py", "isolation isolation_together isolation_ends isolation_leaks isolation_hosts isolation_errors"),
    ("isolation/host/loaded.py", "promises library isolation_reload sandbox isolation isolation_errors"),
    ("isolation/host/bpf.py", "sandbox_filter"),
    ("isolation/host/seccomp.py", "sandbox_filter sandbox"),
    ("isolation/host/sandbox.py", "recipe sandbox"),
    ("isolation/host/landlock.py", "recipe sandbox"),
    ("isolation/host/recipe.py", "recipe sandbox isolation"),
    ("isolation/host/*", "isolation isolation_together isolation_calls isolation_crash isolation_hosts isolation_hang isolation_leaks"),
    ("isolation/channel/_host.*", "channel_hostile isolation isolation_calls"),
    ("isolation/channel/*", "program isolation isolation_crash descriptors sandbox isolation_ends isolation_output"),
    ("isolation/*.py", "bounds isolation sandbox result_types isolation_calls isolation_hosts descriptors"),
    ("registry/needed_paths.py", "policy dependencies"),
    ("registry/*", "registry discovery policy plugin_text read_bounds cli_registry bounds descriptors travel"),
    ("cli/*", "exit_statuses terminal interrupt surroundings plugin_text verdicts cli cli_registry cli_isolated doctor bounds help build new bench conformance"),
    ("conformance/process_details.py", "process_state conformance"),
    ("conformance/*", "conformance conformance_faults sanitized_plugins process_state"),
    ("authoring/*", "header build new new_languages json rust cpp"),
    ("ffi/*", "abi kinds bindings sandbox"),
    ("benchmark/*", "bench benchmarks native"),
    ("*", "package fields bindings cli"),
)  # fmt: skip
"""The tests of the files in src/hardpoint, by pattern; the first that matches counts. Those likeliest to fail first.

A `-k` leaves out variants of tests that do not run the file.
"""

EQUIVALENT: dict[str, str] = {
    "binding/cffi.py: finally: _pool.give(out)  ->  pass": "an Out that is not given back frees itself",
    "binding/ctypes.py: finally: _pool.give(out)  ->  pass": "an Out that is not given back frees itself",
    "definition/decorators.py: element: if sys.version_info >= (3, 14):  ->  if sys.version_info >= (14):": "only on 3.14",
    "binding/_out.c: assignment: block = __atomic_exchange_n(&saved, block, __ATOMIC_RELEASE);  ->  ;": "only slower",
    "inprocess/library.py: finally: libc.munmap(again, _PAGE)  ->  pass": "reached on overlayfs and btrfs alone",
    "inprocess/library.py: number: span, _, _, device, inode, *_ = line.split(None, 5)  ->  "
    "span, _, _, device, inode, *_ = line.split(None, ((5) + 1))": "the rest of the line is not looked at",
    "file.py: flag: fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)  ->  "
    "fd = os.open(path, (os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))": "a device is refused before it is opened",
    "file.py: flag: fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)  ->  "
    "fd = os.open(path, (os.O_RDONLY | os.O_NONBLOCK) | os.O_NOCTTY)": "os.open sets O_CLOEXEC itself",
}
"""Why nothing could notice a fault, by what `title` says of it, without the line."""


class Copy:
    """A private copy of the checkout, and the tests in it."""

    def __init__(self, folder: Path, limit: float, through: list[str]) -> None:
        self.tree = folder / "tree"
        self.limit = limit
        self.through = through
        self._sound: set[str] = set()
        """Tests that pass without a fault."""
        self._temporary = folder / "tmp"
        ignored = shutil.ignore_patterns(".git", ".venv", "build", "__pycache__", ".*_cache", "*.egg-info")
        shutil.copytree(ROOT, self.tree, ignore=ignored, symlinks=True)
        if (ROOT / "build" / "plugins").exists():
            shutil.copytree(ROOT / "build" / "plugins", self.tree / "build" / "plugins")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("HARDPOINT_")}
        self._environment = {
            **inherited, "PYTHONPATH": str(self.tree / "src"), "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": str(self._temporary),
        }  # fmt: skip

    def tests_of(self, path: str) -> list[str]:
        """Return the test files that cover a file of the package."""
        inner = path.removeprefix("src/hardpoint/")
        tests = next(tests for pattern, tests in COVERED if fnmatch(inner, pattern))
        names, _, without = tests.partition(" -k ")
        files = [f"tests/test_{name}.py" for name in names.split()]
        return [*files, "-k", without.replace("|", " or ").replace("not(", "not (")] if without else files

    def run(self, tests: list[str]) -> str:
        """Run tests until one fails. Return that one's name, "" if all pass, or how the run ended otherwise."""
        shutil.rmtree(self._temporary, ignore_errors=True)
        self._temporary.mkdir()
        words = [
            sys.executable,
            "-m",
            "pytest",
            "-xq",
            "--tb=no",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            "-m",
            "not container",
            *tests,
        ]
        # The shell, as process 1, waits for orphans that the tests make.
        inside = [*self.through, "unshare", *(["--map-root-user"] if os.getuid() else []), "--pid", "--fork", "--mount-proc",
                  "--kill-child", "sh", "-c", f"{shlex.join(words)}; exit $?"]  # fmt: skip
        with subprocess.Popen(
            inside, cwd=self.tree, env=self._environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
        ) as process:  # fmt: skip
            try:
                output, _ = process.communicate(timeout=self.limit)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                return f"no end within {self.limit:g} s"
        if process.returncode == 0:
            return ""
        failed = [line for line in output.splitlines() if line.startswith(("FAILED", "ERROR"))]
        return failed[0] if failed else f"exit status {process.returncode}: {output[-300:]}"

    def build(self, path: str) -> str:
        """Compile the extension that a C file belongs to, in place; return the compiler's message if it refuses."""
        if not path.endswith((".c", ".h")):
            return ""
        name = {"binding": "_native", "channel": "../_channel", "benchmark": "_floor"}[Path(path).parent.name]
        folder = (self.tree / path).parent
        target = folder / f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}"
        more = {"_native": ["../isolation/channel/_host.c"]}.get(name, [])
        target.unlink(missing_ok=True)  # the compiler would write to the original, where that is a hard link
        words = ["cc", "-shared", "-fPIC", "-std=c11", "-O2", "-fvisibility=hidden", "-w", "-o", str(target),
                 f"-I{sysconfig.get_path('include')}", *map(str, sorted(folder.glob("_*.c"))), *(str(folder / each) for each in more),
                 *(["-Wl,-e,hp_start"] if name == "../_channel" else [])]  # fmt: skip
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        return done.stderr if done.returncode else ""

    def try_out(self, mutation: Mutation) -> str:
        """Put the fault in, run the tests, and take it out again. Return what noticed it, or ""."""
        file = self.tree / mutation.path
        source = file.read_bytes()
        try:
            file.write_bytes(mutation.apply(source))
            by = self.build(mutation.path) or self.run(self.tests_of(mutation.path))
        finally:
            file.write_bytes(source)
            self.build(mutation.path)
        word, _, test = by.partition(" - ")[0].partition(" ")
        if word in {"FAILED", "ERROR"} and test not in self._sound:
            if self.run([test]):
                print(f"  {test} fails without any fault")
                return ""
            self._sound.add(test)
        return by


def sample(patterns: list[str], seed: int, count: int) -> list[Mutation]:
    """Choose faults in the files that match: as many of each kind, where there are so many."""
    by_kind: dict[str, list[Mutation]] = defaultdict(list)
    for file in sorted((ROOT / "src" / "hardpoint").rglob("*.*")):
        path = str(file.relative_to(ROOT))
        if (
            file.suffix in {".py", ".c", ".h"}
            and any(fnmatch(path, each) for each in patterns)
            and not file.is_symlink()
        ):
            for mutation in mutations(path, file.read_bytes()):
                by_kind[mutation.kind].append(mutation)
    chance = random.Random(seed)
    for each in by_kind.values():
        chance.shuffle(each)
    chosen: list[Mutation] = []
    while len(chosen) < count and any(by_kind.values()):
        kinds = [kind for kind in by_kind if by_kind[kind]]
        chance.shuffle(kinds)
        chosen += [by_kind[kind].pop() for kind in kinds]
    return chosen[:count]


def read_report(path: Path) -> list[Mutation]:
    """Return the faults that an earlier report calls not noticed."""
    reported = {line.split("\t", 1)[1] for line in path.read_text().splitlines() if line.startswith("NOT NOTICED\t")}
    found: list[Mutation] = []
    for file in {line.partition(":")[0] for line in reported}:
        source = (ROOT / file).read_bytes()
        found += [each for each in mutations(file, source) if title(each, source) in reported]
    return found


def title(mutation: Mutation, source: bytes) -> str:
    """Return one line about a fault: the place, the kind, and the line of code before and after."""
    number, before, after = mutation.lines(source)
    return f"{mutation.path}:{number}: {mutation.kind}: {before}  ->  {after}"


def is_equivalent(mutation: Mutation, source: bytes) -> bool:
    """True if the fault is listed as one that nothing could notice."""
    _, before, after = mutation.lines(source)
    path = mutation.path.removeprefix("src/hardpoint/")
    return f"{path}: {mutation.kind}: {before}  ->  {after}" in EQUIVALENT


def main() -> int:
    """Run a sample, and print a line for each fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--seed", type=int, default=int(time.time()), help="of the sample; by default another each time"
    )
    parser.add_argument("--count", type=int, default=20, help="how many faults to try (20)")
    parser.add_argument("--path", action="append", metavar="GLOB", help="only in files that match; can be repeated")
    parser.add_argument("--timeout", type=float, default=300, metavar="S", help="for the tests of one fault (300)")
    parser.add_argument("--through", type=shlex.split, default=[], metavar="CMD", help="run the tests by it, as `nice`")
    parser.add_argument("--again", type=Path, metavar="REPORT", help="those that an earlier report says went unnoticed")
    parser.add_argument("--list", action="store_true", help="show the sample, and run nothing")
    arguments = parser.parse_args()
    chosen = (
        read_report(arguments.again)
        if arguments.again
        else sample(arguments.path or ["src/hardpoint/*"], arguments.seed, arguments.count)
    )
    if arguments.list:
        print(*(title(each, (ROOT / each.path).read_bytes()) for each in chosen), sep="\n")
        return 0
    with tempfile.TemporaryDirectory(prefix="mutate-") as folder:
        copy = Copy(Path(folder), arguments.timeout, arguments.through)
        return report(copy, chosen, arguments.seed)


def report(copy: Copy, chosen: list[Mutation], seed: int) -> int:
    """Try each fault, and count those that went unnoticed."""
    counts = {"noticed": 0, "NOT NOTICED": 0, "equivalent": 0}
    for number, mutation in enumerate(chosen, start=1):
        source = (ROOT / mutation.path).read_bytes()
        began, by = time.monotonic(), ""
        state = "equivalent" if is_equivalent(mutation, source) else ""
        if not state:
            by = copy.try_out(mutation)
            state = "noticed" if by else "NOT NOTICED"
        counts[state] += 1
        print(f"{state}\t{title(mutation, source)}", flush=True)
        print(
            f"  {number} of {len(chosen)}, {time.monotonic() - began:.0f} s, {by.splitlines()[0] if by else ''}",
            flush=True,
        )
    tried = counts["noticed"] + counts["NOT NOTICED"]
    print(f"seed {seed}: {counts['noticed']} of {tried} noticed, {counts['equivalent']} equivalent")
    return 1 if counts["NOT NOTICED"] else 0


if __name__ == "__main__":
    sys.exit(main())
