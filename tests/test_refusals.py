"""One library for each way not to fit: refused with the right class, fields and message, before any of it runs."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import pytest
from conftest import open_parents
from languages import zig

import hardpoint
from hardpoint.cli import main
from hardpoint.contracts import Greeter, Transformer

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Compiler, Fresh, RunPython

REBUILD = "rebuild the plugin with the header of this contract (`hardpoint header`)"
MANIFEST = "rebuild the plugin with its contract's header, which writes the manifest"
COPY = "copy, download or build it again"


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of a file that the library creates if its code runs."""
    path = tmp_path / "ran"
    monkeypatch.setenv("HARDPOINT_RAN", str(path))
    return path


def refused(
    path: Path | str, kind: type[hardpoint.HardpointError], contract: type = Greeter
) -> hardpoint.HardpointError:
    with pytest.raises(hardpoint.HardpointError) as caught:
        hardpoint.load(path, contract)
    assert type(caught.value) is kind
    assert caught.value.path == str(path)
    assert str(caught.value).startswith(f"{path}".replace("\0", "\\x00"))
    return caught.value


def problems(error: hardpoint.HardpointError) -> tuple[hardpoint.Problem, ...]:
    assert isinstance(error, (hardpoint.NotAPluginError, hardpoint.IncompatibleError))
    for problem in error.problems:
        assert str(problem) in str(error)
    return error.problems


# -- files that are not libraries --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["no/such/file.so", "", "a\0b", "/etc/passwd/x.so"])
def test_missing(path: str) -> None:
    error = refused(path, hardpoint.PluginNotFoundError)
    shown = path.replace("\0", "\\x00")
    assert str(error) == f"{shown}: there is no such file; check the path, or build the plugin"


def test_a_dangling_link(tmp_path: Path) -> None:
    (tmp_path / "link.so").symlink_to(tmp_path / "gone.so")
    refused(tmp_path / "link.so", hardpoint.PluginNotFoundError)


def test_a_link_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "link.so").symlink_to(tmp_path / "link.so")
    [problem] = problems(refused(tmp_path / "link.so", hardpoint.NotAPluginError))
    assert problem[:3] == ("file-unreadable", "a readable file", "Too many levels of symbolic links")


SPECIAL: dict[str, tuple[Callable[[Path], object], str]] = {
    "directory": (lambda path: path.mkdir(), "a directory"),
    "fifo": (os.mkfifo, "a FIFO"),
    "socket": (lambda path: socket.socket(socket.AF_UNIX).bind(str(path)), "a socket"),
}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("name", SPECIAL)
def test_special_files(tmp_path: Path, name: str) -> None:
    make, found = SPECIAL[name]
    make(tmp_path / "x.so")
    [problem] = problems(refused(tmp_path / "x.so", hardpoint.NotAPluginError))
    assert problem == ("file-kind", "a regular file", found, "give the path of a .so file", True)


def test_a_device() -> None:
    [problem] = problems(refused("/dev/null", hardpoint.NotAPluginError))
    assert problem[:3] == ("file-kind", "a regular file", "a character device")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "x.so").touch(mode=0)
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:  # root can read everything
                open_parents(tmp_path)
                os.setuid(65534)
            [problem] = problems(refused(tmp_path / "x.so", hardpoint.NotAPluginError))
            assert problem[:3] == ("file-unreadable", "a readable file", "Permission denied")
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


CONTENTS = {
    "empty": (b"", "an empty file"),
    "text": (b"hello, world\n", "a file that starts with b'hello, w'"),
    "script": (b"#!/bin/sh\n", "a script"),
    "archive": (b"!<arch>\nrest", "a static library (.a)"),
    "windows": (b"MZ\x90\0", "a Windows DLL or program"),
    "zip": (b"PK\x03\x04", "a zip file or wheel"),
    "zeros": (bytes(5000), r"a file that starts with b'\x00\x00\x00\x00\x00\x00\x00\x00'"),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_a_file_that_is_not_elf(tmp_path: Path, name: str) -> None:
    content, found = CONTENTS[name]
    (tmp_path / "x.so").write_bytes(content)
    [problem] = problems(refused(tmp_path / "x.so", hardpoint.NotAPluginError))
    assert problem == (
        "elf-magic",
        "a shared object (.so)",
        found,
        "give the path of the file that the linker wrote",
        True,
    )


# -- ELF files of other kinds ------------------------------------------------------------------------------------------


PROGRAM = "int main(void) { return 0; }\n"


@pytest.mark.parametrize("flags", [["-pie", "-fPIE"], ["-no-pie"], ["-static"]], ids=lambda flags: flags[0])
def test_an_executable(compiler: Compiler, tmp_path: Path, flags: list[str]) -> None:
    (tmp_path / "program.c").write_text(PROGRAM)
    compiler.run(*flags, "-o", str(tmp_path / "program"), str(tmp_path / "program.c"))
    [problem] = problems(refused(tmp_path / "program", hardpoint.NotAPluginError))
    assert problem == ("elf-type", "a shared object (.so)", "an executable", "link it with -shared", True)


def test_an_object_file(compiler: Compiler, tmp_path: Path) -> None:
    (tmp_path / "program.c").write_text(PROGRAM)
    compiler.run("-c", "-o", str(tmp_path / "program.o"), str(tmp_path / "program.c"))
    [problem] = problems(refused(tmp_path / "program.o", hardpoint.NotAPluginError))
    assert problem[:3] == ("elf-type", "a shared object (.so)", "an object file (.o)")


def test_a_debug_companion(english: Path, tmp_path: Path) -> None:
    companion = tmp_path / "english.so.debug"
    subprocess.run(["objcopy", "--only-keep-debug", str(english), str(companion)], check=True)
    [problem] = problems(refused(companion, hardpoint.NotAPluginError))
    assert problem == (
        "elf-debug",
        "a library with its code",
        "debug information without the code",
        "give the library itself, not its .debug companion",
        True,
    )


def test_a_library_of_constants_alone(compiler: Compiler, tmp_path: Path) -> None:
    (tmp_path / "constants.c").write_text("extern const int answer; const int answer = 42;\n")
    compiler.run("-shared", "-nostdlib", "-o", str(tmp_path / "x.so"), str(tmp_path / "constants.c"))
    [problem] = problems(refused(tmp_path / "x.so", hardpoint.NotAPluginError))
    assert problem == (
        "elf-no-code",
        "a library with code",
        "a shared object without any code",
        "compile it from sources that have functions",
        True,
    )


def test_a_library_with_more_than_is_read(english: Path, tmp_path: Path) -> None:
    data = bytearray(english.read_bytes())
    data[60:62] = (5000).to_bytes(2, "little")
    (tmp_path / "x.so").write_bytes(data)
    [problem] = problems(refused(tmp_path / "x.so", hardpoint.NotAPluginError))
    assert problem == (
        "elf-too-large",
        "tables within the limits of the ELF reader",
        "5000 section headers, where at most 4096 are read",
        "link it with fewer symbols (-fvisibility=hidden) or notes, or report it if a linker wrote it so",
        True,
    )


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_download(english: Path, tmp_path: Path, share: float) -> None:
    data = english.read_bytes()
    (tmp_path / "x.so").write_bytes(data[: int(len(data) * share)])
    [problem] = problems(refused(tmp_path / "x.so", hardpoint.NotAPluginError))
    assert (problem.code, problem.needs, problem.fix) == ("elf-truncated", "a complete file", COPY)


def greeter_for(target: str, out: Path, *words: str) -> Path:
    """Compile a greeter for another machine or libc; needs none of its libraries."""
    root = Path(__file__).parent.parent
    subprocess.run(
        [*zig("cc", target), "-shared", "-fPIC", "-O1", f"-I{root / 'contract'}",
         str(root / "native_plugins/english/english.c"), "-o", str(out), *words],
        check=True,
    )  # fmt: skip
    return out


def test_another_machine(tmp_path: Path) -> None:
    other = {"x86_64": "aarch64", "aarch64": "x86_64"}[os.uname().machine]
    found, needed = {"aarch64": ("AArch64", "x86-64"), "x86_64": ("x86-64", "AArch64")}[other]
    path = greeter_for(f"{other}-linux-gnu.2.31", tmp_path / "other.so")
    [problem] = problems(refused(path, hardpoint.IncompatibleError))
    assert problem == ("elf-machine", f"a library for {needed}", found, f"build it for {needed}", True)


def test_segments_for_smaller_pages(compiler: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux on AArch64 may have pages larger than 4 KiB; here this kernel pretends to."""
    monkeypatch.setattr("hardpoint.preflight.platform.PAGE", 16384)
    path = compiler.library("english/english.c", "-Wl,-z,max-page-size=4096")
    [problem] = problems(refused(path, hardpoint.IncompatibleError))
    assert problem == (
        "page-size",
        "segments for this kernel's pages of 16384 bytes",
        "ones for smaller pages",
        "link it with -Wl,-z,max-page-size=65536",
        True,
    )
    fits = compiler.library("english/english.c", "-Wl,-z,max-page-size=65536")
    assert hardpoint.load(fits, Greeter).lang() == "English"


def test_32_bits(tmp_path: Path) -> None:
    (tmp_path / "x.c").write_text("int nothing(void) { return 0; }")
    subprocess.run(
        [*zig("cc", "x86-linux-gnu"), "-shared", "-nostdlib", str(tmp_path / "x.c"),
         "-o", str(tmp_path / "x.so")],
        check=True,
    )  # fmt: skip
    [problem] = problems(refused(tmp_path / "x.so", hardpoint.IncompatibleError))
    assert problem == (
        "elf-class",
        "a 64-bit little-endian library",
        "a 32-bit little-endian ELF file for i386",
        "build it for x86-64 or AArch64",
        True,
    )


# -- requirements on the system ----------------------------------------------------------------------------------------


MUSL = "build it on a system with glibc, such as debian:bookworm, not on Alpine and not with musl-gcc"


def test_a_library_for_musl(tmp_path: Path) -> None:
    path = greeter_for(f"{os.uname().machine}-linux-musl", tmp_path / "musl.so", "-lc")
    [problem] = problems(refused(path, hardpoint.IncompatibleError))
    assert problem == ("libc-musl", "a library built for glibc", "one built for musl (it needs libc.so)", MUSL, True)


def test_a_library_from_alpine(compiler: Compiler, tmp_path: Path) -> None:
    """The C library there is libc.musl-x86_64.so.1; linking with an empty library of that name is enough."""
    name = "libc.musl-x86_64.so.1"
    (tmp_path / "libc.c").write_text("int nothing(void) { return 0; }")
    compiler.run("-shared", "-nostdlib", f"-Wl,-soname,{name}", "-o", str(tmp_path / name), str(tmp_path / "libc.c"))
    words = ["-nostdlib", "-Wl,-z,undefs", "-Wl,--no-as-needed", str(tmp_path / name)]
    [problem] = problems(refused(compiler.library("english/english.c", *words), hardpoint.IncompatibleError))
    assert problem == ("libc-musl", "a library built for glibc", f"one built for musl (it needs {name})", MUSL, True)


def test_a_host_on_musl(english: Path, fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    """The libc's name comes from confstr(3), and musl does not have that key."""

    def confstr(name: str) -> str:
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(os, "confstr", confstr)
    problem = problems(refused(fresh(english), hardpoint.IncompatibleError))[0]
    assert problem[:2] == ("host-libc", "a host that runs on glibc")
    assert problem.fix == "run it on Debian, Ubuntu, Fedora or another system with glibc, or in such a container"


def test_a_host_on_another_machine(english: Path, fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hardpoint.preflight.platform.host_machine", lambda: None)
    [problem] = problems(refused(fresh(english), hardpoint.IncompatibleError))
    machine = os.uname().machine
    assert problem == ("host-machine", "a host on x86-64 or AArch64", machine, "run it on one of these", True)


def test_a_glibc_that_is_too_new(english: Path, fresh: Fresh) -> None:
    """A version's name is changed in the file: 2.14, of memcpy on x86-64, or 2.17, the oldest on AArch64."""
    path = fresh(english)
    path.write_bytes(re.sub(rb"GLIBC_2\.1[47]\0", b"GLIBC_2.99\0", path.read_bytes()))
    here = os.confstr("CS_GNU_LIBC_VERSION").split()[1]  # type: ignore[union-attr]
    [problem] = problems(refused(path, hardpoint.IncompatibleError))
    assert problem == (
        "glibc-version",
        f"symbols of glibc {here} or older",
        "symbols of glibc 2.99",
        f"build it on a system with glibc {here} or older, or run the host on a newer one",
        True,
    )


def dependency(compiler: Compiler, tmp_path: Path, code: str, *words: str) -> Path:
    (tmp_path / "libhelper.c").write_text(code)
    compiler.run("-shared", "-fPIC", "-o", str(tmp_path / "libhelper.so"), str(tmp_path / "libhelper.c"), *words)
    return tmp_path / "libhelper.so"


def test_a_missing_library(compiler: Compiler, tmp_path: Path) -> None:
    helper = dependency(compiler, tmp_path, "int nothing(void) { return 0; }", "-Wl,-soname,libhelper.so.7")
    path = compiler.library("english/english.c", "-Wl,--no-as-needed", str(helper))
    [problem] = problems(refused(path, hardpoint.IncompatibleError))
    assert problem == (
        "needed-missing",
        "the library libhelper.so.7",
        "none on the dynamic linker's search path",
        "install it (apt-file search finds the package), or add its folder to the plugin's RUNPATH",
        True,
    )


def test_a_version_that_a_library_does_not_have(compiler: Compiler, fresh: Fresh, tmp_path: Path) -> None:
    (tmp_path / "map").write_text("HELPER_7.1 { global: help; local: *; };")
    words = ["-Wl,-soname,libhelper.so", f"-Wl,--version-script={tmp_path / 'map'}"]
    helper = dependency(compiler, tmp_path, "int help(void) { return 0; }", *words)
    (tmp_path / "use.c").write_text("int help(void); int use(void); int use(void) { return help(); }")
    words = ["-fvisibility=default", str(tmp_path / "use.c"), str(helper), f"-Wl,-rpath,{tmp_path}"]
    path = fresh(compiler.library("english/english.c", *words), "versions.so")
    assert hardpoint.load(path, Greeter).lang() == "English"
    older = fresh(path, "older.so")
    older.write_bytes(path.read_bytes().replace(b"HELPER_7.1\0", b"HELPER_7.2\0"))
    [problem] = problems(refused(older, hardpoint.IncompatibleError))
    assert problem == (
        "version-missing",
        "HELPER_7.2 of libhelper.so",
        f"{helper} without it",
        "install a newer libhelper.so, or build the plugin on an older system",
        True,
    )


def test_a_path_that_the_dynamic_loader_would_change(compiler: Compiler, tmp_path: Path, ran: Path) -> None:
    """For $PLATFORM.so, dlopen would open x86_64.so, which was not checked."""
    shutil.copy(compiler.library("broken.c"), tmp_path / "$PLATFORM.so")
    shutil.copy(compiler.library("broken.c"), tmp_path / f"{os.uname().machine}.so")
    [problem] = problems(refused(tmp_path / "$PLATFORM.so", hardpoint.IncompatibleError))
    assert problem[:3] == ("path-token", "a path without $ORIGIN, $LIB and $PLATFORM", str(tmp_path / "$PLATFORM.so"))
    assert not ran.exists()


def test_a_sanitizer_that_the_host_does_not_run_with(compiler: Compiler) -> None:
    """It would end the process in dlopen."""
    [problem] = problems(
        refused(compiler.library("english/english.c", "-fsanitize=address"), hardpoint.IncompatibleError)
    )
    assert problem.code == "sanitizer"
    assert problem.needs.startswith("a host started with libasan.so.")
    library = problem.needs.removeprefix("a host started with ")
    preload = f'ASAN_OPTIONS=detect_leaks=0 LD_PRELOAD="$(cc -print-file-name={library})"'
    assert problem.fix == f"start the host with {preload}, or build it without -fsanitize"


def test_a_damaged_library_beside_the_plugin(compiler: Compiler, fresh: Fresh, tmp_path: Path) -> None:
    helper = dependency(compiler, tmp_path, "int help(void) { return 0; }", "-Wl,-soname,libneighbour7.so")
    helper = helper.rename(tmp_path / "libneighbour7.so")
    words = ["-Wl,--no-as-needed", str(helper), f"-Wl,-rpath,{tmp_path}"]
    path = fresh(compiler.library("english/english.c", *words), "damaged.so")
    helper.write_bytes(helper.read_bytes()[:5000])
    [problem] = problems(refused(path, hardpoint.IncompatibleError))
    assert (problem.code, problem.needs) == ("needed-damaged", "a well-formed library libneighbour7.so")
    assert problem.found.startswith(f"{helper} with 5000 bytes, while")


def test_a_damaged_library_on_a_path_that_begins_as_the_systems(compiler: Compiler, tmp_path: Path) -> None:
    helper = dependency(compiler, tmp_path, "int help(void) { return 0; }", "-Wl,-soname,libneighbour9.so")
    helper = helper.rename(tmp_path / "libneighbour9.so")
    words = ["-Wl,--no-as-needed", str(helper), f"-Wl,-rpath,/usr/lib/../..{tmp_path}"]
    path = compiler.library("english/english.c", *words)
    helper.write_bytes(helper.read_bytes()[:5000])
    [problem] = problems(refused(path, hardpoint.IncompatibleError))
    assert (problem.code, problem.needs) == ("needed-damaged", "a well-formed library libneighbour9.so")


def test_a_library_for_smaller_pages_beside_the_plugin(
    compiler: Compiler, fresh: Fresh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hardpoint.preflight.dependencies.PAGE", 16384)
    helper = dependency(
        compiler, tmp_path, "int help(void) { return 0; }", "-Wl,-soname,libneighbour8.so,-z,max-page-size=4096"
    )
    helper = helper.rename(tmp_path / "libneighbour8.so")
    words = ["-Wl,--no-as-needed", str(helper), f"-Wl,-rpath,{tmp_path}"]
    [problem] = problems(refused(compiler.library("english/english.c", *words), hardpoint.IncompatibleError))
    assert problem == (
        "page-size",
        "the library libneighbour8.so with segments for this kernel's pages of 16384 bytes",
        f"{helper} with ones for smaller pages",
        "link it with -Wl,-z,max-page-size=65536, or install one for this kernel",
        True,
    )


def test_a_host_without_descriptors_says_nothing_about_the_file(english: Path, run_python: RunPython) -> None:
    code = f"""
import hardpoint, resource
from hardpoint.contracts import Greeter
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
try:
    hardpoint.load({str(english)!r}, Greeter)
except hardpoint.LoadError as error:
    print(error)
"""
    assert run_python(code).stdout == f"{english} cannot be opened now: Too many open files; close some and try again\n"


def test_an_executable_stack(compiler: Compiler) -> None:
    [problem] = problems(
        refused(compiler.library("english/english.c", "-Wl,-z,execstack"), hardpoint.IncompatibleError)
    )
    assert problem[:3] == ("executable-stack", "a non-executable stack", "a library that asks for an executable one")


def test_static_tls_is_a_warning(compiler: Compiler, tmp_path: Path, fresh: Fresh) -> None:
    (tmp_path / "tls.c").write_text("__thread int count; int *where(void); int *where(void) { return &count; }")
    words = [str(tmp_path / "tls.c"), "-ftls-model=initial-exec"]
    plugin = hardpoint.load(fresh(compiler.library("english/english.c", *words)), Greeter)
    [problem] = hardpoint.info(plugin).warnings
    assert (problem.code, problem.fatal) == ("static-tls", False)


def test_a_missing_symbol(compiler: Compiler, ran: Path) -> None:
    """Only the dynamic linker knows; it looks before it runs anything, and its message is quoted."""
    path = compiler.library("broken.c", "-DUNDEFINED", "-DGREET=nowhere", "-Wl,-z,undefs")
    error = refused(path, hardpoint.LoadError)
    assert "in the dynamic linker's words: undefined symbol: nowhere" in str(error)
    assert not ran.exists()


# -- notes, manifests and vtables --------------------------------------------------------------------------------------


class Case(NamedTuple):
    """One way to be broken: the compiler flags that break it, and the problem."""

    flags: list[str]
    code: str
    needs: str
    found: str
    fix: str = REBUILD


def text(name: str, value: str) -> str:
    """Return a -D option whose value is a C string."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'-D{name}="{escaped}"'


GREET, LANG = "greet(name: str) -> str", "lang() -> str"
TABLE = "the exported data symbol hardpoint_greeter_v1"

SMALL = ["-DTYPE=const small_v1", "-DSLOTS=.greet = greet", "-DSIZE=56"]

INCOMPATIBLE = {
    "two notes": Case(
        [text("SECOND_NOTE", '{"abi": "1.0", "contract": "greeter", "version": "1.0", "plugin": "again", "release": "2", '
              '"methods": ["greet(name: str) -> str", "lang() -> str"]}')],
        "manifest-twice", "one plugin for greeter 1", "2: again, broken", "keep one of them in each library",
    ),
    "ABI major 2": Case(
        ['-DHP_NEEDS_ABI="2.0"', "-DMAJOR=2"],
        "abi-major", "a plugin for ABI 1", "ABI 2.0", "use a newer hardpoint, or an older plugin",
    ),
    "ABI major 2 in the manifest alone": Case(
        ['-DHP_NEEDS_ABI="2.0"'],
        "abi-major", "a plugin for ABI 1", "ABI 2.0", "use a newer hardpoint, or an older plugin",
    ),
    "ABI minor 9": Case(
        ['-DHP_NEEDS_ABI="1.9"', "-DMINOR=9"],
        "abi-minor", "a plugin for ABI 1.0 or older", "ABI 1.9",
        "use a newer hardpoint, or build the plugin with HP_NEEDS_ABI set to the ABI that it really needs",
    ),
    "other contract": Case(
        [text("CONTRACT", "singer")],
        "contract-other", "a plugin for greeter 1.0", "one for singer 1.0",
        "load it with that contract's class, or use another plugin",
    ),
    "contract major 2": Case(
        [text("VERSION", "2.0")],
        "contract-major", "a plugin for greeter 1.x", "greeter 2.0",
        "use a plugin for greeter 1, or load it with that version's class",
    ),
    "one changed method": Case(
        [text("METHODS", f'["greet(person: str) -> str", "{LANG}"]')],
        "method-differs", f"method 1 to be {GREET}", "greet(person: str) -> str",
    ),
    "methods in another order": Case(
        [text("METHODS", f'["{LANG}", "{GREET}"]')],
        "method-order", f"the methods in the order {GREET}, {LANG}", f"{LANG}, {GREET}",
    ),
    "a method too few": Case(
        [text("METHODS", f'["{GREET}"]'), *SMALL],
        "method-missing", f"the method {LANG}", "a list that ends after method 1",
    ),
    "a method too many": Case(
        [text("METHODS", f'["{GREET}", "{LANG}", "bow() -> None"]'), "-DTYPE=const large_v1",
         "-DWHOLE=.v1 = {.head = {72, 1, 0, copy}, .greet = greet, .lang = lang}, .bow = lang"],
        "method-unknown", "only the methods of greeter 1.0", "bow() -> None",
    ),
    "symbol missing": Case(
        ["-DSYMBOL=hardpoint_greeter_v7"],
        "symbol-missing", TABLE, "hardpoint_greeter_v7",
        "export it: the contract's macro does, unless a linker script hides it",
    ),
    "symbol a function": Case(
        ["-DSYMBOL_IS_FUNCTION"], "symbol-type", TABLE, "a symbol of another type",
    ),
    "vtable too small": Case(
        SMALL,
        "symbol-size", "hardpoint_greeter_v1 to have 64 bytes, for 2 methods", "56 bytes",
    ),
    "vtable that is not aligned": Case(
        ["-DSYMBOL_IS_ODD"],
        "vtable-alignment", "hardpoint_greeter_v1 at a multiple of 8 bytes", "an address 4 bytes past one",
        "align it to 8 bytes, as compilers do by default",
    ),
    "vtable with another size in it": Case(
        ["-DSIZE=56"], "vtable-size", "a vtable whose size field says 64 bytes", "56 bytes",
    ),
    "vtable of another ABI": Case(
        ["-DMAJOR=3"], "vtable-abi", "a vtable of the manifest's ABI", "3.0, while its manifest says 1.0",
    ),
    "flags that must be known": Case(
        ["-DFLAGS=UINT64_C(1)<<40"], "vtable-flags", "only flags that this host knows", "0x0000010000000000",
        "use a newer hardpoint, or a plugin without that flag",
    ),
    "a NULL slot": Case(
        ["-DGREET=NULL"], "slot-empty", f"the method {GREET}", "an empty slot", "fill it where the plugin's macro is used",
    ),
    "a slot that is no function": Case(
        ["-DGREET=(void *)copy", "-Wno-pedantic"], "slot-not-code", f"a function for {GREET}", "a pointer to something else",
    ),
    "a slot that is no function, in a segment that holds functions too": Case(
        ["-DGREET=(void *)copy", "-Wno-pedantic", "-Wl,-z,noseparate-code"],
        "slot-not-code", f"a function for {GREET}", "a pointer to something else",
    ),
    "a vtable that running code would fill": Case(
        ["-DSYMBOL_IS_EMPTY"], "vtable-empty", "hardpoint_greeter_v1 to be a constant in the file",
        "memory that the file does not initialise (.bss)", "initialise it with constants only",
    ),
    "manifest and vtable disagreeing": Case(
        [text("COPY", "{}")], "vtable-manifest", "a vtable that points to the note's manifest or a copy of it", "another text",
    ),
    "bad JSON": Case(
        [text("NOTE", "{oops")], "manifest-malformed", "a manifest in JSON",
        "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)", MANIFEST,
    ),
    "a forged name": Case(
        [text("PLUGIN", 'english", "contract": "admin')], "manifest-malformed", "a manifest in JSON",
        "a duplicate field", MANIFEST,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", INCOMPATIBLE)
def test_a_plugin_that_does_not_fit(compiler: Compiler, ran: Path, name: str) -> None:
    case = INCOMPATIBLE[name]
    path = compiler.library("broken.c", *case.flags)
    error = refused(path, hardpoint.IncompatibleError)
    assert problems(error) == ((case.code, case.needs, case.found, case.fix, True),)
    assert (
        str(error)
        == f"{path} does not fit greeter 1.0: needs {case.needs}, found {case.found}; {case.fix} [{case.code}]"
    )
    with pytest.raises(hardpoint.IncompatibleError) as caught:
        hardpoint.load(path, Greeter, isolated=True)
    assert (str(caught.value), caught.value.problems) == (str(error), problems(error))
    assert not ran.exists(), "code of the plugin ran"


@pytest.mark.parametrize("name", INCOMPATIBLE)
def test_check_prints_every_part_of_a_problem(
    compiler: Compiler, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    case = INCOMPATIBLE[name]
    path = compiler.library("broken.c", *case.flags)
    assert main(["check", str(path), "--contract", "hardpoint.contracts:Greeter"]) == 1
    shown = capsys.readouterr().out
    assert shown.startswith(f"{path}: does not fit greeter 1.0")
    assert f"  problem {case.code}\n    needs  {case.needs}\n    found  {case.found}\n    do     {case.fix}\n" in shown


REMOVED = "its section .note.hardpoint was left out or removed, as by `strip -R`, `objcopy` or a linker script"
NO_MANIFEST = {
    "no note": (
        ["-DNO_NOTE"],
        f"none, though it has the symbol hardpoint_greeter_v1: {REMOVED}",
        "build it again, and keep that section: strip it without -R, or keep `*(.note.*)` in the linker script",
    ),
    "wrong owner": ([text("OWNER", "someone")], "none, though it has the symbol hardpoint_greeter_v1", REBUILD),
    "no note and no symbol": (["-DNO_NOTE", "-DSYMBOL=other"], "none", REBUILD),
    "a Python extension": (
        ["-DNO_NOTE", "-DSYMBOL=PyInit_broken"],
        "a Python extension module, which is imported, not loaded",
        REBUILD,
    ),
}


@pytest.mark.parametrize("name", NO_MANIFEST)
def test_a_library_without_a_manifest(compiler: Compiler, ran: Path, name: str) -> None:
    flags, found, fix = NO_MANIFEST[name]
    [problem] = problems(refused(compiler.library("broken.c", *flags), hardpoint.NotAPluginError))
    assert problem == ("manifest-missing", "a manifest (an ELF note with the owner 'hardpoint')", found, fix, True)
    assert not ran.exists()


def test_a_malformed_manifest_of_another_contract_is_refused(compiler: Compiler, ran: Path) -> None:
    path = compiler.library("broken.c", text("SECOND_NOTE", '{"contract": "singer"}'))
    [problem] = problems(refused(path, hardpoint.IncompatibleError))
    assert problem[:3] == ("manifest-malformed", "the field 'abi' in the manifest", "none")
    assert not ran.exists()


def test_the_symbol_is_in_a_dependency_only(compiler: Compiler, tmp_path: Path, ran: Path) -> None:
    """dlsym would find it there, but the file itself does not define it."""
    shutil.copy(compiler.library("broken.c", "-DNO_NOTE"), tmp_path / "libhelper.so")
    words = ["-DSYMBOL_IS_ELSEWHERE", str(tmp_path / "libhelper.so"), f"-Wl,-rpath,{tmp_path}"]
    [problem] = problems(refused(compiler.library("broken.c", *words), hardpoint.IncompatibleError))
    assert problem[:3] == ("symbol-missing", TABLE, "an undefined symbol")
    assert not ran.exists()


def test_all_problems_are_reported_at_once(compiler: Compiler, ran: Path) -> None:
    flags = [
        text("METHODS", f'["greet(who: str) -> str", "{LANG}"]'),
        "-DSIZE=8",
        "-DFLAGS=UINT64_C(1)<<63",
        "-Wl,-z,execstack",
    ]
    error = refused(compiler.library("broken.c", *flags), hardpoint.IncompatibleError)
    assert [problem.code for problem in problems(error)] == [
        "executable-stack", "method-differs", "vtable-size", "vtable-flags",
    ]  # fmt: skip
    assert str(error).count("\n  - needs ") == 4
    assert not ran.exists()


# -- versions that do fit ----------------------------------------------------------------------------------------------


@runtime_checkable
@hardpoint.contract("greeter", version="1.2")
class NewerGreeter(Protocol):
    def greet(self, name: str) -> str: ...
    def lang(self) -> str: ...

    @hardpoint.since("1.2")
    def bow(self) -> str:
        return "(bows)"


def test_a_plugin_of_an_older_minor_fits(english: Path, fresh: Fresh) -> None:
    plugin = hardpoint.load(fresh(english), NewerGreeter)
    assert (plugin.lang(), plugin.bow()) == ("English", "(bows)")


def test_a_plugin_of_a_newer_minor_fits(compiler: Compiler, fresh: Fresh) -> None:
    compiler.header(NewerGreeter)
    code = (compiler.folder / "greeter.h").read_text()
    (compiler.folder / "greeter.h").unlink()
    (compiler.folder / "newer_greeter.h").write_text(code)
    source = (Path(__file__).parent.parent / "native_plugins/english/english.c").read_text()
    path = compiler.text(
        "newer", source.replace("greeter.h", "newer_greeter.h").replace(".lang = lang", ".lang = lang, .bow = lang")
    )
    plugin = hardpoint.load(fresh(path), Greeter)
    assert plugin.greet("you") == "Hello, you! Nice to meet you."
    assert not hasattr(plugin, "bow")
    assert hardpoint.load(fresh(path, "again.so"), NewerGreeter).bow() == "English"


def test_a_library_for_another_contract_says_what_it_has(english: Path) -> None:
    [problem] = problems(refused(english, hardpoint.IncompatibleError, Transformer))
    assert (problem.needs, problem.found) == ("a plugin for transformer 1.0", "one for greeter 1.0")


# -- methods that came later -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "advice"),
    [
        ("1.1", "mark it with @since('1.1')"),
        ("1.3", "mark it with @since('1.3')"),
        ("1.0", "mark it with @since('1.1'), and make that its version"),
    ],
)
def test_a_method_whose_since_was_forgotten(english: Path, version: str, advice: str) -> None:
    @hardpoint.contract("greeter", version=version)
    class Grown(Protocol):
        def greet(self, name: str) -> str: ...
        def lang(self) -> str: ...
        def farewell(self, name: str) -> str: ...

    with pytest.raises(hardpoint.IncompatibleError) as caught:
        hardpoint.load(english, Grown)
    missing = caught.value.problems[0]
    assert (missing.code, missing.needs) == ("method-missing", "the method farewell(name: str) -> str")
    assert missing.fix == (
        "rebuild the plugin with the header of this contract (`hardpoint header`); or, if the contract got it after the "
        f"plugin was built, {advice}"
    )


def test_a_method_that_was_inserted_is_one_problem(english: Path) -> None:
    @hardpoint.contract("greeter", version="1.1")
    class Grown(Protocol):
        def greet(self, name: str) -> str: ...
        def farewell(self, name: str) -> str: ...
        def lang(self) -> str: ...

    [problem] = problems(refused(english, hardpoint.IncompatibleError, Grown))
    assert (problem.code, problem.found) == ("method-order", f"{GREET}, {LANG}")
    assert problem.fix == (
        "a contract grows by appending: move farewell(name: str) -> str to the end of the contract, and mark it with "
        f"@since('1.1'); or {REBUILD}"
    )


def test_a_method_that_the_plugins_contract_inserted(compiler: Compiler) -> None:
    whole = "-DWHOLE=.v1 = {.head = {72, 1, 0, copy}, .greet = greet, .lang = lang}, .bow = lang"
    methods = text("METHODS", f'["{GREET}", "bow() -> None", "{LANG}"]')
    path = compiler.library("broken.c", methods, "-DTYPE=const large_v1", whole)
    assert problems(refused(path, hardpoint.IncompatibleError))[0].fix == (
        "a contract grows by appending: move bow() -> None to the end of the plugin's contract, and mark it with @since; "
        f"or {REBUILD}"
    )


def test_an_empty_slot_of_a_method_whose_since_was_forgotten(compiler: Compiler) -> None:
    @hardpoint.contract("greeter", version="1.1")
    class Grown(Protocol):
        def greet(self, name: str) -> str: ...
        def lang(self) -> str: ...

    path = compiler.library("broken.c", "-DSLOTS=.greet = greet")
    [problem] = problems(refused(path, hardpoint.IncompatibleError, Grown))
    assert (problem.code, problem.fix) == (
        "slot-empty",
        "fill it where the plugin's macro is used; or, if the contract got it in 1.1, mark it with @since('1.1')",
    )


def test_the_first_slot_cannot_have_come_later(compiler: Compiler) -> None:
    @hardpoint.contract("greeter", version="1.1")
    class Grown(Protocol):
        def greet(self, name: str) -> str: ...
        def lang(self) -> str: ...

    [problem] = problems(
        refused(compiler.library("broken.c", "-DSLOTS=.lang = lang"), hardpoint.IncompatibleError, Grown)
    )
    assert (problem.code, problem.fix) == ("slot-empty", "fill it where the plugin's macro is used")


def test_a_method_that_the_plugins_own_version_has(compiler: Compiler) -> None:
    """The plugin says that it has 1.2, with which the method came, and `@since` was not forgotten."""
    path = compiler.library("broken.c", text("VERSION", "1.2"))
    [problem] = problems(refused(path, hardpoint.IncompatibleError, NewerGreeter))
    assert (problem.code, problem.needs, problem.fix) == ("method-missing", "the method bow() -> str", REBUILD)
