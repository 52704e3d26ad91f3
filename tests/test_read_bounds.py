"""Every read has a bound, and none waits: sparse files, FIFOs and devices in the place of files."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import struct
import sys
from typing import TYPE_CHECKING

import pytest

import hardpoint
from hardpoint.benchmark.compare import read_result
from hardpoint.cli import main
from hardpoint.contracts import Greeter
from hardpoint.file import LARGEST, digest, open_library, read_small
from hardpoint.registry.discovery import usual_places

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Compiler, RunPython

GIB = 1 << 30


def lock(path: Path, file: Path) -> Path:
    entry = {"contract": "greeter", "plugin": "english", "release": "1.0.0", "file": file.name, "sha256": "ab" * 32}
    path.write_text(json.dumps({"hardpoint-lock": 1, "plugins": [entry]}))
    return path


@pytest.fixture
def sparse(english: Path, tmp_path: Path) -> Path:
    """A plugin with a hole of 12 GiB at its end, which takes no room on the disk."""
    path = tmp_path / "sparse" / "english.so"
    path.parent.mkdir()
    shutil.copy(english, path)
    os.truncate(path, 12 * GIB)
    return path


def test_a_file_larger_than_any_library_is_not_hashed(sparse: Path, tmp_path: Path) -> None:
    with pytest.raises(hardpoint.NotAPluginError) as caught:
        hardpoint.load(sparse, Greeter, sha256="ab" * 32)
    [problem] = caught.value.problems
    assert problem == (
        "file-large", "a file of at most 4 GiB, with at most 64 MiB in holes, to hash", f"{12 * GIB} bytes",
        "give the path of a library", True,
    )  # fmt: skip
    assert str(caught.value) == f"{sparse} cannot be hashed: {problem}"
    [found] = hardpoint.Registry([sparse.parent], allow=lock(tmp_path / "hardpoint.lock", sparse))
    assert (found.status, found.problems) == ("does not fit", (problem,))
    plugin = hardpoint.load(sparse, Greeter)  # what is read of it is small
    assert (plugin.lang(), hardpoint.info(plugin).sha256) == ("English", None)
    isolated = hardpoint.load(sparse, Greeter, isolated=True)
    assert (isolated.lang(), hardpoint.info(isolated).sha256) == ("English", None)
    hardpoint.close(isolated)


def test_a_file_of_holes_is_not_hashed(sparse: Path) -> None:
    os.truncate(sparse, LARGEST)
    with pytest.raises(
        hardpoint.NotAPluginError, match=r"found 4294967296 bytes, with [0-9]+ or more of them in holes"
    ):
        hardpoint.load(sparse, Greeter, sha256="ab" * 32)


def test_a_file_of_a_few_holes_is_hashed(sparse: Path) -> None:
    os.truncate(sparse, 60 << 20)
    with pytest.raises(hardpoint.IncompatibleError):
        hardpoint.load(sparse, Greeter, sha256="ab" * 32)
    os.truncate(sparse, 80 << 20)
    with pytest.raises(hardpoint.NotAPluginError, match=r"found 83886080 bytes, with [0-9]+ or more of them in holes"):
        hardpoint.load(sparse, Greeter, sha256="ab" * 32)


def test_it_is_left_out_of_a_lock(
    sparse: Path, english: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(english, sparse.with_name("small.so"))
    assert main(["lock", str(sparse.parent)]) == 0
    shown = capsys.readouterr()
    assert shown.out == "hardpoint.lock: 1 plugin\n"
    assert f"{sparse} cannot be hashed: " in shown.err
    assert "left out of the lock" in shown.err


def test_a_wrong_digest_takes_no_memory(english: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is compared before the file is copied into memory."""
    made: list[str] = []
    create = os.memfd_create

    def remember(name: str, flags: int) -> int:
        made.append(name)
        return create(name, flags)

    monkeypatch.setattr(os, "memfd_create", remember)
    with pytest.raises(hardpoint.IncompatibleError, match="is another file"):
        hardpoint.load(english, Greeter, sha256="ab" * 32)
    assert made == []
    with pytest.raises(hardpoint.IncompatibleError):  # it fits no lock: it is hashed there, and not copied either
        hardpoint.Registry([english.parent], allow=lock(tmp_path / "hardpoint.lock", english)).load("english", Greeter)
    assert made == []


def test_the_largest_holes_and_the_largest_small_file(english: Path, tmp_path: Path) -> None:
    path, block = tmp_path / "holes.so", 1 << 16
    for holes in (64 << 20, (64 << 20) + block):
        path.write_bytes(english.read_bytes().ljust(block, b"\1"))
        with path.open("ab") as file:
            file.truncate(block + holes)
            file.seek(block + holes)
            file.write(b"end")
        with open_library(path) as library:
            if holes == 64 << 20:
                assert digest(library) == hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                with pytest.raises(hardpoint.NotAPluginError, match=rf"bytes, with {holes} or more of them in holes"):
                    digest(library)
    (tmp_path / "small").write_bytes(b"x" * 100)
    assert len(read_small(str(tmp_path / "small"), 100)) == 100
    with pytest.raises(OSError, match="it is larger than 99 bytes"):
        read_small(str(tmp_path / "small"), 99)


# -- other files than libraries ----------------------------------------------------------------------------------------


def make_sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 12 * GIB)


ODD: dict[str, tuple[Callable[[Path], object], str]] = {
    "FIFO": (os.mkfifo, "it is a FIFO, not a regular file"),
    "zeros": (lambda path: path.symlink_to("/dev/zero"), "it is a character device, not a regular file"),
    "folder": (lambda path: path.mkdir(), "it is a directory, not a regular file"),
    "sparse": (make_sparse, "it is larger than 16777216 bytes"),
}


@pytest.mark.parametrize("kind", ODD)
def test_a_lock_path_that_is_no_lock_file(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    make, found = ODD[kind]
    path = tmp_path / "odd.lock"
    make(path)
    sentence = f"{path} cannot be read: {found}; give the path of a lock file that this user can read"
    with pytest.raises(hardpoint.HardpointError) as caught:
        hardpoint.Allow(path)
    assert str(caught.value) == sentence
    for words in (["list", "--allow", str(path)], ["lock", "--check", "-o", str(path), str(tmp_path)]):
        assert main(words) == 1
        assert capsys.readouterr().err == f"hardpoint: {sentence}\n"


@pytest.mark.parametrize("kind", ["FIFO", "zeros", "sparse"])
def test_other_files_that_are_read(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, _ = ODD[kind]
    make(tmp_path / "old.json")
    with pytest.raises(hardpoint.HardpointError, match=r"cannot be read as a result of hardpoint bench --json: "):
        read_result(str(tmp_path / "old.json"))
    info = tmp_path / "site" / "package-1.0.dist-info"
    info.mkdir(parents=True)
    make(info / "entry_points.txt")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site")])
    assert [place.state for place in usual_places() if place.folder.startswith("entry points")] == ["none"]


def test_a_lock_is_written_over_nothing_that_others_put_there(
    english: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its temporary name can be guessed, and the folder may be one like /tmp."""
    monkeypatch.chdir(tmp_path)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / f"hardpoint.lock.{os.getpid()}").symlink_to(victim)
    assert main(["lock", str(english.parent)]) == 2
    assert "hardpoint.lock cannot be written: File exists" in capsys.readouterr().err
    assert victim.read_text() == "precious"


def test_a_needed_library_that_is_a_fifo(compiler: Compiler, tmp_path: Path, run_python: RunPython) -> None:
    """It is passed by, or refused, and nobody waits for it."""
    source = tmp_path / "odd.c"
    source.write_text("int odd(void); int odd(void) { return 0; }")
    compiler.run("-shared", "-fPIC", "-Wl,-soname,libodd.so", "-o", str(tmp_path / "libodd.so"), str(source))
    words = ["-Wl,--no-as-needed", str(tmp_path / "libodd.so"), f"-Wl,-rpath,{tmp_path}"]
    plugin = compiler.library("english/english.c", *words)
    (tmp_path / "libodd.so").unlink()
    os.mkfifo(tmp_path / "libodd.so")
    with pytest.raises(hardpoint.IncompatibleError) as caught:
        hardpoint.load(plugin, Greeter)
    assert [problem.code for problem in caught.value.problems] == ["needed-damaged"]
    code = f"""
from hardpoint.elf.reader import open_elf
try:
    with open_elf({str(tmp_path / "libodd.so")!r}):
        pass
except OSError as error:
    print(error.strerror)
"""
    assert run_python(code).stdout == "not a regular file\n"


def test_a_library_with_more_manifests_than_anybody_builds(english: Path, tmp_path: Path) -> None:
    """Each would be checked as a plugin: 1 MiB of them took a registry a minute."""
    data = bytearray(english.read_bytes())
    text = b'{"abi":"1.0","contract":"x","version":"1.0","plugin":"x","release":"1","methods":["a() -> None"]}\0'
    text += bytes(-len(text) % 4)
    notes = (struct.pack("<III", 10, len(text), 1) + b"hardpoint\0\0\0" + text) * 257
    offset = len(data)
    headers, count = int.from_bytes(data[32:40], "little"), int.from_bytes(data[56:58], "little")
    base = 1 << 30
    kinds: dict[int, int] = {}
    for index in range(count):
        kinds[int.from_bytes(data[headers + 56 * index :][:4], "little")] = headers + 56 * index
    offset += -offset % 4096
    data += bytes(offset - len(data)) + notes
    struct.pack_into("<IIQQQQQQ", data, kinds[4], 4, 4, offset, base, base, len(notes), len(notes), 4)
    struct.pack_into("<IIQQQQQQ", data, kinds[0x6474E551], 1, 4, offset, base, base, len(notes), len(notes), 4096)
    (tmp_path / "many").mkdir()
    path = tmp_path / "many" / "many.so"
    path.write_bytes(data)
    [found] = hardpoint.Registry([path.parent])
    assert found.status == "broken"
    assert found.problems[0].needs == "at most 256 manifests in a library"


def test_no_descriptor_is_left(sparse: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    for _ in range(3):
        with pytest.raises(hardpoint.NotAPluginError):
            hardpoint.load(sparse, Greeter, sha256="ab" * 32)
    assert len(os.listdir("/proc/self/fd")) == before
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == limits
