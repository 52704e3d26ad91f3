"""Isolation on systems that lack something that it needs: each error names it, and what can be done."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import BINDINGS, IMPORTABLE

import hardpoint
from hardpoint import CrashedError, LoadError
from hardpoint.contracts import Greeter

if TYPE_CHECKING:
    from conftest import LoadHostile, RunPython

FILTER = """
import errno, os, struct, hardpoint
from hardpoint.contracts import Greeter
from hardpoint.ffi.libc import ffi, libc

def refuse(number, error):
    steps = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x50000 | error), (0x06, 0, 0, 0x7FFF0000)]
    code = ffi.from_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    head = ffi.new("char[]", struct.pack("@HP", len(steps), int(ffi.cast("uintptr_t", code))))
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    assert libc.prctl(22, 2, int(ffi.cast("uintptr_t", head)), 0, 0) == 0  # PR_SET_SECCOMP

def attempt():
    try:
        print(hardpoint.load({library!r}, Greeter, isolated=True).lang())
    except hardpoint.LoadError as error:
        print(error)
"""
MEMFD_CREATE = {"x86_64": 319, "aarch64": 279}[os.uname().machine]
PIDFD_OPEN = 434


@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOSYS], ids=["EPERM", "ENOSYS"])
@pytest.mark.parametrize(
    ("name", "number", "since"), [("memfd_create", MEMFD_CREATE, "3.17"), ("pidfd_open", PIDFD_OPEN, "5.3")]
)
def test_a_system_call_that_a_container_refuses(
    english: Path, run_python: RunPython, name: str, number: int, since: str, error: int
) -> None:
    said = run_python(FILTER.format(library=str(english)) + f"refuse({number}, {error})\nattempt()\n").stdout
    assert said == (
        f"{english} cannot be isolated: needs {name}(2), found that it fails here ({os.strerror(error)}); use a newer kernel "
        f"(Linux {since} has it), or allow it in the container's seccomp profile\n"
    )


def test_a_limit_of_files_that_is_too_small(english: Path, run_python: RunPython) -> None:
    code = FILTER.format(library=str(english)) + """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, resource.RLIM_INFINITY))
attempt()
resource.setrlimit(resource.RLIMIT_FSIZE, ((4 << 20) - 1, resource.RLIM_INFINITY))
attempt()
"""  # fmt: skip
    works, fails = run_python(code).stdout.splitlines()
    assert works == "English"
    assert fails == (
        f"{english} cannot be isolated: needs files of 4194304 bytes for its memory, found that this process may write "
        "4194303 (RLIMIT_FSIZE); raise the limit (ulimit -f, or LimitFSIZE= of systemd)"
    )


def test_arguments_that_are_too_large_for_a_channel(english: Path, run_python: RunPython) -> None:
    code = FILTER.format(library=str(english)) + f"""
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (8 << 20, resource.RLIM_INFINITY))
for binding in {BINDINGS!r}:
    with hardpoint.loaded({str(english)!r}, Greeter, binding=binding, isolated=True) as plugin:
        try:
            plugin.greet("x" * (4 << 20))
        except hardpoint.CallError as error:
            print(error, error.status)
        print(len(plugin.greet("x" * (1 << 20))) >> 20)
"""  # fmt: skip
    said = f"{english}: greet needs at most 4 MiB of arguments, found more; pass less, or raise ulimit -f 4"
    assert run_python(code).stdout == f"{said}\n1\n" * len(BINDINGS)


def test_no_proc(english: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(LoadError) as caught:
        hardpoint.load(english, Greeter, isolated=True)
    assert str(caught.value) == (
        f"{english} cannot be loaded: there is no /proc here, which tells what the dynamic linker mapped; mount it "
        "(mount -t proc proc /proc)"
    )


# -- who killed a worker -----------------------------------------------------------------------------------------------


def test_a_sigkill_that_nobody_here_sent(load_hostile: LoadHostile, hostile_library: Path) -> None:
    plugin = load_hostile()
    with pytest.raises(CrashedError) as caught:
        plugin.harm("kill")
    assert str(caught.value).startswith(
        f"{hostile_library}: the worker was killed by SIGKILL in harm, which hardpoint did not send: the kernel or somebody "
        "else did, perhaps for lack of memory (out-of-memory killer); it wrote nothing"
    )


def test_a_file_that_was_rewritten_in_place(load_hostile: LoadHostile, hostile_library: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(hostile_library, tmp_path / "plugin.so"))
    plugin = load_hostile(path)
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
    with pytest.raises(CrashedError) as caught:
        plugin.harm("segv")
    assert (
        "in harm; its file was rewritten in place while it was loaded, which changes the code that runs: replace it by a "
        "rename (mv), or pin it (sha256=)"
    ) in str(caught.value)


# -- rights that the host gave up --------------------------------------------------------------------------------------


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_host_that_becomes_another_user(hostile_library: Path, run_python: RunPython, tmp_path: Path) -> None:
    """Its old worker is still root's: it is ended through its socket. The next one is not root's."""
    library = Path(shutil.copy(hostile_library, tmp_path / "hostile.so"))
    for folder in [tmp_path, *tmp_path.parents]:
        if folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    code = f"""
import os, sys
sys.path[:0] = {IMPORTABLE!r}
import hardpoint, logging
from hostile import Hostile
from processes import gone, workers
plugin = hardpoint.load({str(library)!r}, Hostile, isolated=hardpoint.Isolation(timeout=5))
other = hardpoint.load({str(library)!r}, Hostile, isolated=True)
first = workers(plugin)
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
print(plugin.count())
try:
    plugin.harm("pause")
except hardpoint.TimedOutError as error:
    print(error)
print(gone(*first), plugin.count(), os.stat(f"/proc/{{workers(plugin)[0]}}").st_uid, other.count())
"""
    assert run_python(code).stdout.splitlines() == [
        "1",
        f"{library}: harm took longer than 5 s, and the worker was killed",
        "True 1 65534 1",
    ]
