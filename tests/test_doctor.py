"""`hardpoint doctor`: its report on a machine where things are missing, and on each check that a library fails."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import CAN_BUILD_NATIVE
from test_refusals import greeter_for

import hardpoint.binding
from hardpoint.binding import default
from hardpoint.cli import main
from hardpoint.cli.stages import STAGES
from hardpoint.problems import ROWS

if TYPE_CHECKING:
    from conftest import Compiler

ROOT = Path(__file__).parent.parent
NATIVE = "hardpoint.binding._native"


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*words: str | Path) -> tuple[int, str]:
        status = main(["doctor", *map(str, words)])
        shown = capsys.readouterr()
        assert shown.err == ""
        return status, shown.out

    return run


@pytest.fixture
def no_native(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the module, as where it was not built."""
    monkeypatch.setitem(sys.modules, NATIVE, None)  # blocks the import
    monkeypatch.delitem(sys.modules, "hardpoint.binding.native", raising=False)
    monkeypatch.delattr(hardpoint.binding, "_native", raising=False)


def as_json(doctor: Any, *words: str | Path) -> tuple[int, dict[str, Any]]:
    status, printed = doctor(*words, "--json")
    return status, json.loads(printed)


def outcomes(checks: list[dict[str, Any]]) -> dict[str, str]:
    return {check["name"]: check["outcome"] for check in checks}


# -- the machine -------------------------------------------------------------------------------------------------------


def test_the_machine_as_a_user_sees_it(tmp_path: Path) -> None:
    env = {key: value for key, value in os.environ.items() if key != "HARDPOINT_PATH"}
    env["XDG_DATA_HOME"] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "hardpoint", "doctor"], capture_output=True, text=True, check=True, cwd=tmp_path, env=env
    )
    lines = done.stdout.splitlines()
    assert done.stderr == ""
    assert lines[0] == f"  hardpoint {hardpoint.__version__}, ABI 1.0"
    assert f"  python    CPython {sys.version.split()[0]}" in lines
    assert f"            {sys.executable}" in lines
    assert f"  libc      {(os.confstr('CS_GNU_LIBC_VERSION') or '').replace('-', ' ')}" in lines
    assert f"  binding   {default()}" in lines
    assert [line for line in lines if re.fullmatch(r"  isolation (no )?Landlock.*seccomp, memfd, pidfd, program", line)]
    assert f"  headers   {ROOT / 'contract'}" in lines
    assert [line for line in lines if line.startswith("  places    entry points hardpoint.plugins (installed)")]
    assert f"            {tmp_path}/hardpoint/plugins (user): no such folder" in lines


def test_the_machine_as_json(doctor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    status, facts = as_json(doctor)
    assert status == 0
    assert [problem["code"] for problem in facts["problems"]] == ([] if CAN_BUILD_NATIVE else ["python-h-missing"])
    host = facts["host"]
    assert host["machine"] == os.uname().machine
    assert host["hardpoint"]["version"] == hardpoint.__version__
    assert host["compiler"]["path"] == next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))))
    assert re.search(r"\d+\.\d+", host["compiler"]["version"])
    assert set(facts) == {"host", "problems"}


def test_missing_kernel_features_for_isolation(doctor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(*_: object) -> int:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(os, "memfd_create", lacking)
    monkeypatch.setattr(os, "pidfd_open", lacking)
    monkeypatch.setattr("hardpoint.isolation.host.landlock.version", lambda: 0)
    monkeypatch.setattr("hardpoint.isolation.host.program.lacks", lambda: "needs a program")
    status, printed = doctor()
    assert status == 0
    assert re.search(r"^  isolation no Landlock, (no )?seccomp, no memfd, no pidfd, no program$", printed, re.MULTILINE)
    assert (
        "  warning pidfd-missing\n"
        "    needs  pidfd_open(2), for isolated plugins\n"
        "    found  none here\n"
        "    do     use a newer kernel (Linux 5.3 has it), or allow it in the container\n"
    ) in printed
    assert "  warning memfd-missing\n" in printed
    assert (
        "  warning program-missing\n"
        "    needs  the program that isolated plugins run in\n"
        "    found  none that runs here\n"
    ) in printed


def test_the_compiler_that_is_named(doctor: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "my cc").write_text("#!/bin/sh\necho my compiler, $@\necho more\n")
    (tmp_path / "my cc").chmod(0o755)
    monkeypatch.setenv("CC", f"'{tmp_path}/my cc' -m64")
    assert as_json(doctor)[1]["host"]["compiler"] == {
        "command": f"'{tmp_path}/my cc' -m64",
        "path": f"{tmp_path}/my cc",
        "version": "my compiler, -m64 --version",
    }
    (tmp_path / "my cc").write_text("#!/bin/sh\n")
    assert as_json(doctor)[1]["host"]["compiler"]["version"] == "unknown version"
    (tmp_path / "my cc").write_text("not a program at all")
    assert as_json(doctor)[1]["host"]["compiler"]["version"].startswith("unknown version: [Errno 8]")


@pytest.mark.parametrize(
    ("command", "needs", "found", "fix"),
    [
        ('"gcc', "a $CC that can be split into words", 'no closing quotation in "gcc', "correct its quotes"),
        (
            *("no-such-cc", "the compiler that $CC names", "no no-such-cc in $PATH"),
            "set CC to an installed compiler, or unset it",
        ),
    ],
    ids=["unbalanced-quotes", "missing"],
)
def test_a_named_compiler_that_cannot_be_used(
    doctor: Any, monkeypatch: pytest.MonkeyPatch, command: str, needs: str, found: str, fix: str
) -> None:
    monkeypatch.setenv("CC", command)
    status, printed = doctor()
    assert status == 0
    assert "  compiler  none\n" in printed
    assert f"  warning compiler-missing\n    needs  {needs}\n    found  {found}\n    do     {fix}\n" in printed


@pytest.mark.usefixtures("no_native")
def test_no_native_binding_and_nothing_to_build_it_with(
    doctor: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    status, printed = doctor()
    assert status == 0
    assert "  binding   cffi\n            not native: it was not built when hardpoint was installed" in printed
    assert "  compiler  none\n  Python.h  none\n" in printed
    assert "    found  no cc, gcc or clang in $PATH\n    do     apt-get install gcc libc6-dev\n" in printed
    assert f"    found  no {tmp_path}/Python.h\n    do     apt-get install python3-dev" in printed
    _, facts = as_json(doctor)
    assert facts["host"]["binding"]["default"] == "cffi"
    assert "apt-get install gcc python3-dev" in facts["host"]["binding"]["why_not_native"]
    assert [(problem["code"], problem["fatal"]) for problem in facts["problems"]] == [
        ("compiler-missing", False),
        ("python-h-missing", False),
    ]


def test_a_missing_compiler_is_fine_with_a_native_binding(doctor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if default() != "native":
        pytest.skip("the native binding was not built")
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    status, facts = as_json(doctor)
    assert (status, facts["host"]["compiler"], facts["problems"]) == (0, None, [])


def test_a_host_on_musl(doctor: Any, english: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def confstr(name: str) -> str:
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(os, "confstr", confstr)
    status, printed = doctor()
    assert status == 1
    assert "  problem host-libc\n    needs  a host that runs on glibc\n" in printed
    status, facts = as_json(doctor, english)
    assert status == 1
    assert outcomes(facts["checks"])["host"] == "problem"
    assert outcomes(facts["checks"])["vtable"] == "ok"


def test_the_places_and_what_is_there(
    doctor: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, english: Path
) -> None:
    (tmp_path / "file").touch()
    shutil.copy(english, tmp_path)
    (tmp_path / "empty.so").touch()
    monkeypatch.setenv("HARDPOINT_PATH", f"{tmp_path}:{tmp_path}/gone::{tmp_path}/file:{tmp_path}/.")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    status, printed = doctor()
    assert status == 0
    assert (
        f"  places    {tmp_path} ($HARDPOINT_PATH): 1 plugin, 1 other file\n"
        f"            {tmp_path}/gone ($HARDPOINT_PATH): no such folder\n"
        f"            {tmp_path}/file ($HARDPOINT_PATH): a file, not a folder\n"
        f"            {tmp_path}/. ($HARDPOINT_PATH): the same folder as {tmp_path}\n"
    ) in printed
    assert f"            {tmp_path}/hardpoint/plugins (user): no such folder\n" in printed
    assert f"    needs  the folder {tmp_path}/file of $HARDPOINT_PATH\n    found  a file, not a folder\n" in printed
    assert printed.count("warning search-path") == 2
    places = as_json(doctor)[1]["host"]["places"]
    assert places[0] == {"folder": str(tmp_path), "origin": "$HARDPOINT_PATH", "found": "1 plugin, 1 other file"}
    monkeypatch.setenv("HARDPOINT_PATH", "")
    assert "$HARDPOINT_PATH" not in doctor()[1]


# -- a library ---------------------------------------------------------------------------------------------------------


def test_a_library_that_fits(doctor: Any, english: Path) -> None:
    status, printed = doctor(english)
    assert status == 0
    _, _, shown = printed.partition(f"\n\n{english}\n")
    assert [line.split()[:2] for line in shown.splitlines()[:3]] == [["ok", "file"], ["ok", "elf"], ["ok", "manifest"]]
    assert "\n  greeter 1.0\n    ok          contract       it has one plugin for the contract\n" in shown
    assert "\n  not reached loading          the library in memory is the one that was checked; not tried here" in shown
    assert shown.count("ok  ") == 15


def test_nothing_of_it_runs(doctor: Any, compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARDPOINT_RAN", str(tmp_path / "ran"))
    assert doctor(compiler.library("broken.c"))[0] == 0
    assert not (tmp_path / "ran").exists()


STOPS = [
    ("gone.so", 3, "file", "file-missing"),
    (".", 1, "file", "file-kind"),
    (__file__, 1, "elf", "elf-magic"),
]


@pytest.mark.parametrize(("path", "status", "name", "code"), STOPS, ids=[stop[3] for stop in STOPS])
def test_the_first_checks_end_it(doctor: Any, path: str, status: int, name: str, code: str) -> None:
    found, facts = as_json(doctor, path)
    checks = facts["checks"]
    names = [check["name"] for check in checks]
    at = names.index(name)
    assert (found, facts["file"]) == (status, path)
    assert [check["outcome"] for check in checks] == ["ok"] * at + ["problem"] + ["not reached"] * (len(names) - at - 1)
    assert [problem["code"] for problem in checks[at]["problems"]] == [code]
    status, printed = doctor(path)
    assert f"  problem {code}\n    needs  " in printed


BROKEN: dict[str, tuple[list[str], dict[str, str]]] = {
    "no manifest": (["-DNO_NOTE"], {"manifest": "problem", "integrity": "not reached", "vtable": "not reached"}),
    "no manifest that can be read": (
        ['-DNOTE="{oops"', "-Wl,-z,execstack"],
        {"manifest": "problem", "integrity": "not reached", "memory": "problem", "contract": "not reached"},
    ),
    "one manifest that cannot be read": (
        ['-DSECOND_NOTE="[]"'],
        {"manifest": "problem", "integrity": "ok", "contract": "ok", "vtable": "ok"},
    ),
    "another major": (
        ['-DVERSION="2.0"', "--contract", "hardpoint.contracts:Greeter"],
        {"integrity": "ok", "contract": "problem", "abi": "not reached", "vtable": "not reached"},
    ),
    "no slot": (["-DGREET=NULL"], {"contract": "ok", "methods": "ok", "vtable": "problem"}),
    "other methods and flags": (
        ['-DMETHODS="[\\"sing() -> str\\", \\"lang() -> str\\"]"', "-DFLAGS=UINT64_C(1)<<40"],
        {"contract": "ok", "methods": "problem", "vtable": "problem"},
    ),
    "a newer ABI": (['-DHP_NEEDS_ABI="1.9"'], {"contract": "ok", "abi": "problem"}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_check_has_its_problems(doctor: Any, compiler: Compiler, name: str) -> None:
    words, expected = BROKEN[name]
    at = words.index("--contract") if "--contract" in words else len(words)
    status, facts = as_json(doctor, compiler.library("broken.c", *words[:at]), *words[at:])
    found = outcomes(facts["checks"])
    assert status == 1
    assert {name: found[name] for name in expected} == expected
    codes = [problem["code"] for check in facts["checks"] for problem in check["problems"]]
    assert len(codes) == len(set(codes))  # none is reported twice
    assert all(bool(check["problems"]) == (check["outcome"] in {"problem", "warning"}) for check in facts["checks"])


def test_a_warning_is_not_a_problem(doctor: Any, compiler: Compiler, tmp_path: Path) -> None:
    (tmp_path / "tls.c").write_text("__thread int count; int *where(void); int *where(void) { return &count; }")
    path = compiler.library("english/english.c", str(tmp_path / "tls.c"), "-ftls-model=initial-exec")
    status, printed = doctor(path)
    assert status == 0
    assert (
        "  warning     memory           it needs no executable stack, writable code or static thread-local storage\n"
        in printed
    )
    assert "  warning static-tls\n" in printed


def test_a_library_for_another_machine(doctor: Any, tmp_path: Path) -> None:
    """Its slots and its libraries cannot be checked."""
    other = {"x86_64": "aarch64", "aarch64": "x86_64"}[os.uname().machine]
    status, facts = as_json(doctor, greeter_for(f"{other}-linux-gnu.2.31", tmp_path / "other.so"))
    found = outcomes(facts["checks"])
    assert status == 1
    assert (found["machine"], found["dependencies"], found["vtable"]) == ("problem", "not reached", "not reached")


def test_two_plugins_in_a_library(doctor: Any, compiler: Compiler) -> None:
    status, facts = as_json(doctor, compiler.library("header_two_contracts.c"))
    about = [(check["contract"], check["name"]) for check in facts["checks"] if check["contract"]]
    assert status == 0
    assert about == [
        (contract, name)
        for contract in ("transformer 1.0", "greeter 1.0")
        for name in ("contract", "abi", "methods", "vtable")
    ]


def test_a_contract_without_a_file(doctor: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        doctor("--contract", "hardpoint.contracts:Greeter")
    assert stop.value.code == 2
    assert "--contract is for a FILE, and none was given" in capsys.readouterr().err


def test_every_problem_has_its_check() -> None:
    """A problem that preflight can add to its result belongs to one of the checks."""
    text = "".join(path.read_text() for path in (ROOT / "src/hardpoint/preflight").glob("*.py"))
    codes = set(re.findall(r"Problem\.of\(\s*\"([a-z-]+)\"", text))
    assert len(codes) > 20
    assert {ROWS[code].stage for code in codes} <= set(STAGES)
