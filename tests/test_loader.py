"""The dynamic linker's own verdict, asked in a process that runs none of the plugin's code."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from conftest import ROOT
from forge import Forge
from test_refusals import NO_MANIFEST, problems, refused

import hardpoint
from hardpoint.cli import main
from hardpoint.contracts import Greeter
from hardpoint.preflight import loader

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Compiler, RunPython

Check = Callable[..., tuple[int, Any]]
FIX = "link the plugin with what it needs (-Wl,-z,defs finds that when linking)"
SEARCH = "none on the dynamic linker's search path"
HELP = 'int help(void); __attribute__((visibility("default"))) int use(void); int use(void) { return help(); }'
ON_X86 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="about x86-64")


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]) -> Check:
    def run(*words: object) -> tuple[int, Any]:
        capsys.readouterr()
        status = main(["check", "--json", *map(str, words)])
        return status, json.loads(capsys.readouterr().out)

    return run


def found(outcome: dict[str, Any]) -> list[tuple[str, str]]:
    return [(problem["code"], problem["found"]) for each in outcome["plugins"] for problem in each["problems"]]


def library(compiler: Compiler, target: Path, code: str, *words: str) -> Path:
    """Compile a library that a plugin needs."""
    target.parent.mkdir(parents=True, exist_ok=True)
    source = target.with_suffix(".c")
    source.write_text(code)
    compiler.run("-shared", "-fPIC", "-o", str(target), str(source), *words)
    return target


def plugin(compiler: Compiler, target: Path, code: str, *words: str) -> Path:
    """Compile a greeter with further code."""
    target.parent.mkdir(parents=True, exist_ok=True)
    linker = [] if "-fuse-ld=gold" in words else ["-Wl,-z,undefs"]
    made = compiler.text("plugin", code, *linker, str(compiler.folder / "english.o"), *words)
    shutil.copy(made, target)
    return target


@pytest.fixture(autouse=True)
def english_object(compiler: Compiler) -> None:
    target, source = compiler.folder / "english.o", ROOT / "native_plugins/english/english.c"
    if not target.exists():
        compiler.run("-std=gnu11", "-O1", "-fPIC", "-fvisibility=hidden", "-c", str(source), "-o", str(target))


# -- who needs what ----------------------------------------------------------------------------------------------------


def test_undefined_symbols_are_named_with_who_uses_them(compiler: Compiler, tmp_path: Path) -> None:
    path = plugin(compiler, tmp_path / "x.so", HELP)
    error = refused(path, hardpoint.LoadError)
    assert isinstance(error, hardpoint.LoadError)
    words = "in the dynamic linker's words: undefined symbol: help"
    assert error.problems == (
        hardpoint.Problem("undefined-symbol", "a definition of help, which x.so uses", words, FIX),
    )
    assert str(error) == f"{path} cannot be loaded: {error.problems[0]}"


def test_a_library_that_uses_undefined_symbols_is_named_with_who_needs_it(
    compiler: Compiler, tmp_path: Path, check: Check
) -> None:
    names = [f"absent_{number}" for number in range(5)]
    code = "".join(f"int {name}(void);" for name in names) + "int help(void); int help(void) { return "
    helper = library(compiler, tmp_path / "libcaller.so", code + "+".join(f"{name}()" for name in names) + "; }")
    path = plugin(compiler, tmp_path / "x.so", HELP, str(helper), "-Wl,-rpath,$ORIGIN")
    status, outcome = check(path)
    [problem] = outcome["plugins"][0]["problems"]
    assert status == 1
    shown = re.fullmatch(
        r"a definition of (absent_\d), (absent_\d), (absent_\d) and 2 others, "
        r"which libcaller\.so \(needed by x\.so\) uses",
        problem["needs"],
    )
    assert shown
    assert problem["found"] == f"in the dynamic linker's words: undefined symbol: {shown[1]}"


def test_a_missing_library_is_named_with_who_needs_it(compiler: Compiler, tmp_path: Path, check: Check) -> None:
    base = library(compiler, tmp_path / "libbase.so.1", "int base(void); int base(void) { return 1; }")
    code = "int base(void); int help(void); int help(void) { return base(); }"
    helper = library(compiler, tmp_path / "libmiddle.so", code, "-L", str(tmp_path), "-l:libbase.so.1")
    path = plugin(compiler, tmp_path / "x.so", HELP, str(helper), "-Wl,-rpath,$ORIGIN")
    base.unlink()
    status, outcome = check(path)
    [problem] = outcome["plugins"][0]["problems"]
    assert (status, problem["code"], problem["found"]) == (1, "needed-missing", SEARCH)
    assert problem["needs"] == "the library libbase.so.1, which libmiddle.so (needed by x.so) needs"


@pytest.mark.parametrize("name", ["a dir: b/x.so", "dir/a b:c.so", "a dir: b/a b:c.so"])
def test_names_with_spaces_and_colons(compiler: Compiler, tmp_path: Path, check: Check, name: str) -> None:
    """They separate the paths that ld.so preloads, and it knows no escapes."""
    path = plugin(compiler, tmp_path / name, HELP)
    assert [code for code, _ in found(check(path)[1])] == ["undefined-symbol"]
    fits = plugin(compiler, path.with_name(f"fits {path.name}"), "extern int nothing;")
    assert check(fits)[1]["plugins"][0]["problems"] == []


def test_origin_in_a_folder_whose_name_has_separators(compiler: Compiler, tmp_path: Path, check: Check) -> None:
    helper = library(compiler, tmp_path / "a b:c/lib/libapart.so", "int help(void); int help(void) { return 1; }")
    words = ["-L", str(helper.parent), "-l:libapart.so", "-Wl,-rpath,$ORIGIN/../lib"]
    path = plugin(compiler, tmp_path / "a b:c/plugins/x.so", HELP, *words)
    assert check(path)[1]["plugins"][0]["problems"] == []
    helper.write_bytes(helper.read_bytes().replace(b"\0help\0", b"\0yelp\0"))
    assert [code for code, _ in found(check(path)[1])] == ["undefined-symbol"]
    shutil.copy(path, path.with_name("x y.so"))
    [(code, why)] = found(check(path.with_name("x y.so"))[1])
    assert code == "loader-unasked"
    assert why == "none: ld.so preloads no file whose name has a space or colon, and 'x y.so' uses $ORIGIN"


def test_a_pinned_file_is_asked_about_too(
    compiler: Compiler, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin(compiler, tmp_path / "plugins/x.so", HELP)
    main(["lock", str(tmp_path / "plugins"), "-o", str(tmp_path / "lock")])
    capsys.readouterr()
    assert main(["list", "--json", "--allow", str(tmp_path / "lock"), str(tmp_path / "plugins")]) == 1
    [each] = json.loads(capsys.readouterr().out)["plugins"]
    assert [(problem["code"], problem["needs"]) for problem in each["problems"]] == [
        ("undefined-symbol", "a definition of help, which x.so uses")
    ]


# -- what this process has loaded --------------------------------------------------------------------------------------


def test_symbols_and_libraries_of_the_host_count(compiler: Compiler, tmp_path: Path, run_python: RunPython) -> None:
    """A library opened with RTLD_GLOBAL defines symbols; one that is needed by name is found if it is loaded."""
    helper = library(
        compiler,
        tmp_path / "lib/libhelper.so",
        "int help(void); int help(void) { return 1; }",
        "-Wl,-soname,libhp.so.9",
    )
    plain = plugin(compiler, tmp_path / "plain/x.so", HELP)
    needing = plugin(compiler, tmp_path / "needing/x.so", HELP, str(helper))
    code = f"""
import ctypes, hardpoint
from hardpoint.contracts import Greeter
def said(path):
    [found] = hardpoint.Registry([path.removesuffix("x.so")])
    return found.status, [problem.code for problem in found.problems]
print(said({str(plain)!r}), said({str(needing)!r}))
ctypes.CDLL({str(helper)!r})
print(said({str(plain)!r}), said({str(needing)!r}))
ctypes.CDLL({str(helper)!r}, ctypes.RTLD_GLOBAL)
print(said({str(plain)!r}), said({str(needing)!r}))
hardpoint.load({str(plain)!r}, Greeter), hardpoint.load({str(needing)!r}, Greeter)
"""
    undefined, missing, fits = (
        "('does not fit', ['undefined-symbol'])",
        "('does not fit', ['needed-missing'])",
        "('fits', [])",
    )
    assert run_python(code).stdout.splitlines() == [
        f"{undefined} {missing}", f"{undefined} {fits}", f"{fits} {fits}",
    ]  # fmt: skip


def test_neither_constructors_nor_indirect_functions_run(compiler: Compiler, tmp_path: Path, check: Check) -> None:
    code = f"""
#include <fcntl.h>
static void leave(void) {{ creat("{tmp_path}/ran", 0600); }}
__attribute__((constructor)) static void start(void) {{ leave(); }}
static int one(void) {{ return 1; }}
static int (*choose(void))(void) {{ leave(); return one; }}
__attribute__((visibility("default"))) int use(void) __attribute__((ifunc("choose")));
int (*held)(void) = use;
"""
    assert check(plugin(compiler, tmp_path / "x.so", code))[0] == 0
    assert not (tmp_path / "ran").exists()


# -- where the dynamic linker cannot be asked --------------------------------------------------------------------------


def unasked(check: Check, path: Path) -> str:
    """The reason of the only problem, a warning."""
    status, outcome = check(path)
    assert (status, outcome["fits"]) == (0, True)
    [problem] = outcome["plugins"][0]["problems"]
    assert (problem["code"], problem["fatal"]) == ("loader-unasked", False)
    return str(problem["found"])


LINKERS = {
    "ends": ("return 0;", "none: it said nothing"),
    "fails": ('return puts("no such thing"), 1;', "none: no such thing"),
    "is killed": ("raise(9);", "none: ld.so was killed by signal 9"),
    "hangs": ("pause();", "none: ld.so did not answer in 0.5 s"),
    "never ends": ("for (;;) { puts(words); }", "none: ld.so wrote more than 1048576 bytes"),
}


@pytest.mark.parametrize("name", LINKERS)
def test_a_linker_that_gives_no_answer(
    compiler: Compiler, english: Path, tmp_path: Path, check: Check, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    code, why = LINKERS[name]
    main_c = f"#include <signal.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>\nint main(int n, char **words) {{ {code} }}"
    (tmp_path / "ld.c").write_text(main_c.replace("puts(words)", "puts(words[n - 1])"))
    compiler.run("-static", str(tmp_path / "ld.c"), "-o", str(tmp_path / "ld.so"))  # else it would be traced itself
    monkeypatch.setattr(loader, "program", lambda: (str(tmp_path / "ld.so"), sys.executable))
    monkeypatch.setattr(loader, "_SECONDS", 0.5 if name == "hangs" else 60)
    assert unasked(check, english) == why


@pytest.mark.parametrize(("code", "why"), [
    ("raise(11);", "ld.so was killed by signal 11"),
    ("raise(7);", "ld.so was killed by signal 7"),
    ('return puts("Inconsistency detected by ld.so: dl-version.c: 205: Assertion failed!"), 127;',
     "in the dynamic linker's words: Inconsistency detected by ld.so: dl-version.c: 205: Assertion failed!"),
])  # fmt: skip
def test_a_linker_that_dies_as_the_host_would(
    compiler: Compiler,
    english: Path,
    tmp_path: Path,
    check: Check,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    why: str,
) -> None:
    (tmp_path / "ld.c").write_text(f"#include <signal.h>\n#include <stdio.h>\nint main(void) {{ {code} }}")
    compiler.run("-static", str(tmp_path / "ld.c"), "-o", str(tmp_path / "ld.so"))
    monkeypatch.setattr(loader, "program", lambda: (str(tmp_path / "ld.so"), sys.executable))
    status, outcome = check(english)
    assert (status, found(outcome)) == (1, [("loader-refused", why)])


def test_no_process_for_the_linker(english: Path, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "program", lambda: ("/nowhere/ld.so", sys.executable))
    assert unasked(check, english) == "none: [Errno 2] No such file or directory: '/nowhere/ld.so'"


def test_a_host_that_changed_its_user(english: Path, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert unasked(check, english).endswith("a process that changed its user (AT_SECURE)")


def test_a_host_that_was_started_by_the_linkers_command(compiler: Compiler, tmp_path: Path) -> None:
    """/proc/self/exe is ld.so then."""
    path = plugin(compiler, tmp_path / "x.so", HELP)
    linker, program = loader.program()
    env = {**os.environ, "PYTHONHOME": sys.base_prefix, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [linker, program, "-m", "hardpoint", "check", str(path)], env=env, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "")
    assert "  problem undefined-symbol\n" in done.stdout


# -- two libraries of one name -----------------------------------------------------------------------------------------


@pytest.fixture
def twins(compiler: Compiler, tmp_path: Path) -> list[Path]:
    """Two plugins, each with a library of its own beside it, of the same soname."""
    made: list[Path] = []
    for name in ("a", "b"):
        words = ["-Wl,-soname,libtwin.so.1"]
        helper = library(
            compiler, tmp_path / name / "libtwin.so.1", "int help(void); int help(void) { return 1; }", *words
        )
        made.append(plugin(compiler, tmp_path / name / "x.so", HELP, str(helper), "-Wl,-rpath,$ORIGIN"))
    return made


def test_two_libraries_of_one_soname_in_a_process(twins: list[Path], run_python: RunPython) -> None:
    first, second = twins
    code = f"""
import warnings, hardpoint
from hardpoint.contracts import Greeter
warnings.simplefilter("error")
hardpoint.load({str(first)!r}, Greeter)
isolated = hardpoint.load({str(second)!r}, Greeter, isolated=True)
print(len(hardpoint.info(isolated).warnings))
hardpoint.close(isolated)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    [problem] = hardpoint.info(hardpoint.load({str(second)!r}, Greeter)).warnings
print(*problem[:4], sep="\\n")
print(*(each.message for each in caught))
"""
    needs, kept = f"the library {second.parent}/libtwin.so.1", f"{first.parent}/libtwin.so.1"
    was = f"{kept}, which is loaded before it under the same name, libtwin.so.1"
    fix = "give one of the two another soname, or run one of the plugins isolated, in a process of its own"
    assert run_python(code).stdout.splitlines() == [
        "0", "soname-loaded", needs, was, fix, f"{second} needs {needs}, found {was}; {fix} [soname-loaded]",
    ]  # fmt: skip


def test_check_compares_the_files_that_it_is_given(twins: list[Path], check: Check) -> None:
    status, outcome = check(*twins, twins[0])
    assert (status, outcome["fits"]) == (0, True)
    assert [[code for code, _ in found(each)] for each in outcome["files"]] == [[], ["soname-loaded"], []]


def test_a_library_that_was_opened_by_its_path_has_no_other_name(
    compiler: Compiler, tmp_path: Path, run_python: RunPython
) -> None:
    """Without a soname, dlopen does not take it for a name that is needed."""
    code = "int help(void); int help(void) { return 1; }"
    opened = library(compiler, tmp_path / "a/libnameless.so", code)
    own = library(compiler, tmp_path / "b/libnameless.so", code)
    words = ["-L", str(own.parent), "-l:libnameless.so", "-Wl,-rpath,$ORIGIN"]
    path = plugin(compiler, own.with_name("x.so"), HELP, *words)
    script = f"""
import ctypes, hardpoint
from hardpoint.contracts import Greeter
ctypes.CDLL({str(opened)!r})
print(hardpoint.info(hardpoint.load({str(path)!r}, Greeter)).warnings)
print({str(own)!r} in open("/proc/self/maps").read())
"""
    assert run_python(script).stdout == "()\nTrue\n"


# -- several files -----------------------------------------------------------------------------------------------------


def test_check_several_files(
    compiler: Compiler, english: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = plugin(compiler, tmp_path / "x.so", HELP)
    gone = tmp_path / "gone.so"
    assert main(["check", str(english), str(path)]) == 1
    assert main(["check", str(english), str(english)]) == 0
    capsys.readouterr()
    assert main(["check", str(gone), str(path), str(english)]) == 3
    printed = capsys.readouterr()
    lines = [line for line in printed.out.splitlines() if not line.startswith(" ")]
    assert lines == [
        f"{path}: does not fit greeter 1.0 (english 1.0.0)",
        f"{english}: fits greeter 1.0 (english 1.0.0)",
    ]
    assert printed.err == f"hardpoint: {gone}: there is no such file; check the path, or build the plugin\n"
    assert main(["check", "--json", str(english), str(gone)]) == 3
    outcome = json.loads(capsys.readouterr().out)
    assert (outcome["fits"], [each["fits"] for each in outcome["files"]]) == (False, [True])


# -- read from the file ------------------------------------------------------------------------------------------------


@ON_X86
def test_text_relocations_are_a_warning(compiler: Compiler, tmp_path: Path, check: Check) -> None:
    code = '__asm__(".text\\n.balign 8\\n.globl spot\\nspot: .quad spot\\n");'
    path = plugin(compiler, tmp_path / "x.so", code, "-Wl,-z,notext")
    status, outcome = check(path)
    assert (status, found(outcome)) == (
        0,
        [("text-relocations", "code that the dynamic linker has to change (DT_TEXTREL)")],
    )
    assert [problem.code for problem in hardpoint.info(hardpoint.load(path, Greeter)).warnings] == ["text-relocations"]


LEVEL = """__asm__(".section .note.gnu.property, \\"a\\", @note\\n.balign 8\\n.long 4, 16, 5\\n.asciz \\"GNU\\"\\n"
".long 0xc0008002, 4, %d, 0\\n.previous");"""


@ON_X86
@pytest.mark.parametrize("needed", [1, 2, 4, 8, 16])
def test_the_level_of_the_processor_is_compared_as_by_the_linker(
    compiler: Compiler, tmp_path: Path, needed: int
) -> None:
    path = plugin(compiler, tmp_path / "x.so", LEVEL % needed)
    try:
        ctypes.CDLL(str(path))
    except OSError as error:
        assert "CPU ISA level is lower than required" in str(error)  # noqa: PT017 - by the processor
        [problem] = problems(refused(path, hardpoint.IncompatibleError))
        assert (problem.code, problem.needs) == ("cpu-level", f"a processor of x86-64-v{needed.bit_length()}")
        assert re.match("one without avx512f, |one whose levels end at v4", problem.found)
    else:
        assert hardpoint.load(path, Greeter).lang() == "English"


@ON_X86
def test_the_oldest_glibc_keeps_its_third_number(
    compiler: Compiler, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = 'extern char *getenv(const char *); char *use(void); char *use(void) { return getenv("x"); }'
    path = library(compiler, tmp_path / "x.so", code, "-nostdlib", "-lc")
    assert main(["inspect", "--json", str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["oldest_glibc"] == "2.2.5"
    main(["inspect", str(path)])
    assert "glibc 2.2.5 or newer\n" in capsys.readouterr().out


def test_without_proc_the_dynamic_linker_is_not_asked(english: Path) -> None:
    script = f"mount -t tmpfs none /proc && exec {sys.executable} -m hardpoint check {english}"
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, check=False)
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip("no mount namespaces here")
    why = "    found  none: there is no /proc here, which tells the program (mount -t proc proc /proc)\n"
    assert (
        done.stderr,
        f"  warning loader-unasked\n    needs  the dynamic linker's own verdict\n{why}" in done.stdout,
    ) == ("", True)


def test_a_file_system_that_is_mounted_noexec(compiler: Compiler, english: Path, tmp_path: Path) -> None:
    helper = library(compiler, tmp_path / "mnt/lib/libhelper.so", "int help(void); int help(void) { return 1; }")
    path = plugin(compiler, tmp_path / "x.so", HELP, str(helper), f"-Wl,-rpath,{helper.parent}")
    mnt = tmp_path / "mnt"
    script = f"""
set -e
cp {helper} {tmp_path}/saved
mount -t tmpfs -o noexec none {mnt}
mkdir {mnt}/lib && cp {tmp_path}/saved {helper} && cp {english} {mnt}/english.so
set +e
{sys.executable} -m hardpoint check {mnt}/english.so
{sys.executable} -m hardpoint check {path}
"""
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, check=False)
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip("no mount namespaces here")
    assert done.stderr == ""
    assert done.stdout.count("  problem noexec\n    needs  a file system from which code may be mapped\n") == 2
    assert f"    found  {mnt}/english.so on one that is mounted noexec\n" in done.stdout
    assert f"    found  {helper} on one that is mounted noexec\n" in done.stdout


@pytest.mark.parametrize("tool", [["strip", "-R", ".note.*"], ["objcopy", "--remove-section", ".note.hardpoint"]])
@pytest.mark.parametrize("linker", ["bfd", "gold"])
def test_a_note_that_lost_its_place(
    compiler: Compiler, tmp_path: Path, capsys: pytest.CaptureFixture[str], tool: list[str], linker: str
) -> None:
    if shutil.which(f"ld.{linker}") is None:
        pytest.skip(f"no {linker} here")
    path = plugin(compiler, tmp_path / "x.so", "extern int nothing;", f"-fuse-ld={linker}")
    subprocess.run([*tool, str(path)], check=True)
    [problem] = problems(refused(path, hardpoint.NotAPluginError))
    _, told, fix = NO_MANIFEST["no note"]
    assert (problem.code, problem.found, problem.fix) == ("manifest-missing", told, fix)
    assert main(["list", str(tmp_path)]) == 1
    assert "broken" in capsys.readouterr().out


def test_notes_that_are_too_large(english: Path, tmp_path: Path) -> None:
    """Not the same as notes that lost their place, even if they have none either."""
    forge = Forge(english, tmp_path / "x.so")
    forge.segment("PT_NOTE", 16, 1 << 50)  # the address
    forge.segment("PT_NOTE", 32, 1 << 40)  # the size in the file
    forge.write()
    [problem] = problems(refused(tmp_path / "x.so", hardpoint.NotAPluginError))
    assert (problem.code, problem.found) == ("elf-too-large", "more than 1048576 bytes of notes")
