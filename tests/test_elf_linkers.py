"""What GNU ld, gold, lld and mold make of C and C++ with their usual flags: checked, loaded and called."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from typing import TYPE_CHECKING

import pytest
from conftest import ROOT
from test_elf import EVERY, libraries
from test_integrity import CXX, THREAD_LOCAL

import hardpoint
from hardpoint.contracts import Greeter
from hardpoint.elf.integrity import examine
from hardpoint.elf.reader import ElfError, ElfFile

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Compiler

LARGE = r"""
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>
#include "greeter.h"
namespace {
thread_local std::string last("none yet, in a string that is too long to stand in the object itself");
thread_local std::map<std::string, int> counts;
std::mutex lock;
struct Base { virtual ~Base() = default; virtual std::string say(const std::string &name) const = 0; };
struct English : Base {
    std::string say(const std::string &name) const override {
        if (name == "throw") throw std::runtime_error("thrown");
        return "Hello, " + name;
    }
};
const std::vector<std::function<std::string(std::string)>> table = {[](std::string text) { return text + "!"; }};
std::unique_ptr<Base> base = std::make_unique<English>();
}
template <typename T> __attribute__((visibility("default"))) T &single() { static T value{}; return value; }
template <typename T> inline int visible(T x) { static int calls; return ++calls + (int)x; }
static hp_status greet(void *, const char *name, size_t size, hp_out *out) {
    try {
        std::lock_guard<std::mutex> hold(lock);
        last = std::string(name, size);
        counts[last] += visible(1) + single<int>();
        const std::string text = table[0](base->say(last));
        return hp_write(out, text.data(), text.size());
    } catch (const std::exception &error) {
        return hp_puts(out, error.what());
    }
}
static hp_status lang(void *, hp_out *out) { return hp_puts(out, "English"); }
GREETER_PLUGIN("large", "1.0.0", .greet = greet, .lang = lang);
"""
INDIRECT = r"""
#include "greeter.h"
static int one(void) { return 1; }
static int (*choose(void))(void) { return one; }
int pick(void) __attribute__((ifunc("choose"), visibility("default")));
static int own(void) __attribute__((ifunc("choose")));
int (*pointer)(void) = own;
static hp_status greet(void *self, const char *name, size_t size, hp_out *out) {
    return (void)self, pick() + own() + pointer() == 3 ? hp_write(out, name, size) : HP_FAILED;
}
static hp_status lang(void *self, hp_out *out) { return (void)self, hp_puts(out, "English"); }
GREETER_PLUGIN("indirect", "1.0.0", .greet = greet, .lang = lang);
"""
SOURCES = {
    "c": (ROOT / "native_plugins/english/english.c").read_text(),
    "thread-local": THREAD_LOCAL,
    "indirect": INDIRECT,
    "c++": CXX,
    "large-c++": LARGE,
}
LINKERS = {"bfd": "ld.bfd", "gold": "ld.gold", "lld": "ld.lld", "mold": "mold"}
FLAGS = {
    "O2": ("-O2",),
    "O0": ("-O0", "-g"),
    "hidden": ("-O2", "-fvisibility=hidden", "-fvisibility-inlines-hidden"),
    "lto": ("-O2", "-flto", "-fvisibility=hidden"),
    "gc": ("-O2", "-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections"),
    "icf": ("-O2", "-ffunction-sections", "-Wl,--icf=all"),
    "strip": ("-O2", "-s"),
    "symbolic": ("-O2", "-Wl,-Bsymbolic"),
    "packed": ("-O2", "-Wl,-z,pack-relative-relocs"),
    "lazy": ("-O2", "-Wl,-z,lazy", "-Wl,-z,norelro"),
    "now": ("-O2", "-Wl,-z,now,-z,relro"),
    "whole": ("-O2", "-Wl,-z,noseparate-code"),
    "static": ("-O2", "-static-libstdc++", "-static-libgcc"),
    "noplt": ("-O2", "-fno-plt"),
    "sysv": ("-O2", "-Wl,--hash-style=sysv"),
    "emit": ("-O2", "-Wl,--emit-relocs"),
    "initial": ("-O2", "-ftls-model=initial-exec"),
    "uncombined": ("-O2", "-Wl,-z,nocombreloc"),
    "version": ("-O2", f"-Wl,--version-script={ROOT}/contract/hardpoint.map"),
    "untold": ("-O2", "-fno-asynchronous-unwind-tables", "-s"),
    "no-header": ("-O2", "-Wl,--no-eh-frame-hdr"),
    "coverage": ("-O1", "--coverage"),
    "compressed": ("-O2", "-g", "-Wl,--compress-debug-sections=zlib"),
}
NOT_THERE = ("unrecognized", "unknown", "not supported", "does not support", "undefined", "--icf", "-z ")
SAMPLE = {
    ("c", "mold", "packed"),
    ("c", "lld", "O2"),
    ("thread-local", "gold", "O0"),
    ("thread-local", "mold", "lto"),
    ("indirect", "mold", "O2"),
    ("c++", "gold", "hidden"),
    ("c++", "lld", "strip"),
}


@cache
def compiler_for(source: str) -> str:
    name = "c++" if "c++" in source else "cc"
    if shutil.which(name) is None:
        pytest.skip(f"there is no {name}")
    return name


def link(folder: Path, source: str, linker: str, words: tuple[str, ...]) -> Path:
    """Build a greeter; skip where the linker is missing or does not know the flags."""
    if shutil.which(LINKERS[linker]) is None:
        pytest.skip(f"{LINKERS[linker]} is not installed")
    if linker == "lld" and "-flto" in words:
        pytest.skip("lld reads no objects of gcc's -flto")
    compiler, target = compiler_for(source), folder / f"{source}.so"
    text = folder / f"source.{'cc' if compiler == 'c++' else 'c'}"
    text.write_text(SOURCES[source])
    standard = ["-std=gnu++20"] if compiler == "c++" else ["-std=gnu11"]
    words = ("-w", "-fPIC", "-shared", f"-I{ROOT}/contract", f"-fuse-ld={linker}", *words, str(text), "-o", str(target))
    done = subprocess.run(
        [compiler, *standard, *words, "-pthread"],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    if done.returncode and any(phrase in done.stderr for phrase in NOT_THERE):
        pytest.skip(f"{linker} does not know it: {done.stderr.strip().splitlines()[0]}")
    assert done.returncode == 0, done.stderr
    return target


@pytest.mark.parametrize(
    ("source", "linker", "flags"),
    [
        pytest.param(*each, marks=() if each in SAMPLE else pytest.mark.long)
        for each in ((source, linker, flags) for source in SOURCES for linker in LINKERS for flags in FLAGS)
    ],
)
def test_a_library_of_each_linker(tmp_path: Path, source: str, linker: str, flags: str) -> None:
    library = link(tmp_path, source, linker, FLAGS[flags])
    if flags == "packed" and not taken_by_ld_so(library):  # since glibc 2.36, unless it says GLIBC_ABI_DT_RELR
        with library.open("rb") as file:
            examine(ElfFile(file.fileno()))
        return
    assert "World" in hardpoint.load(library, Greeter).greet("World")


RUST = """
use std::cell::RefCell;
thread_local!(static LAST: RefCell<String> = RefCell::new(String::from("none")));
#[no_mangle] pub extern "C" fn answer(x: i32) -> i32 {
    LAST.with(|last| last.borrow_mut().push_str(&format!("{x}")));
    std::panic::catch_unwind(|| vec![1, 2, 3][x as usize]).unwrap_or(-1)
}
"""


@pytest.mark.long
@pytest.mark.parametrize("words", [(), ("-O",), ("-O", "-Clto"), ("-Cpanic=abort", "-O"), ("-Cstrip=symbols",)])
@pytest.mark.parametrize("linker", LINKERS)
def test_rust(tmp_path: Path, linker: str, words: tuple[str, ...]) -> None:
    for tool in ("rustc", LINKERS[linker]):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    (tmp_path / "answer.rs").write_text(RUST)
    command = ["rustc", "--crate-type=cdylib", f"-Clink-arg=-fuse-ld={linker}", *words, "-oanswer.so", "answer.rs"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert taken_by_ld_so(tmp_path / "answer.so")
    with (tmp_path / "answer.so").open("rb") as file:
        examine(ElfFile(file.fileno()))


# -- ld.so's own verdict ---------------------------------------------------------------------------------------------


LOADER = {"x86_64": "/lib64/ld-linux-x86-64.so.2", "aarch64": "/lib/ld-linux-aarch64.so.1"}[os.uname().machine]


def taken_by_ld_so(library: Path) -> bool:
    """True if the dynamic linker loads and relocates it; in its trace mode, none of the library's code runs."""
    environment = {**os.environ, "LD_TRACE_LOADED_OBJECTS": "1", "LD_WARN": "1", "LD_BIND_NOW": "1"}
    done = subprocess.run([LOADER, str(library)], env=environment, capture_output=True, check=False, timeout=60)
    return done.returncode == 0


def damage(elf: ElfFile) -> ElfError | None:
    try:
        examine(elf)
    except ElfError as error:
        return error
    return None


@EVERY
def test_what_ld_so_takes_is_not_damaged(share: int) -> None:
    """Over the libraries of the machine; the other way round, it takes what crashes later."""
    compared = 0
    for path, _, ours in libraries(share, "/usr/lib", os.path.expanduser("~/.rustup")):
        if ours.executable:
            continue
        if damage(ours) is None:
            compared += 1
        else:
            assert not taken_by_ld_so(path), f"{path} has {damage(ours)}"
    assert compared > 20 // share


def test_a_library_of_data_alone_beside_a_plugin(compiler: Compiler, tmp_path: Path) -> None:
    """As ICU's libicudata: without code, start functions and the C library."""
    (tmp_path / "data.s").write_text(
        '.globl table\n.type table, "object"\n.size table, 8\n.data\ntable: .quad 5\n.section .note.GNU-stack,""\n'
    )
    compiler.run("-shared", "-nostdlib", "-o", f"{tmp_path}/libtable.so", f"{tmp_path}/data.s")
    code = THREAD_LOCAL.replace("calls++", "{ extern long table; calls += (int)table; }")
    words = (f"-L{tmp_path}", "-ltable", f"-Wl,-rpath,{tmp_path}")
    assert hardpoint.load(compiler.text("beside", code, *words), Greeter).greet("x") == "x"


@pytest.mark.parametrize(("flag", "loaded"), [("-f", True), ("-F", False)], ids=["auxiliary", "filter"])
def test_a_filter_of_a_library_that_is_missing(compiler: Compiler, flag: str, loaded: bool) -> None:
    """DT_AUXILIARY may be missing (NVIDIA's libnvtx3interop names one that nobody has), DT_FILTER may not."""
    library = compiler.library("english/english.c", f"-Wl,{flag},libmissing-{loaded}.so")
    if loaded:
        assert hardpoint.load(library, Greeter).lang() == "English"
        return
    with pytest.raises(hardpoint.IncompatibleError) as caught:
        hardpoint.load(library, Greeter)
    assert [problem.code for problem in caught.value.problems] == ["needed-missing"]


@pytest.mark.parametrize("flag", ["-f", "-F"])
def test_a_filter_of_a_library_that_is_there(compiler: Compiler, flag: str) -> None:
    library = compiler.library("english/english.c", f"-Wl,{flag},libm.so.6")
    assert hardpoint.load(library, Greeter).lang() == "English"
