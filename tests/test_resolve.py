"""The search for needed libraries, compared with ldd(1)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hardpoint.elf import search_path
from hardpoint.elf.reader import ElfFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Compiler, RunPython

USER = "int base(void); int user(void); int user(void) { return base(); }"
BASE = "int base(void); int base(void) { return 1; }"


@contextmanager
def opened(path: Path | str) -> Iterator[ElfFile]:
    fd = os.open(path, os.O_RDONLY)
    try:
        yield ElfFile(fd)
    finally:
        os.close(fd)


def _ldd(path: Path) -> dict[str, str | None]:
    """Return the files that ldd names for the libraries that a file needs itself; None for those not found."""
    done = subprocess.run(["ldd", str(path)], capture_output=True, text=True, check=False)
    found = re.findall(r"^\s*(\S+) => (not found|/\S+)", done.stdout, re.MULTILINE)
    return {name: None if where == "not found" else where for name, where in found}


def _is_linked(path: Path) -> bool:
    """True if it is a 64-bit library or program."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(18)
    return start.startswith(b"\x7fELF\2\1") and start[16:18] in {b"\2\0", b"\3\0"}


def _some_files() -> list[Path]:
    """Return about thirty libraries and programs of the machine, evenly spread."""
    folders = [Path("/usr/lib"), Path(f"/usr/lib/{os.uname().machine}-linux-gnu"), Path("/usr/bin")]
    files = [path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir()) if _is_linked(path)]
    return files[:: len(files) // 30 + 1]


def test_needed_libraries_of_the_machine_are_found_where_ldd_finds_them() -> None:
    compared = 0
    for path in _some_files():
        theirs = _ldd(path)
        with opened(path) as elf:
            for name in elf.needed:
                if name not in theirs or name.startswith("ld-linux"):
                    continue
                found = search_path.find(name, elf, str(path.parent))
                where = theirs[name]
                assert (found is None) == (where is None), f"{path} needs {name}: {found}, not {where}"
                if found and where:
                    assert os.path.samefile(found, where), f"{path} needs {name}: {found}, not {where}"
                compared += 1
    assert compared > 20


@pytest.fixture
def pair(compiler: Compiler, tmp_path: Path) -> Path:
    """A folder with libuser.so, which needs lib/libhpbase.so and finds it by its RUNPATH."""
    (tmp_path / "lib").mkdir()
    for name, code in (("user", USER), ("base", BASE)):
        (tmp_path / f"{name}.c").write_text(code)
    compiler.run("-shared", "-fPIC", "-o", f"{tmp_path}/lib/libhpbase.so", f"{tmp_path}/base.c")
    _link(compiler, tmp_path, "-Wl,--enable-new-dtags,-rpath,$ORIGIN/lib")
    return tmp_path


def _link(compiler: Compiler, folder: Path, *words: str) -> Path:
    target = folder / "libuser.so"
    compiler.run("-shared", "-fPIC", "-o", str(target), f"{folder}/user.c", f"-L{folder}/lib", "-lhpbase", *words)
    return target


def test_origin_in_a_runpath(pair: Path) -> None:
    with opened(pair / "libuser.so") as elf:
        assert elf.needed[0] == "libhpbase.so"
        assert search_path.find("libhpbase.so", elf, str(pair)) == f"{pair}/lib/libhpbase.so"
        assert search_path.find("libhpbase.so", elf, "/nowhere") is None
        assert search_path.uses_origin(elf)
    assert _ldd(pair / "libuser.so")["libhpbase.so"] == f"{pair}/lib/libhpbase.so"


@pytest.mark.parametrize(
    ("words", "origin"),
    [
        ("-Wl,--enable-new-dtags,-rpath,${ORIGIN}/lib", True),
        ("-Wl,--disable-new-dtags,-rpath,$ORIGIN/lib", True),
        ("-Wl,-rpath,/nowhere:{folder}/lib", False),
    ],
    ids=["braces", "rpath", "absolute"],
)
def test_other_search_paths(compiler: Compiler, pair: Path, words: str, origin: bool) -> None:
    library = _link(compiler, pair, words.replace("{folder}", str(pair)))
    with opened(library) as elf:
        assert search_path.find("libhpbase.so", elf, str(pair)) == f"{pair}/lib/libhpbase.so"
        assert search_path.uses_origin(elf) == origin
        assert (search_path.find("libhpbase.so", elf, None) is None) == origin


def test_a_library_that_is_not_found(compiler: Compiler, pair: Path) -> None:
    library = _link(compiler, pair)
    with opened(library) as elf:
        assert search_path.find("libhpbase.so", elf, str(pair)) is None
        assert not search_path.uses_origin(elf)
    assert _ldd(library)["libhpbase.so"] is None


def test_ld_library_path_goes_before_runpath_and_after_rpath(
    compiler: Compiler, pair: Path, run_python: RunPython, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = pair / "other"
    shutil.copytree(pair / "lib", other)
    code = f"""
import os
from hardpoint.elf import search_path
from hardpoint.elf.reader import ElfFile
elf = ElfFile(os.open("{pair}/libuser.so", os.O_RDONLY))
print(search_path.find("libhpbase.so", elf, "{pair}"))
"""
    monkeypatch.setenv("LD_LIBRARY_PATH", f"/nowhere:{other}")
    for words, folder in (("--enable-new-dtags", other), ("--disable-new-dtags", pair / "lib")):
        library = _link(compiler, pair, f"-Wl,{words},-rpath,$ORIGIN/lib")
        assert run_python(code).stdout == f"{folder}/libhpbase.so\n"
        assert _ldd(library)["libhpbase.so"] == f"{folder}/libhpbase.so"


def test_a_loaded_library_is_matched_by_its_soname(compiler: Compiler, pair: Path, run_python: RunPython) -> None:
    """The dynamic linker takes a loaded library with that SONAME, whatever its file is called."""
    compiler.run("-shared", "-fPIC", "-Wl,-soname,libhpbase.so.1", "-o", f"{pair}/libhpbase.so.1.2.3", f"{pair}/base.c")
    code = f"""
import ctypes, os, sys
from hardpoint.elf import search_path
from hardpoint.elf.reader import ElfFile
elf = ElfFile(os.open("{pair}/libuser.so", os.O_RDONLY))
print(search_path.find("libhpbase.so.1", elf, None))
ctypes.CDLL("{pair}/libhpbase.so.1.2.3")
print(search_path.find("libhpbase.so.1", elf, None))
"""
    assert run_python(code).stdout == f"None\n{pair}/libhpbase.so.1.2.3\n"


def test_a_needed_name_with_a_slash_is_a_path(compiler: Compiler, pair: Path) -> None:
    target = pair / "libslash.so"
    compiler.run("-shared", "-fPIC", "-o", str(target), f"{pair}/user.c", f"{pair}/lib/libhpbase.so")
    with opened(target) as elf:
        assert elf.needed[0] == f"{pair}/lib/libhpbase.so"
        assert search_path.find(elf.needed[0], elf, None) == f"{pair}/lib/libhpbase.so"
        assert search_path.find("$ORIGIN/lib/libhpbase.so", elf, str(pair)) == f"{pair}/lib/libhpbase.so"
        assert search_path.find("$ORIGIN/lib/libhpbase.so", elf, None) is None
        assert search_path.find("./missing/libhpbase.so", elf, str(pair)) is None


def test_a_file_of_another_machine_is_skipped(compiler: Compiler, pair: Path) -> None:
    """As by the dynamic linker, which continues with the next folder."""
    wrong = pair / "wrong"
    wrong.mkdir()
    data = bytearray((pair / "lib/libhpbase.so").read_bytes())
    data[18:20] = b"\xb7\0"
    (wrong / "libhpbase.so").write_bytes(data)
    library = _link(compiler, pair, f"-Wl,-rpath,{wrong}:{pair}/lib")
    with opened(library) as elf:
        assert search_path.find("libhpbase.so", elf, str(pair)) == f"{pair}/lib/libhpbase.so"
    assert _ldd(library)["libhpbase.so"] == f"{pair}/lib/libhpbase.so"


def test_the_versions_that_a_library_has() -> None:
    with opened(sys.executable) as elf:
        libc = search_path.find("libc.so.6", elf, None)
    assert libc is not None
    assert "GLIBC_2.17" in (search_path.versions_of(libc) or set())
    assert search_path.versions_of("/nowhere") is None
    assert search_path.versions_of(__file__) is None
