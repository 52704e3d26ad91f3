"""`hardpoint test`: its output, options and reports."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from xml.etree import ElementTree as ET

import pytest
from conftest import ROOT
from test_conformance_faults import HARDENED, Faulty

from hardpoint import conformance
from hardpoint.contracts import Greeter
from hardpoint.isolation.host import program

if TYPE_CHECKING:
    from conftest import Compiler


class Run(Protocol):
    def __call__(self, *words: str | Path) -> subprocess.CompletedProcess[str]: ...


class Build(Protocol):
    def __call__(self, *faults: str) -> Path: ...


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run `hardpoint test` in an empty folder; it must never print a traceback."""

    def command(*words: str | Path) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "hardpoint", "test", *map(str, words)],
            capture_output=True, text=True, check=False, cwd=tmp_path, timeout=300,
        )  # fmt: skip
        assert "Traceback" not in done.stderr + done.stdout
        return done

    return command


@pytest.fixture
def build(compiler: Compiler) -> Build:
    """Compile faulty.c with the faults of these names."""
    compiler.header(Faulty)
    return lambda *faults: compiler.library("faulty.c", *HARDENED, *(f"-D{fault}" for fault in faults))


# -- the plugins in native_plugins -------------------------------------------------------------------------------------

FOLDERS = sorted(path.name for path in (ROOT / "native_plugins").iterdir() if [*path.glob("*.c"), *path.glob("*.cpp")])
"""Plugins in C and C++; tests/test_languages.py has the others, which take longer to build."""


def build_native(name: str, compiler: Compiler, folder: Path) -> Path:
    """Compile the plugin of a folder in native_plugins."""
    source = ROOT / "native_plugins" / name
    if (source / f"{name}.c").exists():
        return compiler.library(f"{name}/{name}.c", *HARDENED)
    if shutil.which("g++") is None:
        pytest.skip("there is no g++")
    flags = ["-O2", "-fPIC", "-fvisibility=hidden", "-shared", "-Wl,-z,relro,-z,now", f"-I{ROOT / 'contract'}"]
    subprocess.run(["g++", *flags, str(source / f"{name}.cpp"), "-o", str(folder / "cpp.so")], check=True)
    return folder / "cpp.so"


@pytest.mark.parametrize("name", FOLDERS)
def test_the_native_plugins_pass(name: str, compiler: Compiler, run: Run, tmp_path: Path) -> None:
    done = run(build_native(name, compiler, tmp_path), "--json")
    [report] = json.loads(done.stdout)
    assert [
        check
        for check in report["checks"]
        if check["status"] not in {"passed", "skipped"} and check["name"] != "load.time"
    ] == []
    assert done.returncode == 0


def test_every_plugin_in_a_library_is_tested(compiler: Compiler, run: Run) -> None:
    library = compiler.library("header_two_contracts.c")
    lines = run(library, "--only", "calls.tiny").stdout.splitlines()
    about = "  passed    calls.tiny           Every method returns from a call with ordinary, short input"
    assert {(lines[0], lines[1]), (lines[2], lines[3])} == {
        (f"{library}: greeter 1.0", f"{about} (3 calls)"),
        (f"{library}: transformer 1.0", f"{about} (2 calls)"),
    }
    assert lines[4].startswith("2 passed; seed ")
    chosen = run(library, "--only", "calls.tiny", "--contract", "hardpoint.contracts:Transformer")
    assert chosen.stdout.splitlines()[0] == f"{library}: transformer 1.0"


# -- outcomes ----------------------------------------------------------------------------------------------------------


def test_a_crash_is_reported_with_the_call_and_the_last_lines(build: Build, run: Run) -> None:
    done = run(build("CRASHES_ON_NUL"), "--only", "calls.nul", "--only", "calls.empty")
    lines = done.stdout.splitlines()
    assert lines[1].startswith("  passed    calls.empty ")
    assert lines[2:5] == [
        "  crashed   calls.nul            Every method returns from a call with NULs within texts and buffers",
        "    SIGABRT in: echo(text='\\x00')",
        "    | a NUL!",
    ]
    assert lines[-1].startswith("1 passed, 1 crashed; seed ")
    assert done.returncode == 1


QUOTES = """
#include "greeter.h"
#include <stdexcept>
static void fail(size_t len) {
    if (len > 0) {
        throw std::runtime_error("boom"); // line 6
    }
}
static hp_status greet(void *, const char *name, size_t name_len, hp_out *out) {
    fail(name_len);
    return hp_write(out, name, name_len);
}
static hp_status lang(void *, hp_out *out) { return hp_puts(out, "C++"); }
GREETER_PLUGIN("quotes", "1.0.0", p.greet = greet, p.lang = lang);
"""


needs_lines = pytest.mark.skipif(
    shutil.which("addr2line") is None or program.lacks() is not None,
    reason="there is no addr2line, or nothing was compiled",
)


def quote(library: Path, contract: type, check: str) -> list[str]:
    """The lines that the report of a crash quotes, which have none of the host's frames."""
    [outcome] = conformance.run(library, contract, only=[check]).outcomes
    assert outcome.status == "crashed"
    assert not any(word in outcome.output for word in ("ffi", "Py", "python", "ctypes"))
    return outcome.output.splitlines()


@needs_lines
def test_the_quote_of_an_exception_has_its_text_and_the_plugins_lines(tmp_path: Path) -> None:
    if shutil.which("g++") is None:
        pytest.skip("there is no g++")
    (tmp_path / "quotes.cpp").write_text(QUOTES)
    flags = ["-g", "-O1", "-fno-inline", "-fPIC", "-shared", f"-I{ROOT / 'contract'}", "-o", "quotes.so"]
    subprocess.run(["g++", *flags, "quotes.cpp"], cwd=tmp_path, check=True)
    lines = quote(tmp_path / "quotes.so", Greeter, "calls.tiny")
    assert lines[0].startswith("terminate called after throwing an instance of 'std::runtime_error'")
    assert lines[1:3] == ["  what():  boom", "SIGABRT:"]
    frames = [re.fullmatch(r"(\w+).* at .*/quotes\.cpp:(\d+) \(quotes\.so\+0x.*\)", line) for line in lines]
    assert [frame.groups() for frame in frames if frame] == [("fail", "6"), ("greet", "10")]


@needs_lines
def test_the_quote_of_much_output_has_its_start_and_its_end(compiler: Compiler) -> None:
    compiler.header(Faulty)
    source = (ROOT / "tests/plugins/faulty.c").read_text()
    number = source[: source.index("SIGNALLED_HERE")].count("\n") + 1
    library = compiler.library("faulty.c", *HARDENED, "-g", "-O0", "-DWRITES_AND_CRASHES")
    lines = quote(library, Faulty, "calls.nul")
    assert lines[0] == "line 0"
    assert "line 99999" in lines
    assert f" at {ROOT}/tests/plugins/faulty.c:{number} (faulty.so+0x" in "\n".join(lines)
    assert len(lines) < 60


def test_a_step_shows_its_own_output(build: Build) -> None:
    """Not that of the steps before it, of which there may be very much."""
    [outcome] = conformance.run(build("CRASHES_ON_NUL"), Faulty, only=["calls.nul"]).outcomes
    assert outcome.output.splitlines()[0] == "a NUL!"


def test_a_grow_for_no_more_than_there_is_is_no_fault(build: Build) -> None:
    report = conformance.run(build("ASKS_FOR_LITTLE"), Faulty, only=["out"])
    assert {(each.status, each.detail) for each in report.outcomes if each.status != "passed"} == set()


def test_fewer_calls_for_lack_of_time_are_said_with_the_time_that_they_took(build: Build) -> None:
    [outcome] = conformance.run(build(), Faulty, only=["memory.calls"], timeout=1).outcomes
    found = re.fullmatch(
        r"([\d,]+) calls of each method in ([\d.]+) s: up to ([\d,]+) would fit into half of the --timeout, if memory grew",
        outcome.detail,
    )
    assert found is not None, outcome
    assert int(found[1].replace(",", "")) < min(int(found[3].replace(",", "")), 100_000)
    assert float(found[2]) <= outcome.seconds + 0.1


ONCE = """
#include "greeter.h"
static const hp_host *logs;
static int created, records;
static hp_status create(const hp_host *host, const char *config, size_t len, void **self, hp_out *out) {
    (void)config, (void)len, (void)out;
    logs = host;
    *self = &created;
    return created++, 0;
}
static void destroy(void *self) { (void)self; }
static hp_status greet(void *self, const char *name, size_t name_len, hp_out *out) {
    (void)self;
    if (records++ == 0) {
        hp_log(logs, HP_LOG_INFO, "the first call");
    }
    return hp_write(out, name, name_len);
}
static hp_status lang(void *self, hp_out *out) { (void)self; return hp_puts(out, "English"); }
GREETER_PLUGIN("once", "1.0.0", .create = create, .destroy = destroy, .greet = greet, .lang = lang);
"""


def test_a_plugin_that_logs_once_passes(compiler: Compiler) -> None:
    compiler.header(Greeter)
    library = compiler.text("once.c", ONCE)
    outcomes = conformance.run(library, Greeter, only=["log"]).outcomes
    assert {each.name: (each.status, each.detail) for each in outcomes} == {
        "log.records": ("passed", "1 record"),
        "log.descriptor": ("passed", ""),
        "log.full": ("passed", "1 dropped"),
        "log.host": ("passed", ""),
    }


def test_a_check_that_depends_on_a_failed_one_is_skipped(build: Build, run: Run) -> None:
    done = run(build("CRASHES"), "--only", "calls.tiny", "--only", "answers.text")
    assert (
        "  skipped   answers.text         Every text is UTF-8: results of str methods, and the reasons of failures (calls.tiny crashed)\n"
        in done.stdout
    )


def test_a_hang_is_reported(build: Build, run: Run) -> None:
    done = run(build("HANGS_ON_NUL"), "--only", "calls.nul", "--timeout", "1")
    assert "    it did not return within 1 s from: echo(text='\\x00')\n" in done.stdout
    assert done.returncode == 1


def test_warnings_do_not_fail(build: Build, run: Run) -> None:
    done = run(build("EXPORTS_MORE"), "--only", "file.exports")
    assert done.stdout.splitlines()[1:3] == [
        "  warning   file.exports         It exports its vtables, and no symbol that could clash with another library's",
        "    it also exports faulty_helper; compile with -fvisibility=hidden, and make what is used in one file static",
    ]
    assert done.returncode == 0


def test_a_config_that_is_needed(build: Build, run: Run) -> None:
    library = build("NEEDS_CONFIG")
    assert "(lifecycle.create failed)" in run(library, "--only", "lifecycle").stdout
    assert run(library, "--only", "lifecycle", "--config", "x").returncode == 0


def test_a_serial_plugin_is_not_called_from_two_threads(compiler: Compiler, run: Run) -> None:
    source = (ROOT / "tests/plugins/faulty.c").read_text().replace("#define FLAGS 0", "#define FLAGS HP_SERIAL")
    compiler.header(Faulty)
    done = run(compiler.text("serial", source, *HARDENED, "-DONE_THREAD"), "--only", "threads")
    assert "threads.one          Four threads can call one instance at once (it is HP_SERIAL: hosts call" in done.stdout
    assert done.returncode == 0


def test_the_end_of_the_nursery_is_an_error(compiler: Compiler, run: Run) -> None:
    compiler.header(Faulty)
    source = (ROOT / "tests/plugins/faulty.c").read_text()
    killer = source.replace("    (void)has_nul;\n", "    (void)has_nul; kill(getppid(), 9);\n")
    done = run(compiler.text("killer", killer, *HARDENED), "--only", "calls.tiny")
    assert done.stderr == "hardpoint: the process that runs the checks ended with status -9\n"
    assert done.returncode == 1


# -- options -----------------------------------------------------------------------------------------------------------


def test_only_and_skip_take_names_topics_and_patterns(run: Run) -> None:
    done = run("--list", "--only", "out", "--only", "*.bounds", "--skip", "out.moved", "--skip", "out.scalar")
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert names == ["buffers.bounds", "out.bounds", "out.refused", "out.reason", "out.thread"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["x.so", "--only", "call.emty"], "there is no check 'call.emty'; did you mean calls.empty"),
        (["x.so", "--skip", "zzz"], "there is no check 'zzz'; --list shows them all"),
        ([], "a FILE is missing: hardpoint test FILE"),
        (["x.so", "--timeout", "0"], "a timeout is seconds above 0, such as 2 or 0.5, not '0'"),
        (["x.so", "--jobs", "0"], "a count is a number from 1 to 256, not '0'"),
    ],
    ids=["only", "skip", "file", "timeout", "jobs"],
)
def test_wrong_usage(run: Run, words: list[str], message: str) -> None:
    done = run(*words)
    assert message in done.stderr
    assert done.returncode == 2


def test_a_file_that_is_not_a_plugin(run: Run, tmp_path: Path) -> None:
    assert run("gone.so").returncode == 3
    (tmp_path / "text.so").write_text("no library")
    done = run("text.so", "--junit", "report.xml")
    assert done.stderr.startswith("hardpoint: text.so is not a plugin: ")
    assert (done.returncode, (tmp_path / "report.xml").exists()) == (4, False)


def test_an_unwritable_report_is_an_error_before_anything_runs(build: Build, run: Run, tmp_path: Path) -> None:
    fix = "name a file in an existing folder that you can write to"
    os.mkfifo(tmp_path / "unread")
    (tmp_path / "file").touch()
    places = {"no/such/x.xml": "No such file or directory", ".": "Is a directory", "file/x.xml": "Not a directory"}
    for place, why in places.items():
        done = run(build(), "--only", "file", "--junit", place)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"hardpoint: {place} cannot be written: {why}; {fix}\n"
    for place, why in {"/dev/full": "No space left on device", "unread": "nothing reads this FIFO"}.items():
        done = run(build(), "--only", "file.fits", "--junit", place)  # fails only when it is written to
        assert done.returncode == 2
        assert "passed    file.fits" in done.stdout
        assert done.stderr == f"hardpoint: {place} cannot be written: {why}; {fix}\n"


def test_a_seed_makes_the_same_input(build: Build) -> None:
    library = build("CRASHES_AT_RANDOM")
    details = [
        conformance.run(library, Faulty, only=["calls.random"], seed=seed).outcomes[0].detail for seed in (1, 1, 2)
    ]
    assert details[0] == details[1] != details[2]


def test_the_seed_is_shown_and_is_new_each_time(build: Build, run: Run) -> None:
    library = build()
    seeds = {re.findall(r"seed (\d+)", run(library, "--only", "file.fits").stdout)[0] for _ in range(2)}
    assert len(seeds) == 2
    assert "; seed 7; " in run(library, "--only", "file.fits", "--seed", "7").stdout


def test_in_process_a_crash_kills_the_command(build: Build, run: Run) -> None:
    done = run(build("CRASHES_ON_NUL"), "--in-process", "--only", "calls")
    assert done.returncode == -signal.SIGABRT
    assert "calls.empty " in done.stdout
    assert done.stderr == "a NUL!\n"


def test_in_process_a_good_plugin_passes(build: Build, run: Run) -> None:
    done = run(build(), "--in-process", "--skip", "memory")
    skipped = re.findall(r"^  skipped +(\S+)", done.stdout, re.MULTILINE)
    assert skipped == ["load.state", "load.silent", "load.time", "lifecycle.exit"]
    assert done.returncode == 0


def test_as_json(build: Build, run: Run) -> None:
    library = build("BOOL_IS_TWO")
    done = run(library, "--json", "--only", "answers.bool", "--seed", "5")
    [report] = json.loads(done.stdout)
    [check] = report.pop("checks")
    assert report == {"file": str(library), "contract": "faulty 1.0", "seed": 5}
    assert check.pop("seconds") >= 0
    assert check == {
        "contract": "faulty 1.0",
        "name": "answers.bool",
        "about": "Every bool result is 0 or 1.",
        "status": "failed",
        "detail": "is_long(text='a', most=7) stored 2 in its bool, and a bool is 0 or 1",
        "output": "",
    }
    assert done.returncode == 1


def test_as_junit(build: Build, run: Run, tmp_path: Path) -> None:
    words = ["--only", "calls.nul", "--only", "answers.bool", "--only", "threads.stable", "--only", "file.glibc"]
    source = build("CRASHES_ON_NUL")
    done = run(source, "--junit", "report.xml", "--seed", "5", *words)
    assert done.returncode == 1
    suite = ET.parse(tmp_path / "report.xml").getroot()[0]
    counts = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "4", "failures": "0", "errors": "1", "skipped": "0"}
    assert suite.find("properties/property").attrib == {"name": "seed", "value": "5"}  # type: ignore[union-attr]
    [error] = suite.iter("error")
    assert error.get("message") == "crashed: SIGABRT in: echo(text='\\x00')"
    assert "a NUL!" in (error.text or "")
    assert [case.get("name") for case in suite.iter("testcase")] == [
        "file.glibc",
        "calls.nul",
        "answers.bool",
        "threads.stable",
    ]


def test_junit_escapes_characters_that_xml_forbids(tmp_path: Path) -> None:
    from hardpoint.conformance import junit

    outcome = conformance.Outcome("x 1.0", "a.b", "About.", "failed", "\x1b[31m\0\ud800é", "\x08\n", 0.5)
    with open(tmp_path / "x.xml", "wb") as file:
        junit.write(file, [conformance.Report("x\x01.so", "x 1.0", 1, (outcome,))])
    [failure] = ET.parse(tmp_path / "x.xml").getroot().iter("failure")
    assert failure.get("message") == "failed: \\u001b[31m\\u0000\\ud800é"


def test_nothing_is_left_running_when_it_is_killed(build: Build) -> None:
    library = build("HANGS_ON_NUL")
    words = [sys.executable, "-m", "hardpoint", "test", str(library), "--only", "calls.nul"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as command:
        while len(users := mapped(library)) < 1:
            time.sleep(0.01)
            assert command.poll() is None
        command.kill()
    end = time.monotonic() + 20
    while users & mapped(library) and time.monotonic() < end:
        time.sleep(0.01)
    assert not users & mapped(library)


def mapped(library: Path) -> set[int]:
    """The processes that have mapped the library."""
    found: set[int] = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            maps = Path(f"/proc/{pid}/maps").read_text()
        except OSError:
            continue
        if str(library) in maps:
            found.add(int(pid))
    return found


# -- from Python, and the page -----------------------------------------------------------------------------------------


def test_from_python(build: Build) -> None:
    names: list[str] = []
    report = conformance.run(
        build("CRASHES_ON_EMPTY"),
        Faulty,
        only=["calls"],
        skip=["calls.random"],
        on_outcome=lambda each: names.append(each.name),
    )
    assert [outcome.name for outcome in report.bad] == ["calls.empty"]
    assert names == [outcome.name for outcome in report.outcomes]
    with pytest.raises(conformance.UnknownCheckError, match="did you mean calls"):
        conformance.run(build(), Faulty, only=["cals"])
    with pytest.raises(TypeError, match="is not a contract"):
        conformance.run(build(), dict)


def test_the_pages_have_every_check() -> None:
    text = (ROOT / "docs/conformance.md").read_text()
    [table] = re.findall(r"<!-- checks -->\n(.*?)<!-- /checks -->", text, re.DOTALL)
    rows = [f"| `{name}` | {check.about} |" for name, check in conformance.CHECKS.items()]
    assert table == "\n".join(["| check | requirement |", "| --- | --- |", *rows, ""])
    assert f"through {len(rows)} checks" in (ROOT / "README.md").read_text()
