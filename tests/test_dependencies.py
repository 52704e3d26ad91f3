"""Libraries that a plugin needs: found, refused and loaded as by the dynamic linker, by every command alike."""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from test_loader import HELP, ON_X86, SEARCH, Check, check, english_object, found, library, plugin
from test_refusals import problems, refused

import hardpoint
from hardpoint.cli import main
from hardpoint.contracts import Greeter
from hardpoint.elf import linker_cache, processor, search_path
from hardpoint.elf.reader import open_elf
from hardpoint.preflight import loader
from hardpoint.preflight.platform import host_glibc

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Compiler, RunPython

__all__ = ["check", "english_object"]  # fixtures
GIVES = "int help(void); int help(void) { return 1; }"
TLS = '__thread char big[%d] __attribute__((tls_model("initial-exec"))); int help(void); int help(void) { return big[1]; }'


def helper_in(folder: Path) -> Path:
    return folder / f"lib{folder.name}.so"


def beside(compiler: Compiler, folder: Path, code: str = GIVES, *words: str) -> Path:
    """A plugin, and the library that it needs beside it, under a name that no other test has loaded."""
    helper = library(compiler, helper_in(folder), code, f"-Wl,-soname,{helper_in(folder).name}", *words)
    return plugin(compiler, folder / "x.so", HELP, str(helper), "-Wl,-rpath,$ORIGIN")


def opened(path: Path) -> str:
    """The errors of a process that opens the file with dlopen."""
    words = [sys.executable, "-c", "import ctypes, sys; ctypes.CDLL(sys.argv[1])", str(path)]
    return subprocess.run(words, capture_output=True, text=True, check=False).stderr


def same_verdict(path: Path, check: Check) -> hardpoint.Problem:
    """The only problem of a file, by load and by check."""
    [problem] = problems(refused(path, hardpoint.IncompatibleError))
    assert found(check(path)[1]) == [(problem.code, problem.found)]
    return problem


# -- what dlopen does without, or refuses ------------------------------------------------------------------------------


@pytest.mark.parametrize("whose", ["plugin", "library"])
def test_an_auxiliary_library_may_be_missing(compiler: Compiler, tmp_path: Path, check: Check, whose: str) -> None:
    words = ["-Wl,-f,libnowhere.so"]
    helper = library(compiler, helper_in(tmp_path), GIVES, *(words if whose == "library" else []))
    more = words if whose == "plugin" else []
    path = plugin(compiler, tmp_path / "x.so", HELP, str(helper), "-Wl,-rpath,$ORIGIN", *more)
    status, outcome = check(path)
    assert (status, found(outcome)) == (0, [])
    assert hardpoint.load(path, Greeter).lang() == "English"


def test_a_filter_may_not_be_missing(compiler: Compiler, tmp_path: Path, check: Check) -> None:
    path = beside(compiler, tmp_path, GIVES, "-Wl,-F,libnowhere.so")
    status, outcome = check(path)
    [problem] = outcome["plugins"][0]["problems"]
    assert (status, problem["found"]) == (1, SEARCH)
    assert problem["needs"] == f"the library libnowhere.so, which {helper_in(tmp_path).name} (needed by x.so) needs"


def test_the_empty_name_is_the_programs(compiler: Compiler, tmp_path: Path, check: Check) -> None:
    """As the path of a library that is needed, it is already loaded: the dynamic linker knows the program by it."""
    helper = library(compiler, tmp_path / "libhelper.so", "int other;", "-Wl,-soname,libempty.so")
    path = plugin(compiler, tmp_path / "x.so", "extern int nothing;", "-Wl,--no-as-needed", str(helper))
    path.write_bytes(path.read_bytes().replace(b"libempty.so\0", bytes(12)))
    assert found(check(path)[1]) == []
    assert hardpoint.load(path, Greeter).lang() == "English"


def test_an_executable_stack(compiler: Compiler, tmp_path: Path, check: Check) -> None:
    path = beside(compiler, tmp_path, GIVES, "-Wl,-z,execstack")
    problem = same_verdict(path, check)
    assert (problem.code, problem.needs) == (
        "executable-stack",
        f"the library {helper_in(tmp_path).name} with a non-executable stack",
    )
    assert problem.found == f"{helper_in(tmp_path)}, which asks for an executable one"


def test_a_flag_that_forbids_dlopen(compiler: Compiler, tmp_path: Path, check: Check) -> None:
    problem = same_verdict(beside(compiler, tmp_path, GIVES, "-Wl,-z,nodlopen"), check)
    assert (problem.code, problem.needs) == ("no-dlopen", f"a library {helper_in(tmp_path).name} that dlopen may open")
    assert problem.found == f"{helper_in(tmp_path)}, which was linked with -z nodlopen (DF_1_NOOPEN)"


def test_static_tls_that_no_process_has_left(compiler: Compiler, tmp_path: Path, check: Check) -> None:
    own = plugin(compiler, tmp_path / "own/x.so", TLS % 5000)
    problem = same_verdict(own, check)
    assert (problem.code, problem.found) == ("static-tls-size", "5000 bytes of static TLS")
    assert problem.needs == "at most 2048 bytes of static thread-local storage (TLS)"
    problem = same_verdict(beside(compiler, tmp_path, TLS % 5000), check)
    assert problem.found == f"{helper_in(tmp_path)} with 5000 bytes of static TLS"


def test_static_tls_that_a_tunable_makes_room_for(
    compiler: Compiler, tmp_path: Path, run_python: RunPython, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = plugin(compiler, tmp_path / "x.so", TLS % 5000)
    code = (
        f"import hardpoint\nfrom hardpoint.contracts import Greeter\nplugin = hardpoint.load({str(path)!r}, Greeter)\n"
    )
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.rtld.optional_static_tls=8192")
    done = run_python(code + "print(plugin.lang(), hardpoint.info(plugin).warnings[0].found)")
    assert done.stdout == "English 5000 bytes of static TLS\n"


def test_much_dynamic_tls_is_no_static_tls(compiler: Compiler, tmp_path: Path, check: Check) -> None:
    """The flag DF_STATIC_TLS can come from another library's variable."""
    code = f'static __thread char big[5000]; extern __thread int other __attribute__((tls_model("initial-exec")));\n{GIVES}'
    code += "char *use(int at); char *use(int at) { return big + at + other; }"
    helper = library(compiler, tmp_path / "libtls.so", "__thread int other;", "-Wl,-soname,libtls.so")
    path = plugin(compiler, tmp_path / "x.so", code, str(helper), "-Wl,-rpath,$ORIGIN")
    status, outcome = check(path)
    assert (status, found(outcome)) == (0, [("static-tls", "5000 bytes of static TLS")])
    assert hardpoint.load(path, Greeter).lang() == "English"


@pytest.mark.parametrize("soname", ["libc.so.6", "libm.so.6"])
def test_a_soname_of_glibc(compiler: Compiler, tmp_path: Path, check: Check, soname: str) -> None:
    path = plugin(compiler, tmp_path / "x.so", "extern int nothing;", f"-Wl,-soname,{soname}")
    problem = same_verdict(path, check)
    assert problem[:3] == ("soname-glibc", "a soname of its own", f"{soname}, a library of glibc")


def test_a_soname_of_the_program(
    compiler: Compiler, tmp_path: Path, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dynamic linker takes the preloaded plugin for the program's library; dlopen does not."""
    helper = library(compiler, tmp_path / "libprogram.so", GIVES, "-Wl,-soname,libprogram.so")
    (tmp_path / "main.c").write_text("int help(void); int main(void) { return help(); }")
    compiler.run(str(tmp_path / "main.c"), str(helper), "-Wl,-rpath,$ORIGIN", "-o", str(tmp_path / "program"))
    linker, _ = loader.program()
    monkeypatch.setattr(loader, "program", lambda: (linker, str(tmp_path / "program")))
    path = plugin(compiler, tmp_path / "x.so", "extern int nothing;", "-Wl,-soname,libprogram.so")
    status, outcome = check(path)
    assert (status, found(outcome)) == (
        0, [("loader-unasked", "none: the program itself needs a library of its soname, libprogram.so")],
    )  # fmt: skip
    assert hardpoint.load(path, Greeter).lang() == "English"


def test_packed_relocations_without_their_version(compiler: Compiler, tmp_path: Path, check: Check) -> None:
    if (here := host_glibc()) is None or here < (2, 36):
        pytest.skip("ld.so tests it since glibc 2.36")
    words = ["-Wl,-z,pack-relative-relocs"]
    code = '#include <stdlib.h>\nchar *use(void);\nchar *use(void) { return getenv("x"); }'
    path = plugin(compiler, tmp_path / "x.so", code, *words)
    data = path.read_bytes()
    if b"GLIBC_ABI_DT_RELR" not in data:
        pytest.skip("this linker does not pack relocations")
    hashed = struct.pack("<I", _hash(b"GLIBC_ABI_DT_RELR"))
    assert data.count(hashed) == 1
    data = data.replace(hashed, struct.pack("<I", _hash(b"GLIBC_2.2.5")))
    at = data.index(b"GLIBC_ABI_DT_RELR\0")
    path.write_bytes(data[:at] + b"GLIBC_2.2.5".ljust(17, b"\0") + data[at + 17 :])
    problem = same_verdict(path, check)
    assert problem[:3] == (
        "relr-version", "the symbol version GLIBC_ABI_DT_RELR", "packed relocations (DT_RELR) without it",
    )  # fmt: skip
    with pytest.raises(OSError, match="DT_RELR without GLIBC_ABI_DT_RELR dependency"):
        ctypes.CDLL(str(path))


def _hash(name: bytes) -> int:
    """Hash a name as ELF's own tables do (gABI)."""
    value = 0
    for byte in name:
        value = (value << 4) + byte
        high = value & 0xF0000000
        value = (value ^ high >> 24) & ~high
    return value


# -- where it is found -------------------------------------------------------------------------------------------------


def test_what_is_not_a_file_is_refused_as_the_linker_would_open_it(
    compiler: Compiler, tmp_path: Path, check: Check
) -> None:
    """It would wait for a FIFO's writer for ever, and refuses a folder."""
    path = beside(compiler, tmp_path)
    helper = helper_in(tmp_path)
    for make in (os.mkfifo, os.mkdir):
        helper.unlink()
        make(helper)
        problem = same_verdict(path, check)
        assert problem[:3] == (
            "needed-damaged", f"a readable library {helper.name}", f"{helper}: not a regular file",
        )  # fmt: skip
        assert problem.fix == "remove it, or take its folder off the search path"


def test_a_fifo_that_is_needed_by_its_path(compiler: Compiler, tmp_path: Path, check: Check) -> None:
    helper = library(compiler, tmp_path / "libhelper.so", GIVES)
    path = plugin(compiler, tmp_path / "x.so", HELP, str(helper))
    helper.unlink()
    os.mkfifo(helper)
    assert same_verdict(path, check).found == f"{helper}: not a regular file"


@ON_X86
def test_the_variant_for_this_processor_is_the_one_that_is_checked(
    compiler: Compiler, tmp_path: Path, check: Check
) -> None:
    names = processor.variants()
    if not names:
        pytest.skip("no variants for this processor")
    path = beside(compiler, tmp_path)
    helper = helper_in(tmp_path)
    for name in reversed(names):  # the plain one is good, and of the variants always the highest is taken
        variant = tmp_path / "glibc-hwcaps" / name / helper.name
        variant.parent.mkdir(parents=True)
        variant.write_bytes(helper.read_bytes()[:5000])
        problem = same_verdict(path, check)
        assert problem.code == "needed-damaged"
        assert problem.found.startswith(f"{variant} with 5000 bytes")
    for name in ("x86-64-v5", "x86-64-v1", "other"):
        shutil.copytree(tmp_path / "glibc-hwcaps" / names[0], tmp_path / "glibc-hwcaps" / name)
    for name in names:
        shutil.copy(helper, tmp_path / "glibc-hwcaps" / name / helper.name)
    assert found(check(path)[1]) == []
    assert hardpoint.load(path, Greeter).lang() == "English"


def test_the_variants_of_older_glibcs(compiler: Compiler, tmp_path: Path, check: Check) -> None:
    names = processor.older_variants()
    if not names:
        pytest.skip("glibc 2.37 and newer search none")
    path = beside(compiler, tmp_path)
    for name in reversed(names):
        variant = tmp_path / name / helper_in(tmp_path).name
        variant.parent.mkdir(parents=True, exist_ok=True)
        variant.write_bytes(b"a text" * 100)
        assert same_verdict(path, check).found.startswith(f"{variant} with a file that starts")
        assert f"OSError: {variant}: " in opened(path)  # in a new process, since ld.so remembers what folders are there


def test_variants_in_the_cache(compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache names them by numbers, in an extension at its end (dl-cache.h of glibc)."""
    if not processor.variants():
        pytest.skip("no variants for this processor")
    files = [tmp_path / name for name in ("plain", "best", "unfit")]
    names = {"best": processor.variants()[0], "unfit": "x86-64-v9"}
    for file in files:
        file.touch()
    path = library(compiler, tmp_path / "x.so", GIVES)
    count = len(files)
    strings, at = bytearray(), 48 + 24 * count

    def put(text: str) -> int:
        strings.extend(text.encode() + b"\0")
        return at + len(strings) - len(text) - 1

    entries = b"".join(
        struct.pack("<IIIIQ", 0x0303, put("libcached.so"), put(str(file)), 0,
                    1 << 62 | [*names].index(file.name) if file.name in names else 0)
        for file in files
    )  # fmt: skip
    offsets = struct.pack("<2I", *map(put, names.values()))
    while len(strings) % 4:
        strings.append(0)
    extension = at + len(strings)
    header = b"glibc-ld.so.cache1.1" + struct.pack("<IIB3xI12x", count, len(strings), 2, extension)
    end = struct.pack("<II", 0xEAA42174, 1) + struct.pack("<IIII", 1, 0, extension + 24, len(offsets)) + offsets
    (tmp_path / "cache").write_bytes(header + entries + strings + end)
    monkeypatch.setattr(linker_cache, "_CACHE", str(tmp_path / "cache"))
    with open_elf(str(path)) as elf:
        assert search_path.find("libcached.so", elf, None) == str(tmp_path / "best")
        (tmp_path / "best").unlink()
        assert search_path.find("libcached.so", elf, None) == str(tmp_path / "plain")


def test_the_working_folder_and_semicolons_in_search_paths(
    compiler: Compiler, tmp_path: Path, run_python: RunPython, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = library(compiler, tmp_path / "lib/libhelper.so", GIVES, "-Wl,-soname,libhelper.so")
    plain = plugin(compiler, tmp_path / "plain.so", HELP, str(helper))
    empty = plugin(compiler, tmp_path / "empty.so", HELP, str(helper), "-Wl,-rpath,:/nowhere")
    code = f"""
import os, sys, hardpoint, hardpoint.cli
from hardpoint.contracts import Greeter
os.chdir({str(helper.parent)!r})
path = sys.argv[1]
print(hardpoint.cli.main(["check", path]), hardpoint.load(path, Greeter).lang())
"""
    said = ": fits greeter 1.0 (english 2.4.1)\n0 English\n"

    def run(path: Path) -> str:
        return run_python(code.replace("sys.argv[1]", repr(str(path)))).stdout.removeprefix(str(path))

    assert run(empty).endswith("0 English\n"), said
    for folders in (f":{tmp_path}/nowhere", f"{tmp_path}/nowhere;{helper.parent}", ";"):
        monkeypatch.setenv("LD_LIBRARY_PATH", folders)
        assert run(plain).endswith("0 English\n")


def test_a_name_of_kilobytes_is_cut(compiler: Compiler, tmp_path: Path, check: Check) -> None:
    name = "a" * 5000 + ".so"
    helper = library(compiler, tmp_path / "libhelper.so", GIVES, f"-Wl,-soname,{name}")
    path = plugin(compiler, tmp_path / "x.so", HELP, str(helper))
    [problem] = problems(refused(path, hardpoint.IncompatibleError))
    assert problem.needs == f"the library {'a' * 200}… (5003 characters)"
    assert len(str(check(path)[1])) < 4000


def test_data_beside_a_plugin_is_no_failure(
    compiler: Compiler, tmp_path: Path, check: Check, capsys: pytest.CaptureFixture[str]
) -> None:
    helper = library(
        compiler, tmp_path / "libdata.so", "const int table[] = {1, 2, 3};", "-nostdlib", "-Wl,-z,separate-code"
    )
    plugin(
        compiler, tmp_path / "x.so", "extern int table[]; int *use(void); int *use(void) { return table; }", str(helper)
    )
    assert main(["list", str(tmp_path)]) == 0
    assert "not a plugin" in capsys.readouterr().out


def test_the_host_has_libraries_that_a_worker_lacks(compiler: Compiler, tmp_path: Path, run_python: RunPython) -> None:
    helper = library(compiler, tmp_path / "libhelper.so", GIVES)
    path = plugin(compiler, tmp_path / "x.so", HELP)
    code = f"""
import ctypes, hardpoint
from hardpoint.contracts import Greeter
ctypes.CDLL({str(helper)!r}, ctypes.RTLD_GLOBAL)
print(hardpoint.load({str(path)!r}, Greeter).lang())
try:
    hardpoint.load({str(path)!r}, Greeter, isolated=True)
except hardpoint.LoadError as error:
    print(error)
"""
    first, second = run_python(code).stdout.splitlines()
    assert first == "English"
    assert "undefined symbol: help" in second
    assert second.endswith(
        "this process could load it, and the plugin's own, which starts without the libraries that this one has loaded, "
        "could not: link the plugin with every library that it uses"
    )


def test_a_library_of_the_host_hides_a_damaged_one(compiler: Compiler, tmp_path: Path, run_python: RunPython) -> None:
    path = beside(compiler, tmp_path / tmp_path.name)
    own = helper_in(tmp_path / tmp_path.name)
    (tmp_path / "host").mkdir()
    loaded = shutil.copy(own, tmp_path / "host" / own.name)
    own.write_bytes(own.read_bytes()[:5000])
    code = f"import ctypes, hardpoint.cli\nctypes.CDLL({str(loaded)!r})\nprint(hardpoint.cli.main(['check', {str(path)!r}]))"
    said = run_python(code).stdout
    assert said.endswith("\n0\n")
    assert "  warning soname-loaded\n" in said
    assert f"    found  {loaded} (the other is damaged, with 5000 bytes, while " in said


def test_two_libraries_of_one_soname_when_loading_fails(
    compiler: Compiler, tmp_path: Path, run_python: RunPython
) -> None:
    """The symbol is in the library that is not taken."""
    words = ["-Wl,-soname,libtwo.so"]
    for name, more in (("a", "int help"), ("b", "int only(void) { return 1; } int help")):
        helper = library(compiler, tmp_path / name / "libtwo.so", f"{more}(void) {{ return 1; }}", *words)
        code = HELP if name == "a" else HELP.replace("help", "only")
        plugin(compiler, tmp_path / name / "x.so", code, str(helper), "-Wl,-rpath,$ORIGIN")
    code = f"""
import hardpoint
from hardpoint.contracts import Greeter
hardpoint.load("{tmp_path}/a/x.so", Greeter)
try:
    hardpoint.load("{tmp_path}/b/x.so", Greeter)
except hardpoint.LoadError as error:
    print(*[problem.code for problem in error.problems])
    print(error)
"""
    said = run_python(code).stdout
    assert said.startswith("undefined-symbol soname-loaded\n")
    assert f"needs the library {tmp_path}/b/libtwo.so, found {tmp_path}/a/libtwo.so, which is loaded before it" in said


def test_a_fifo_in_the_search_path_of_the_process(
    compiler: Compiler, tmp_path: Path, run_python: RunPython, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dynamic linker opens it even when it is only asked whether a library of that name is loaded."""
    path = beside(compiler, tmp_path)
    (tmp_path / "fifo").mkdir()
    os.mkfifo(tmp_path / "fifo" / helper_in(tmp_path).name)
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{tmp_path}/fifo")
    said = run_python(f"import hardpoint.cli\nprint(hardpoint.cli.main(['check', {str(path)!r}]))").stdout
    assert said.endswith("\n1\n")
    assert f"    found  {tmp_path}/fifo/{helper_in(tmp_path).name}: not a regular file\n" in said
