"""hardpoint build: sources, flags and errors."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from conftest import ROOT
from elftools.elf.elffile import ELFFile
from languages import zig

import hardpoint
from hardpoint.contracts import Greeter

if TYPE_CHECKING:
    from pathlib import Path

ENGLISH = (ROOT / "native_plugins/english/english.c").read_text()
ENGLISH_CPP = (ROOT / "native_plugins/english_cpp/english_cpp.cpp").read_text()
HAS_CXX = any(map(shutil.which, ("c++", "g++", "clang++")))
FITS = "english.so: fits greeter 1.0 (english 1.0.0)\n"


class Build(Protocol):
    def __call__(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Run the command in a folder with english.c, without flags from the environment."""

    def command(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
        kept = {
            key: value for key, value in os.environ.items() if key not in {"CC", "CXX", "CFLAGS", "CXXFLAGS", "LDFLAGS"}
        }
        done = subprocess.run(
            [sys.executable, "-m", "hardpoint", "build", *words],
            cwd=tmp_path, env={**kept, **env}, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        assert not list(tmp_path.glob(".hardpoint*"))
        return done

    (tmp_path / "english.c").write_text(ENGLISH)
    return command


def test_one_source(build: Build, tmp_path: Path) -> None:
    done = build("english.c")
    assert (done.returncode, done.stdout, done.stderr) == (0, FITS, "")
    with hardpoint.loaded(tmp_path / "english.so", Greeter) as plugin:
        assert plugin.greet("World") == "Hello, World! Nice to meet you."


def test_the_default_is_every_source_in_the_folder(build: Build, tmp_path: Path) -> None:
    (tmp_path / "english.c").write_text(ENGLISH.replace("static hp_status lang", "hp_status lang", 1).replace(
        'return hp_puts(out, "English")', "return elsewhere(out)"
    ).replace("hp_status lang", "hp_status elsewhere(hp_out *out);\nstatic hp_status lang"))  # fmt: skip
    (tmp_path / "other.c").write_text(
        '#include "hardpoint.h"\nhp_status elsewhere(hp_out *out);\n'
        'hp_status elsewhere(hp_out *out) { return hp_puts(out, "elsewhere"); }\n'
    )
    done = build()
    library = tmp_path / f"{tmp_path.name}.so"
    assert (done.returncode, done.stdout) == (0, f"{library.name}: fits greeter 1.0 (english 1.0.0)\n")
    with hardpoint.loaded(library, Greeter) as plugin:
        assert plugin.lang() == "elsewhere"


@pytest.mark.skipif(not HAS_CXX, reason="there is no C++ compiler")
def test_cpp_and_c_together(build: Build, tmp_path: Path) -> None:
    (tmp_path / "english.cc").write_text(ENGLISH_CPP.replace(
        'return "English"', "return c_name()").replace("namespace {", 'extern "C" const char *c_name();\nnamespace {')
    )  # fmt: skip
    (tmp_path / "english.c").write_text('const char *c_name(void);\nconst char *c_name(void) { return "C"; }\n')
    done = build("english.cc", "-o", "both.so", "english.c")
    assert (done.returncode, done.stdout) == (0, "both.so: fits greeter 1.0 (english_cpp 1.0.0)\n"), done.stderr
    with hardpoint.loaded(tmp_path / "both.so", Greeter) as plugin:
        assert plugin.lang() == "C"


def test_the_flags(build: Build, tmp_path: Path) -> None:
    (tmp_path / "english.c").write_text(f"{ENGLISH}\nint not_exported(void);\nint not_exported(void) {{ return 0; }}\n")
    assert build("english.c").returncode == 0
    with (tmp_path / "english.so").open("rb") as file:
        elf = ELFFile(file)
        symbols: Any = elf.get_section_by_name(".dynsym")
        tags: Any = elf.get_section_by_name(".dynamic")
        exported = [symbol.name for symbol in symbols.iter_symbols()
                    if symbol["st_shndx"] != "SHN_UNDEF"]  # fmt: skip
        dynamic = {tag.entry.d_tag: tag.entry.d_val for tag in tags.iter_tags()}
        segments = {segment["p_type"]: segment["p_flags"] for segment in elf.iter_segments()}
        assert elf.has_dwarf_info()
    assert exported == ["hardpoint_greeter_v1"]
    assert dynamic["DT_FLAGS_1"] & 1  # DF_1_NOW
    assert "PT_GNU_RELRO" in segments
    assert segments["PT_GNU_STACK"] & 1 == 0  # PF_X


LANG = """static hp_status lang(void *self, hp_out *out) {
    (void)self;
    return hp_puts(out, "English");
}"""
MISTAKES = {
    "undeclared": "static hp_status lang(void *self, hp_out *out) { return undeclared(self, out); }",
    "implicit-int": 'static helper(void) { return 0; }\nstatic hp_status lang(void *self, hp_out *out) { (void)self; return hp_puts(out, helper() ? "" : ""); }',
    "int-conversion": "static hp_status lang(void *self, hp_out *out) { (void)self; return hp_puts(out, 5L + self == NULL); }",
    "pointers": "static hp_status lang(void *self, hp_out *out) { int *p = &out->len; (void)self; return *p; }",
    "no-return": 'static hp_status lang(void *self, hp_out *out) { (void)self; hp_status s = hp_puts(out, ""); (void)s; }',
    "no-value": "static hp_status lang(void *self, hp_out *out) { (void)self; (void)out; return; }",
    "missing-parameter": "static hp_status lang(void *self) { (void)self; return HP_OK; }",
    "parameter-too-many": 'static hp_status lang(void *self, int x, hp_out *out) { (void)self; (void)x; return hp_puts(out, ""); }',
    "no-parameters": "static hp_status lang() { return HP_OK; }",
    "parameters-swapped": 'static hp_status lang(hp_out *out, void *self) { (void)self; return hp_puts(out, ""); }',
    "result": 'static const char *lang(void *self, hp_out *out) { (void)self; (void)out; return ""; }',
}  # fmt: skip
"""Mistakes that older compilers only warn of, and newer ones refuse."""
COMPILERS = [
    pytest.param({}, id="cc"),
    pytest.param(
        {"CC": " ".join(zig("cc"))},
        marks=[pytest.mark.skipif(find_spec("ziglang") is None, reason="there is no ziglang"), pytest.mark.long],
        id="clang",
    ),
]


@pytest.mark.parametrize("env", COMPILERS)
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_does_not_build(build: Build, tmp_path: Path, mistake: str, env: dict[str, str]) -> None:
    assert LANG in ENGLISH
    (tmp_path / "english.c").write_text(ENGLISH.replace(LANG, MISTAKES[mistake]))
    done = build("english.c", **env)
    assert (done.returncode, done.stdout) == (1, "")
    assert ": error: " in done.stderr


@pytest.mark.skipif(not HAS_CXX, reason="there is no C++ compiler")
@pytest.mark.parametrize(
    "lang",
    [
        pytest.param("std::string_view lang() const { }", id="no-return"),
        pytest.param(
            "std::string_view lang(std::string_view name) const { return name; }",
            id="parameter-too-many",
            marks=pytest.mark.long,
        ),
    ],
)
def test_a_mistake_in_cpp_does_not_build(build: Build, tmp_path: Path, lang: str) -> None:
    right = 'std::string_view lang() const { return "English"; }'
    assert right in ENGLISH_CPP
    (tmp_path / "english.cpp").write_text(ENGLISH_CPP.replace(right, lang))
    done = build("english.cpp")
    assert (done.returncode, done.stdout) == (1, "")
    assert ": error: " in done.stderr


def test_posix_is_declared(build: Build, tmp_path: Path) -> None:
    """With -std=c11 strndup was not: it returned an int, so that the pointer was cut and the call crashed."""
    copy = "char *copy = strndup(name, name_len);"
    source = ENGLISH.replace("hp_write(out, name, name_len)", "hp_puts(out, copy)").replace(
        "    hp_status status", f"    {copy}\n    hp_status status"
    )
    (tmp_path / "english.c").write_text(source)
    assert build("english.c").stdout == FITS
    with hardpoint.loaded(tmp_path / "english.so", Greeter) as plugin:
        assert plugin.greet("World") == "Hello, World! Nice to meet you."


@pytest.mark.parametrize("standard", ["c11", "gnu17"])
def test_a_method_that_does_not_match_its_slot_does_not_compile(tmp_path: Path, standard: str) -> None:
    """Also without hardpoint build: the header's macro makes it an error, with any flags."""
    source = ENGLISH.replace("const char *name, size_t name_len, hp_out *out", "const char *name, hp_out *out").replace(
        "hp_write(out, name, name_len)", "hp_puts(out, name)"
    )
    words = [
        "gcc",
        f"-std={standard}",
        "-fPIC",
        f"-I{ROOT / 'contract'}",
        "-c",
        "-o",
        str(tmp_path / "x.o"),
        "-xc",
        "-",
    ]
    done = subprocess.run(words, input=source, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "incompatible pointer type" in done.stderr
    # The rest of the file has the warnings that its author chose.
    other = f"{ENGLISH}\nint *cast(long *x);\nint *cast(long *x) {{ return x; }}\n"
    words += ["-Wno-incompatible-pointer-types"]
    assert subprocess.run(words, input=other, text=True, check=False).returncode == 0
    assert subprocess.run(words, input=source, text=True, capture_output=True, check=False).returncode == 1


def test_an_undefined_symbol_fails_at_once(build: Build, tmp_path: Path) -> None:
    source = ENGLISH.replace(
        'return hp_puts(out, "English");', "extern hp_status nowhere(hp_out *); return nowhere(out);"
    )
    (tmp_path / "english.c").write_text(source)
    done = build("english.c")
    assert done.returncode == 1
    assert "undefined reference to `nowhere'" in done.stderr
    assert done.stderr.endswith("hardpoint: english.so: cc failed with status 1; its messages are above\n")


def test_a_header_that_is_missing_can_be_generated(build: Build, tmp_path: Path) -> None:
    (tmp_path / "mine.h").touch()
    (tmp_path / "english.c").write_text('#include "mine.h"\n#include "hardpoint.h"\n#include "filter.h"\n')
    assert build("english.c").stderr.endswith(
        "hardpoint: english.c: cc failed with status 1; its messages are above; the header of a contract is written by "
        "`hardpoint header MODULE:CLASS >filter.h`\n"
    )


def floats_of_a_host(library: Path) -> str:
    """Compute half of the smallest normal double in a process that has opened the library."""
    code = f"import ctypes; ctypes.CDLL({str(library)!r}); print(2.2250738585072014e-308 / 2)"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("flag", ["-ffast-math", "-Ofast", "-funsafe-math-optimizations"])
def test_fast_math_leaves_the_hosts_floats_alone(build: Build, tmp_path: Path, flag: str) -> None:
    (tmp_path / "english.c").write_text(f"#ifdef __FAST_MATH__\n#define NAME 1\n#endif\n{ENGLISH}")
    assert build("english.c", CFLAGS=flag).stdout == FITS
    assert floats_of_a_host(tmp_path / "english.so") == "1.1125369292536007e-308"
    assert build("english.c", "--", flag).stdout == FITS
    assert floats_of_a_host(tmp_path / "english.so") == "1.1125369292536007e-308"
    done = build("--verbose", "english.c", "--", flag)
    compiling, linking = done.stderr.splitlines()
    assert f" {flag} -c english.c" in compiling
    assert flag not in linking


def test_the_users_flags_come_last(build: Build, tmp_path: Path) -> None:
    (tmp_path / "english.c").write_text(ENGLISH.replace('"English"', "NAME"))
    env = {"CFLAGS": "-DNAME='\"from CFLAGS\"'", "LDFLAGS": "-Wl,--build-id=0xabcd"}
    assert build("english.c", **env).stdout == FITS
    data = (tmp_path / "english.so").read_bytes()
    assert (b"from CFLAGS" in data, b"\xab\xcd" in data) == (True, True)
    assert build("english.c", "-o", "two.so", "--", "-UNAME", '-DNAME="behind"', **env).returncode == 0
    assert b"behind" in (tmp_path / "two.so").read_bytes()


@pytest.mark.skipif(shutil.which("ar") is None, reason="there is no ar")
def test_a_static_library_behind_the_dashes(build: Build, tmp_path: Path) -> None:
    (tmp_path / "one.c").write_text("int one(void);\nint one(void) { return 1; }\n")
    (tmp_path / "english.c").write_text(
        f"int one(void);\n{ENGLISH.replace('hp_puts(out', 'hp_puts(one() ? out : NULL')}"
    )
    subprocess.run(["gcc", "-fPIC", "-c", "one.c"], cwd=tmp_path, check=True)
    subprocess.run(["ar", "rcs", "libone.a", "one.o"], cwd=tmp_path, check=True)
    for words in (["./libone.a"], ["one.o"], ["-Xlinker", "libone.a"]):
        done = build("english.c", "--", *words)
        assert (done.returncode, done.stdout, done.stderr) == (0, FITS, "")


@pytest.mark.skipif(find_spec("ziglang") is None, reason="there is no ziglang")
@pytest.mark.parametrize(
    "name", ["english.c", pytest.param("english.cpp", marks=pytest.mark.long)]
)  # zig makes a libc++ first
def test_clang_in_several_words(build: Build, tmp_path: Path, name: str) -> None:
    if name == "english.cpp" and not HAS_CXX:
        pytest.skip("there is no C++ compiler, and zig would make a C++ library first, for minutes")
    (tmp_path / "english.cpp").write_text(ENGLISH_CPP)
    done = build(name, CC=" ".join(zig("cc")), CXX=" ".join(zig("c++")))
    assert (done.returncode, done.stderr) == (0, "")
    with hardpoint.loaded(tmp_path / "english.so", Greeter) as plugin:
        assert plugin.greet("World") == "Hello, World! Nice to meet you."


def test_a_library_that_a_host_has_open_is_replaced_and_not_rewritten(build: Build, tmp_path: Path) -> None:
    assert build("english.c").returncode == 0
    library = tmp_path / "english.so"
    with library.open("rb") as file:
        before = file.read()
        (tmp_path / "english.c").write_text(ENGLISH.replace("Hello", "Moin"))
        assert build("english.c").returncode == 0
        file.seek(0)
        assert file.read() == before != library.read_bytes()
    # It also stays when the next one cannot be compiled.
    now = library.read_bytes()
    (tmp_path / "english.c").write_text("oops\n")
    done = build("english.c")
    assert done.returncode == 1
    assert "error:" in done.stderr
    assert done.stderr.endswith("hardpoint: english.c: cc failed with status 1; its messages are above\n")
    assert library.read_bytes() == now


def test_a_library_that_does_not_fit_is_reported(build: Build, tmp_path: Path) -> None:
    (tmp_path / "english.c").write_text(ENGLISH.replace(", .lang = lang", "").replace(
        "static hp_status lang", "static __attribute__((unused)) hp_status lang"))  # fmt: skip
    done = build("english.c", "--", "-Wno-missing-field-initializers")
    assert done.returncode == 1
    assert done.stdout.startswith("english.so: does not fit greeter 1.0 (english 1.0.0)\n  problem ")
    (tmp_path / "english.c").write_text("int nothing;\n")
    done = build("english.c")
    assert done.returncode == 1
    assert "a manifest (an ELF note with the owner 'hardpoint')" in done.stdout
    (tmp_path / "english.c").write_text(ENGLISH)
    done = build("english.c", "--contract", "hardpoint.contracts:Transformer")
    assert (done.returncode, done.stdout.splitlines()[0]) == (1, "english.so: does not fit transformer 1.0")


INSTALL = {
    "CC": "cc, gcc, clang): apt-get install gcc libc6-dev, or pip install ziglang and CC='python3 -m ziglang cc'",
    "CXX": "c++, g++, clang++): apt-get install g++, or pip install ziglang and CXX='python3 -m ziglang c++'",
}


@pytest.mark.parametrize(("variable", "name", "language"), [("CC", "a.c", "C"), ("CXX", "a.cxx", "C++")])
def test_no_compiler(build: Build, tmp_path: Path, variable: str, name: str, language: str) -> None:
    (tmp_path / name).write_text("")
    done = build(name, PATH=str(tmp_path), CC="", CXX="")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"hardpoint: a {language} compiler is missing ({INSTALL[variable]}\n"
    done = build(name, **{variable: "no-such-cc -m64"})
    package = {"CC": "gcc libc6-dev", "CXX": "g++"}[variable]
    assert done.stderr == (
        f"hardpoint: the {language} compiler {variable}=no-such-cc -m64 was not found; correct {variable}, or install it: "
        f"apt-get install {package}\n"
    )


def test_wrong_words(build: Build, tmp_path: Path) -> None:
    done = build("english.rs")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "hardpoint: english.rs is not a source in C or C++ (.c, .cpp, .cc, .cxx); put arguments of the compiler or linker "
        "after --\n"
    )
    done = build("english.c", "-o", "no/such/english.so")
    assert done.stderr == "hardpoint: no/such/english.so: the directory no/such does not exist; create it\n"
    done = build("gone.c")
    assert (done.returncode, done.stderr) == (3, "hardpoint: gone.c: there is no such file; check the path\n")
    done = build("english.c", "-Wl,-O1")
    assert (done.returncode, "unknown: -Wl,-O1" in done.stderr) == (2, True)
    (tmp_path / "english.c").unlink()
    done = build()
    assert done.stderr == f"hardpoint: no .c, .cpp, .cc, .cxx file found in {tmp_path}; name the sources\n"
