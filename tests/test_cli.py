"""The command line, run as a user runs it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest
from conftest import SUPPORT
from probe import Probe

import hardpoint

if TYPE_CHECKING:
    from conftest import Compiler

TESTS = Path(__file__).parent


class Run(Protocol):
    def __call__(self, *words: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a command in an empty folder, and check that it prints no traceback."""

    def command(*words: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "hardpoint", *map(str, words)],
            capture_output=True, text=True, check=False, cwd=tmp_path, env={**os.environ, **(env or {})}, timeout=60,
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        return done

    return command


@pytest.fixture(scope="session")
def spanish(compiler: Compiler) -> Path:
    return compiler.library("spanish/spanish.c")


@pytest.fixture(scope="session")
def probe(compiler: Compiler) -> Path:
    compiler.header(Probe)
    return compiler.library("probe.c", "-pthread")


# -- call --------------------------------------------------------------------------------------------------------------


def test_call_one(run: Run, english: Path) -> None:
    done = run("call", english, "greet", "World")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Hello, World! Nice to meet you.\n", "")


def test_call_several_and_go_on_past_a_missing_one(run: Run, english: Path, spanish: Path) -> None:
    done = run("call", english, "french.so", spanish, "greet", "World")
    assert done.stdout == "english: Hello, World! Nice to meet you.\nspanish: ¡Hola, World! Mucho gusto.\n"
    assert done.stderr == "hardpoint: french.so: there is no such file; check the path, or build the plugin\n"
    assert done.returncode == 3


def test_call_as_json(run: Run, english: Path) -> None:
    done = run("call", "--json", english, "gone.so", "lang")
    good, bad = json.loads(done.stdout)
    assert good == {"file": str(english), "plugin": "english", "result": "English", "changed": {}}
    assert bad == {"file": "gone.so", "error": "gone.so: there is no such file; check the path, or build the plugin"}
    assert done.returncode == 3


CALLS = [
    (["add", "40", "0x2"], "42"),
    (["add", "--", "-5", "3"], "-2"),
    (["half", "1e3"], "500.0"),
    (["negate", "true"], "false"),
    (["negate", "no"], "true"),
    (["raw", "é"], "é"),
    (["flip", "abc"], "value: \udc9e\udc9d\udc9c"),
    (["text", ""], ""),
    (["mixed", "1", "2.5", "c", "yes", "e", "f", "0.5", "8"], "1 2.5 c 1 e 1 0.5 8\nf: \0"),
]


@pytest.mark.parametrize(("words", "printed"), CALLS, ids=lambda value: value[0] if isinstance(value, list) else "")
def test_call_converts_arguments_by_the_signature(run: Run, probe: Path, words: list[str], printed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hardpoint", "call", str(probe), *words], capture_output=True, check=True
    )
    assert done.stdout == printed.encode("utf-8", "surrogateescape") + b"\n"


def test_call_prints_nothing_for_none(run: Run, probe: Path) -> None:
    done = run("call", "-v", probe, "log", "30", "a word")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "hardpoint.plugin.probe: WARNING: a word\n"


def test_call_gives_config_and_binding(run: Run, probe: Path) -> None:
    done = run("call", probe, "config", "--config", "hello", "--binding", "ctypes")
    assert done.stdout == "hello\n"


def test_call_bytes_as_json(run: Run, probe: Path) -> None:
    done = run("call", "--json", probe, "flip", "abc")
    assert json.loads(done.stdout)[0]["changed"] == {"value": {"base64": "np2c"}}


WRONG_CALLS = [
    (["add", "1"], 2, "add(left: int, right: int) -> int takes 2 arguments, and 1 was given"),
    (["add", "1", "x"], 2, "add() argument 'right' must be int, not 'x'"),
    (["negate", "maybe"], 2, "negate() argument 'value' must be bool, not 'maybe'"),
    (["half", "much"], 2, "half() argument 'value' must be float, not 'much'"),
    (["add", "99999999999999999999", "1"], 2, "add() argument 'left' does not fit in 64 bits with sign"),
    (["sing"], 2, "has no method 'sing'; it has text(value: str) -> str, raw(value: bytes) -> bytes"),
    (["fail", "300", "no luck"], 1, "fail failed with status 300 (its own): no luck"),
    (["break_rule", "utf-8"], 1, "break_rule gave text that is not UTF-8"),
    (["config", "--config", "refuse"], 1, "create failed with status 2 (HP_INVALID): the config says refuse"),
]


@pytest.mark.parametrize(
    ("words", "status", "message"), WRONG_CALLS, ids=lambda value: value[0] if isinstance(value, list) else ""
)
def test_call_with_wrong_arguments(run: Run, probe: Path, words: list[str], status: int, message: str) -> None:
    done = run("call", probe, *words)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith(f"hardpoint: {probe}")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_call_with_an_argument_that_is_not_text(probe: Path) -> None:
    words = [sys.executable, "-m", "hardpoint", "call", str(probe), "text", os.fsdecode(b"caf\xe9")]
    done = subprocess.run(words, capture_output=True, check=False)
    assert done.returncode == 2
    assert b"surrogates not allowed in text() argument 'value'" in done.stderr


def test_call_in_a_locale_without_the_arguments_characters(probe: Path) -> None:
    words = [sys.executable, "-m", "hardpoint", "call", str(probe), "text", "café"]
    ascii_alone = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run([os.fsencode(word) for word in words], capture_output=True, check=False, env=ascii_alone)
    why = "cannot be read in this locale, whose encoding is ascii; set LC_ALL=C.UTF-8, or PYTHONUTF8=1"
    assert done.stderr.decode() == f"hardpoint: {probe}: text() argument 'value' {why}\n"
    assert done.returncode == 2


def test_call_without_a_method(run: Run, english: Path) -> None:
    done = run("call", english)
    assert done.returncode == 2
    assert "a method is missing" in done.stderr


def test_call_a_plugin_that_does_not_fit(run: Run, english: Path, compiler: Compiler) -> None:
    assert run("call", "--contract", "hardpoint.contracts:Transformer", english, "transform", "x").returncode == 4
    assert run("call", compiler.library("broken.c", "-DFLAGS=UINT64_C(1)<<40"), "lang").returncode == 4
    assert run("call", compiler.library("broken.c", "-DNO_NOTE"), "lang").returncode == 4
    assert run("call", __file__, "lang").returncode == 4


def test_options_may_stand_anywhere(run: Run, probe: Path) -> None:
    assert run("call", "--config", "hello", probe, "config").stdout == "hello\n"
    assert run("call", probe, "--config", "hello", "config").stdout == "hello\n"
    assert run("call", probe, "text", "--binding", "ctypes", "a").stdout == "a\n"
    done = run("call", probe, "add", "-x", "1")
    assert done.returncode == 2
    assert done.stderr.startswith("usage: hardpoint call [options] FILE...|NAME METHOD [ARG...]\n")
    assert "unknown: -x 1 (write -- before an argument that starts with a dash)" in done.stderr


def test_json_is_json_in_every_encoding(run: Run, spanish: Path, probe: Path) -> None:
    for encoding in ("ascii", "latin-1", "utf-8"):
        done = run("call", "--json", spanish, "lang", env={"PYTHONIOENCODING": encoding})
        assert json.loads(done.stdout)[0]["result"] == "Español"
    assert json.loads(run("call", "--json", probe, "half", "nan").stdout)[0]["result"] == {"float": "nan"}
    assert "has no method 'sing'" in json.loads(run("call", "--json", probe, "sing").stdout)[0]["error"]


def test_a_full_output_device_is_not_a_traceback(english: Path) -> None:
    command = f"{sys.executable} -m hardpoint"
    for words, status in {"include >&-": 0, f"inspect {english} >/dev/full": 1, "check gone.so 2>/dev/full": 3}.items():
        done = subprocess.run(["sh", "-c", f"{command} {words}"], capture_output=True, text=True, check=False)
        assert (words, done.returncode, "Traceback" in done.stderr) == (words, status, False)


def test_a_config_that_is_not_text(run: Run, probe: Path) -> None:
    done = run("call", probe, "config", "--config", "\udcff")
    assert done.returncode == 2
    assert "surrogates not allowed in load() argument 'config'" in done.stderr


def test_control_characters_in_a_file_are_escaped(run: Run, compiler: Compiler) -> None:
    path = compiler.library("english/english.c", "-Wl,-soname,\x1b]0;owned\x07")
    assert "  soname    \\x1b]0;owned\\x07\n" in run("inspect", path).stdout


def test_a_closed_pipe_is_not_an_error(probe: Path) -> None:
    words = f"{sys.executable} -m hardpoint call {probe} repeat 0123456789 1000000 | head -c 10"
    done = subprocess.run(words, shell=True, capture_output=True, check=False)
    assert (done.stdout, done.stderr) == (b"0123456789", b"")


# -- check -------------------------------------------------------------------------------------------------------------


def test_check_a_plugin_that_fits(run: Run, english: Path) -> None:
    done = run("check", english)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{english}: fits greeter 1.0 (english 1.0.0)\n", "")
    assert json.loads(run("check", "--json", english).stdout) == {
        "file": str(english),
        "fits": True,
        "plugins": [{"plugin": "english 1.0.0", "contract": "greeter 1.0", "problems": []}],
    }


def test_check_prints_every_problem(run: Run, compiler: Compiler) -> None:
    path = compiler.library("broken.c", "-DGREET=NULL", "-DFLAGS=UINT64_C(1)<<40")
    done = run("check", path)
    assert done.returncode == 1
    assert (
        done.stdout
        == f"""\
{path}: does not fit greeter 1.0 (broken 1.0.0)
  problem vtable-flags
    needs  only flags that this host knows
    found  0x0000010000000000
    do     use a newer hardpoint, or a plugin without that flag
  problem slot-empty
    needs  the method greet(name: str) -> str
    found  an empty slot
    do     fill it where the plugin's macro is used
"""
    )
    outcome = json.loads(run("check", "--json", path).stdout)
    assert outcome["fits"] is False
    assert [problem["code"] for problem in outcome["plugins"][0]["problems"]] == ["vtable-flags", "slot-empty"]


def test_check_prints_every_problem_of_a_library_with_malformed_manifests_alone(run: Run, compiler: Compiler) -> None:
    words = ['-DNOTE="{oops"', '-DSECOND_NOTE="[]"', "-Wl,-z,execstack"]
    done = run("check", compiler.library("broken.c", *words))
    assert done.returncode == 1
    assert done.stdout.count("  problem ") == 3
    assert done.stdout.count("  problem manifest-malformed\n") == 2


NAMES = {
    "constexpr() -> int": "its name is taken by C or C++; choose another",
    "def() -> int": "its name is taken by Python; choose another",
    "count(x: int, x: int) -> int": "two of its parameters have the name 'x'",
    f"count({', '.join(['int'] * 9)}, /) -> int": "it has 9 parameters; at most 8 are allowed",
}


@pytest.mark.parametrize("method", NAMES)
def test_check_explains_an_invalid_method_in_a_manifest(run: Run, compiler: Compiler, method: str) -> None:
    words = ['-DCONTRACT="counter"', f'-DMETHODS="[\\"{method}\\"]"']
    path = compiler.library("broken.c", *words)
    assert (
        run("check", path).stdout
        == f"""\
{path}: is not a plugin that fits here
  problem manifest-malformed
    needs  a manifest that describes its methods
    found  {method!r}, which cannot be a method of a contract: {NAMES[method]}
    do     rebuild the plugin with its contract's header, which writes the manifest
"""
    )


def test_check_says_why_the_name_of_a_contract_is_reserved(run: Run, compiler: Compiler) -> None:
    path = compiler.library("broken.c", '-DCONTRACT="time"')
    assert (
        run("check", path).stdout
        == f"""\
{path}: is not a plugin that fits here
  problem manifest-malformed
    needs  the manifest's field 'contract' to be a contract's name, like 'greeter'
    found  the name 'time', which is taken by a header of the system; choose another
    do     rebuild the plugin with its contract's header, which writes the manifest
"""
    )


def test_check_compares_known_contracts_with_the_shipped_ones(run: Run, compiler: Compiler) -> None:
    done = run("check", compiler.library("broken.c", '-DMETHODS="[\\"sing() -> str\\", \\"lang() -> str\\"]"'))
    assert done.returncode == 1
    assert "needs  method 1 to be greet(name: str) -> str\n    found  sing() -> str\n" in done.stdout


def test_check_against_a_contract_of_ones_own(run: Run, probe: Path, english: Path) -> None:
    env = {"PYTHONPATH": str(SUPPORT)}
    assert run("check", probe).returncode == 0
    assert run("check", probe, "--contract", "probe:Probe", env=env).returncode == 0
    done = run("check", english, "--contract", "probe:Probe", env=env)
    assert done.returncode == 1
    assert "needs  a plugin for probe 1.2\n    found  one for greeter 1.0\n" in done.stdout


def test_check_a_warning_is_not_a_problem(run: Run, compiler: Compiler, tmp_path: Path) -> None:
    (tmp_path / "tls.c").write_text("__thread int count; int *where(void); int *where(void) { return &count; }")
    done = run("check", compiler.library("english/english.c", str(tmp_path / "tls.c"), "-ftls-model=initial-exec"))
    assert done.returncode == 0
    assert "fits greeter 1.0" in done.stdout
    assert "  warning static-tls\n" in done.stdout


@pytest.mark.parametrize(
    ("path", "status", "code"), [("gone.so", 3, None), (".", 1, "file-kind"), (__file__, 1, "elf-magic")]
)
def test_check_a_file_that_is_not_a_plugin(run: Run, path: str, status: int, code: str | None) -> None:
    done = run("check", path)
    assert done.returncode == status
    assert (f"  problem {code}\n" in done.stdout) == (code is not None)
    assert bool(done.stderr) == (code is None)


COLOURS = [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]


@pytest.mark.parametrize(("env", "coloured"), COLOURS, ids=["terminal", "NO_COLOR", "dumb"])
def test_colours_are_for_terminals(english: Path, env: dict[str, str], coloured: bool) -> None:
    import pty

    main, other = pty.openpty()
    words = [sys.executable, "-m", "hardpoint", "check", str(english)]
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"} | {"TERM": "xterm"} | env
    subprocess.run(words, stdout=other, check=True, env=environment)
    os.close(other)
    shown = os.read(main, 4096)
    os.close(main)
    assert (b"\x1b[32mfits\x1b[0m" in shown) == coloured
    assert b"fits" in shown


# -- inspect -----------------------------------------------------------------------------------------------------------


def test_inspect(run: Run, english: Path) -> None:
    done = run("inspect", english)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[:6] == [
        str(english),
        "  plugin    english 1.0.0",
        "  contract  greeter 1.0, ABI 1.0",
        "  methods   greet(name: str) -> str",
        "            lang() -> str",
        "  symbols   hardpoint_greeter_v1 (object, 64 bytes)",
    ]
    assert "  needs     libc.so.6" in lines
    assert "  flags     none" in lines


def test_inspect_a_file_too_large_to_hash(run: Run, english: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(english, tmp_path))
    os.truncate(path, 12 << 30)
    done, json_too = run("inspect", path), run("inspect", "--json", path)
    assert done.returncode == json_too.returncode == 0
    assert done.stderr == json_too.stderr
    assert f"{path} cannot be hashed: needs a file of at most 4 GiB" in done.stderr
    assert "  plugin    english 1.0.0\n" in done.stdout
    assert done.stdout.endswith(f"  size      {12 << 30} bytes\n  sha256    none\n")
    assert json.loads(json_too.stdout)["sha256"] is None


def test_inspect_as_json(run: Run, compiler: Compiler) -> None:
    path = compiler.library(
        "broken.c", "-DNO_NOTE", "-Wl,-z,execstack", "-Wl,-soname,libbroken.so.1", "-Wl,-rpath,/opt/x"
    )
    facts = json.loads(run("inspect", "--json", path).stdout)
    assert (facts["plugins"], facts["executable_stack"], facts["static_tls"]) == ([], True, False)
    assert (facts["soname"], facts["runpath"], facts["needed"]) == ("libbroken.so.1", "/opt/x", ["libc.so.6"])
    assert facts["symbols"] == [{"name": "hardpoint_greeter_v1", "type": "object", "size": 64, "defined": True}]
    assert facts["size"] == path.stat().st_size
    assert facts["machine"] == {"x86_64": "x86-64", "aarch64": "AArch64"}[os.uname().machine]


def test_inspect_runs_nothing_and_shows_a_malformed_manifest(run: Run, compiler: Compiler, tmp_path: Path) -> None:
    path = compiler.library("broken.c", '-DNOTE="{oops"')
    done = run("inspect", path, env={"HARDPOINT_RAN": str(tmp_path / "ran")})
    assert "  plugin    malformed manifest: needs a manifest in JSON, found Expecting property name" in done.stdout
    assert done.returncode == 0
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("path", "status"), [("gone.so", 3), (".", 4), (__file__, 4)])
def test_inspect_a_file_that_is_not_a_library(run: Run, path: str, status: int) -> None:
    done = run("inspect", path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (status, "", 1)


STATUSES = {"check": 1, "doctor": 1, "inspect": 4, "test": 4, "bench": 4, "call": 4, "list": 1}


@pytest.mark.parametrize("command", STATUSES)
def test_the_help_has_the_exit_status_for_other_files(run: Run, tmp_path: Path, command: str) -> None:
    (tmp_path / "text.so").write_text("no library")
    words = {"call": ["./text.so", "greet"], "list": ["."]}.get(command, ["text.so"])
    assert run(command, *words).returncode == STATUSES[command]
    finding = ("build", *(name for name, status in STATUSES.items() if status == 1))
    whose = f"{', '.join(finding[:-1])} and {finding[-1]}"
    told = f"  4  not a plugin, or one that does not fit (for {whose} that is a problem found: 1)\n"
    assert told in run("--help", env={"COLUMNS": "200"}).stdout


# -- header, include, and the whole ------------------------------------------------------------------------------------


def test_header_and_include(run: Run) -> None:
    folder = Path(run("include").stdout.strip())
    assert {"hardpoint.h", "greeter.h", "transformer.h"} <= {path.name for path in folder.iterdir()}
    assert run("header", "hardpoint.contracts:Greeter").stdout == (folder / "greeter.h").read_text()


NO_MODULE = "in this folder or installed; add its folder to PYTHONPATH"
WRONG_CONTRACTS = {
    "../b/filters:Filter": "../b/filters:Filter names a file: MODULE:CLASS is a module, not a path; write filters:Filter, and "
    "cd to ../b or set PYTHONPATH=../b",
    "/srv/b/filters.py:Filter": "/srv/b/filters.py:Filter names a file: MODULE:CLASS is a module, not a path; write "
    "filters:Filter, and cd to /srv/b or set PYTHONPATH=/srv/b",
    "filters.py:Filter": "filters.py:Filter names a file: MODULE:CLASS is a module, not a path; write filters:Filter",
    "Greeter": "a contract is named MODULE:CLASS, such as hardpoint.contracts:Greeter, not 'Greeter'",
    "no.such:Thing": f"no.such:Thing cannot be imported: no module named no {NO_MODULE}",
    "json.such:Thing": f"json.such:Thing cannot be imported: no module named json.such {NO_MODULE}",
    "hardpoint.contracts:Nobody": "hardpoint.contracts:Nobody not found: hardpoint.contracts has no Nobody; check the name",
    "collections:OrderedDict": "collections:OrderedDict is not a contract: decorate a Protocol class with @hardpoint.contract",
    "json:dumps": "json:dumps is not a contract: decorate a Protocol class with @hardpoint.contract",
    "raises:Thing": "raises:Thing cannot be imported: importing raises raised ZeroDivisionError: division by zero",
    "needs:Thing": "needs:Thing cannot be imported: importing needs raised ModuleNotFoundError: No module named 'nothing'",
    "defines:Thing": "defines:Thing cannot be imported: Thing cannot be a contract: it has no methods",
}  # fmt: skip
MODULES = {
    "raises": "1 / 0",
    "needs": "import nothing",
    "defines": "import hardpoint, typing\n@hardpoint.contract('thing', version='1.0')\nclass Thing(typing.Protocol): ...",
}


@pytest.mark.parametrize("name", WRONG_CONTRACTS)
@pytest.mark.parametrize("words", [["header"], ["check", "gone.so", "--contract"]], ids=["header", "check"])
def test_a_contract_that_cannot_be_imported(run: Run, tmp_path: Path, words: list[str], name: str) -> None:
    for module, code in MODULES.items():
        (tmp_path / f"{module}.py").write_text(code)
    done = run(*words, name)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"hardpoint: {WRONG_CONTRACTS[name]}\n")


def test_a_contract_of_the_working_directory(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text((SUPPORT / "probe.py").read_text())
    assert "typedef struct probe_v1 {" in run("header", "mine:Probe").stdout


def test_no_command_shows_the_help(run: Run) -> None:
    done = run()
    assert (done.returncode, done.stdout, done.stderr) == (2, "", run("--help").stdout)


@pytest.mark.parametrize("words", [["frob"], ["call"], ["check"], ["check", "--frob", "x.so"]], ids=" ".join)
def test_wrong_usage(run: Run, words: list[str]) -> None:
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: hardpoint" in done.stderr


@pytest.mark.parametrize(
    "command", ["call", "list", "lock", "inspect", "check", "doctor", "bench", "header", "include"]
)
def test_every_command_has_help_with_an_example(run: Run, command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == 0
    assert f"examples:\n  hardpoint {command}" in done.stdout


def test_the_version_and_the_installed_command(run: Run) -> None:
    assert run("--version").stdout == f"hardpoint {hardpoint.__version__}\n"
    installed = Path(sys.executable).with_name("hardpoint")
    assert subprocess.run([installed, "--version"], capture_output=True, text=True, check=True).stdout.startswith(
        "hardpoint "
    )
