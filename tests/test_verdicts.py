"""One verdict for a file: check, doctor, list, load and call say the same, with and without --contract."""

from __future__ import annotations

import json
import os
import re
import shutil
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from test_refusals import text

import hardpoint
from hardpoint.cli import main
from hardpoint.contracts import Greeter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Compiler

GREETER = "hardpoint.contracts:Greeter"
BASE = ["-Wno-pedantic", "-Wl,-z,undefs"]
ON_X86 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="a property of x86-64")


class Broken(NamedTuple):
    """A library that is broken in one way, and the one problem that it has."""

    code: str
    source: str = ""
    flags: tuple[str, ...] = ()
    helper: str = ""
    """The source of libhelper.so, which the library needs."""
    change: Callable[[Path], object] = lambda _: None
    """Changes the files of the folder, after all were built."""


def patch(name: str, offset: int, content: bytes) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[offset : offset + len(content)] = content
        (folder / name).write_bytes(data)

    return change


USE = '{} int use(void); __attribute__((visibility("default"))) int use(void) {{ return {}; }}'
LEVEL = """__asm__(".section .note.gnu.property, \\"a\\", @note\\n.balign 8\\n.long 4, 16, 5\\n.asciz \\"GNU\\"\\n"
".long 0xc0008002, 4, {level}, 0\\n.previous");"""
SLOT = "extern char *environ;"
SINGER = """{"abi": "%s", "contract": "singer", "version": "1.0", "plugin": "x", "release": "1", "methods": ["%s"]}"""
BOW = '["greet(name: str) -> str", "lang() -> str", "bow() -> str"]'
LARGE = ("-DTYPE=const large_v1", text("VERSION", "1.1"), text("METHODS", BOW))

BROKEN = {
    "an undefined function": Broken("undefined-symbol", USE.format("int absent(void);", "absent()")),
    "an undefined variable": Broken("undefined-symbol", USE.format("extern int absent;", "absent")),
    "an undefined thread-local variable": Broken("undefined-symbol", USE.format("extern __thread int absent;", "absent")),
    "an undefined slot": Broken("undefined-symbol", flags=("-DUNDEFINED", "-DGREET=nowhere")),
    "a library that needs a missing one": Broken(
        "needed-missing", USE.format("int help(void);", "help()"),
        helper="int base(void); int help(void); int help(void) { return base(); }",
        change=lambda folder: (folder / "libbase.so.1").unlink(),
    ),
    "a library that uses an undefined symbol": Broken(
        "undefined-symbol", USE.format("int help(void);", "help()"),
        helper="int absent(void); int help(void); int help(void) { return absent(); }",
    ),
    "a library without a symbol that it had": Broken(
        "undefined-symbol", USE.format("int help(void);", "help()"), helper="int help(void); int help(void) { return 1; }",
        change=lambda folder: (folder / "libhelper.so").write_bytes(
            (folder / "libhelper.so").read_bytes().replace(b"\0help\0", b"\0yelp\0")
        ),
    ),
    "a library for another system": Broken(
        "loader-refused", USE.format("int help(void);", "help()"), helper="int help(void); int help(void) { return 1; }",
        change=patch("libhelper.so", 7, b"\x09"),
    ),
    "no dlopen": Broken("no-dlopen", flags=("-Wl,-z,nodlopen",)),
    "OS/ABI of another system": Broken("elf-header", change=patch("x.so", 7, b"\x09")),
    "an unknown ABI version": Broken("elf-header", change=patch("x.so", 8, b"\x01")),
    "an unknown version in e_ident": Broken("elf-header", change=patch("x.so", 6, b"\x02")),
    "an unknown e_version": Broken("elf-header", change=patch("x.so", 20, b"\x02")),
    "nonzero padding": Broken("elf-header", change=patch("x.so", 15, b"\x01")),
    "a second contract that cannot be described": Broken(
        "manifest-malformed", flags=(text("SECOND_NOTE", SINGER % ("1.0", "sing(x: what) -> str")),)
    ),
    "a slot of an unknown method with garbage": Broken(
        "slot-not-code",
        flags=(*LARGE, "-DWHOLE=.v1 = {.head = {72, 1, 0, copy}, .greet = greet, .lang = lang}, .bow = (void *)8"),
    ),
    "a slot of an unknown method that leads to data": Broken(
        "slot-not-code",
        flags=(*LARGE, "-DWHOLE=.v1 = {.head = {72, 1, 0, copy}, .greet = greet, .lang = lang}, .bow = (void *)copy"),
    ),
    "a slot that is a variable of libc": Broken(
        "slot-not-code", flags=("-include", "unistd.h", "-D_GNU_SOURCE", "-DGREET=(void *)&environ")
    ),
    "a slot that is a variable of another library": Broken(
        "slot-not-code", helper="extern int help; int help = 1;", flags=("-include", "help.h", "-DGREET=(void *)&help")
    ),
    "a slot that nothing fills": Broken("slot-empty", flags=("-include", "weak.h", "-DGREET=(void *)&help")),
    "a symbol with a version that is not the default": Broken(
        "symbol-missing", "", ("-DSYMBOL=one_v1", "-include", "version.h", "-Wl,--version-script,{folder}/map"),
    ),
    "flags that are relocated": Broken("vtable-relocated", flags=("-DFLAGS=(uint64_t)(uintptr_t)copy",)),
    "a unique symbol": Broken("symbol-type", flags=("-include", "unique.h")),
    "a manifest in another library": Broken(
        "vtable-manifest", helper='extern const char help[]; const char help[] = "x";',
        flags=("-include", "text.h", "-Wno-unused-const-variable", "-DWHOLE=.head = {64, 1, 0, help}, .greet = greet, .lang = lang"),
    ),
    "an executable stack": Broken("executable-stack", flags=("-Wl,-z,execstack",)),
    "bad JSON": Broken("manifest-malformed", flags=(text("NOTE", "{oops"),)),
}  # fmt: skip
if os.uname().machine == "x86_64":
    BROKEN["a level that no processor has"] = Broken("cpu-level", LEVEL.format(level=16))
    BROKEN["a library of a level that no processor has"] = Broken(
        "cpu-level", USE.format("int help(void);", "help()"),
        helper="int help(void); int help(void) { return 1; }" + LEVEL.format(level=17),
    )  # fmt: skip
HEADERS = {
    "help.h": "extern int help;",
    "weak.h": "extern int help __attribute__((weak));",
    "text.h": "extern const char help[];",
    "version.h": '__asm__(".symver one_v1, hardpoint_greeter_v1@OLD");',
    "unique.h": '__asm__(".type hardpoint_greeter_v1, %gnu_unique_object");',
    "map": "OLD { global: hardpoint_greeter_v1; }; NEW { local: one_v1; } OLD;",
}


def build(compiler: Compiler, folder: Path, case: Broken) -> Path:
    """Build x.so, and libhelper.so and libbase.so.1 beside it if it needs them."""
    for name, content in HEADERS.items():
        (folder / name).write_text(content)
    more: list[str] = []
    if case.helper:
        (folder / "base.c").write_text("int base(void); int base(void) { return 1; }")
        (folder / "helper.c").write_text(case.helper)
        shared = ["-shared", "-fPIC", "-o"]
        compiler.run(*shared, f"{folder}/libbase.so.1", f"{folder}/base.c", "-Wl,-soname,libbase.so.1")
        words = [f"{folder}/helper.c", f"{folder}/libbase.so.1", "-Wl,--as-needed,-rpath,$ORIGIN"]
        compiler.run(*shared, f"{folder}/libhelper.so", *words)
        more = [f"{folder}/libhelper.so", "-Wl,-rpath,$ORIGIN"]
    (folder / "use.c").write_text(case.source or "extern int nothing;")
    flags = [flag.replace("{folder}", str(folder)) for flag in case.flags]
    library = compiler.library("broken.c", f"-I{folder}", *BASE, *flags, f"{folder}/use.c", *more)
    shutil.copy(library, folder / "x.so")
    case.change(folder)
    return folder / "x.so"


def codes_of(problems: list[dict[str, object]]) -> list[str]:
    return sorted({str(problem["code"]) for problem in problems if problem["fatal"]})


def verdicts(path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, tuple[bool, list[str]]]:
    """Every command's verdict: True if the file fits, and the codes of its problems."""

    def printed(*words: str) -> Any:
        capsys.readouterr()
        main([*words, "--json"])
        return json.loads(capsys.readouterr().out)

    said: dict[str, tuple[bool, list[str]]] = {}
    for name, more in (("", ()), (" --contract", ("--contract", GREETER))):
        outcome = printed("check", str(path), *more)
        problems = [problem for plugin in outcome["plugins"] for problem in plugin["problems"]]
        said[f"check{name}"] = (outcome["fits"], codes_of(problems))
        stages = printed("doctor", str(path), *more)["checks"]
        codes = codes_of([problem for stage in stages for problem in stage["problems"]])
        said[f"doctor{name}"] = (all(stage["outcome"] != "problem" for stage in stages), codes)
        capsys.readouterr()
        status = main(["call", str(path), "lang", *more])
        codes = sorted(set(re.findall(r"\[([a-z0-9-]+)\]", capsys.readouterr().err)))
        said[f"call{name}"] = (status == 0, codes)
    found = [each for each in printed("list", str(path.parent))["plugins"] if each["file"] == str(path)]
    codes = codes_of([problem for each in found for problem in each["problems"]])
    said["list"] = (all(each["status"] == "fits" for each in found), codes)
    for name, isolated in (("load", False), ("load isolated", True)):
        try:
            hardpoint.close(hardpoint.load(path, Greeter, isolated=isolated))
        except (hardpoint.NotAPluginError, hardpoint.IncompatibleError, hardpoint.LoadError) as error:
            said[name] = (False, sorted({problem.code for problem in error.problems}))
        else:
            said[name] = (True, [])
    return said


@pytest.mark.parametrize("name", BROKEN)
def test_every_command_gives_the_same_verdict(
    compiler: Compiler, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    ran = tmp_path / "ran"
    monkeypatch.setenv("HARDPOINT_RAN", str(ran))
    case = BROKEN[name]
    said = verdicts(build(compiler, tmp_path, case), capsys)
    assert said == dict.fromkeys(said, (False, [case.code]))
    assert not ran.exists(), "code of the plugin ran"
