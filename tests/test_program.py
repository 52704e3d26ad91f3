"""The program of isolated plugins, driven raw: what the host's side of hardpoint does not show."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import struct
import subprocess
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hostile import Hostile
from raw_program import (
    CONTROL_CONNECT,
    CONTROL_END,
    HALF,
    HANG_UP,
    HELLO,
    LOADED,
    PATIENCE,
    ROOM,
    STALE,
    Channel,
    Worker,
    Zygote,
    send,
)

import hardpoint
from hardpoint import Isolation
from hardpoint.contracts import Greeter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Compiler

SOURCES = Path(hardpoint.__file__).parent / "isolation" / "channel"
LOADER = {"x86_64": "/lib64/ld-linux-x86-64.so.2", "aarch64": "/lib/ld-linux-aarch64.so.1"}[os.uname().machine]
NO_MEMORY, GROW_REFUSED, NO_THREAD, LARGE = 4, 1, 16, 32
EXIT_NO_MEMORY = 71


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("program") / "_channel.so"
    words = shlex.split(os.environ.get("CC") or "cc")
    flags = ("-std=c11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
    sources = sorted(map(str, SOURCES.glob("*.c")))
    subprocess.run([*words, *flags, "-Wl,-e,hp_start", "-o", target, *sources, "-ldl", "-lpthread"], check=True)
    return target


@pytest.fixture
def zygote(program: Path) -> Iterator[Zygote]:
    made = Zygote(str(program))
    yield made
    made.close()


def loaded(zygote: Zygote, path: Path, contract: Any = Greeter, isolation: Isolation | None = None) -> Worker:
    worker = zygote.fork()
    assert worker.load(path, contract, isolation) == (0, b"", LOADED, 0)
    return worker


@pytest.mark.parametrize("sandbox", [True, False, "strict"])
def test_a_call(zygote: Zygote, english: Path, sandbox: Any) -> None:
    worker = loaded(zygote, english, isolation=Isolation(sandbox=sandbox))
    assert worker.channel.call(0, b"World") == (0, b"Hello, World! Nice to meet you.", 0, 0)
    assert worker.channel.call(0, b"") == (0, b"Hello, ! Nice to meet you.", 0, 0)
    assert worker.channel.call(1) == (0, b"English", 0, 0)
    assert Path(f"/proc/{worker.pid}/cmdline").read_bytes() == b"hardpoint: english\0"
    assert Path(f"/proc/{worker.pid}/comm").read_text() == "english\n"
    assert Path(f"/proc/{worker.pid}/oom_score_adj").read_text() == "500\n"


def test_a_large_call(zygote: Zygote, english: Path) -> None:
    worker = loaded(zygote, english, isolation=Isolation(sandbox="strict"))
    name = os.urandom(5 << 20)
    assert worker.channel.call(0, name) == (0, b"Hello, " + name + b"! Nice to meet you.", 0, LARGE)
    status, _, _, flags = worker.channel.call(0, bytes(40 << 20))
    assert (status, flags) == (NO_MEMORY, GROW_REFUSED)
    assert worker.channel.call(0, b"World") == (0, b"Hello, World! Nice to meet you.", 0, 0)


def test_a_crash(zygote: Zygote, compiler: Compiler) -> None:
    compiler.header(Hostile)
    path = compiler.library("hostile.c", "-pthread", "-Wno-infinite-recursion")
    worker = loaded(zygote, path, Hostile)
    worker.channel.request(0, struct.pack("<Q", 4) + bytes(8) + b"segv")
    assert zygote.ended() == (worker.pid, signal.SIGSEGV)
    first, *frames = worker.words().splitlines()
    assert first.startswith("SIGSEGV at address 0x")
    assert all(str(path) in frame for frame in frames)
    assert frames


def test_a_second_channel_and_the_end_of_its_thread(zygote: Zygote, english: Path) -> None:
    worker = loaded(zygote, english, isolation=Isolation(sandbox="strict"))
    channel = worker.connect()
    assert channel.call(HELLO) == (0, b"", 0, 0)
    assert channel.call(0, b"you") == (0, b"Hello, you! Nice to meet you.", 0, 0)
    assert worker.threads() == 3
    channel.request(HANG_UP)
    end = time.monotonic() + PATIENCE
    while worker.threads() > 2 and time.monotonic() < end:
        time.sleep(0.001)
    assert worker.threads() == 2


def test_a_thread_that_cannot_be_had(zygote: Zygote, english: Path) -> None:
    worker = loaded(zygote, english, isolation=Isolation(memory="16MiB"))
    channels: list[Channel] = []
    while not channels or channels[-1].call(HELLO)[3] == 0:
        channels.append(worker.connect())
    assert 2 < len(channels) < 12
    status, _, _, flags = channels[-1].reply()
    assert (status, flags) == (errno.ENOMEM, NO_THREAD)
    assert worker.channel.call(0, b"World") == (0, b"Hello, World! Nice to meet you.", 0, 0)


def test_a_channel_without_memory_for_it(zygote: Zygote, english: Path) -> None:
    worker = loaded(zygote, english)
    with open(os.devnull) as unmappable:
        send(worker.control, struct.pack("<IIQQQ", CONTROL_CONNECT, 0, HALF, ROOM, 0), [unmappable.fileno()])
    assert zygote.ended() == (worker.pid, EXIT_NO_MEMORY << 8)
    assert worker.words() == "hardpoint: out of memory\n"


@pytest.mark.parametrize("how", ["close", "end"])
def test_the_end_of_a_worker(zygote: Zygote, english: Path, how: str) -> None:
    worker = loaded(zygote, english)
    if how == "end":
        send(worker.control, struct.pack("<IIQQQ", CONTROL_END, 0, 0, 0, 0))
    else:
        worker.control.close()
    assert zygote.ended() == (worker.pid, 0)


def test_a_file_that_is_another_one(zygote: Zygote, english: Path) -> None:
    worker = zygote.fork()
    identity = english.stat()
    words = struct.pack("<QQQq", identity.st_dev, identity.st_ino, identity.st_size, identity.st_mtime_ns)

    def change(data: bytes) -> bytes:
        assert words in data
        return data.replace(words, words[:-8] + bytes(8))

    assert worker.load(english, change=change) == (1, b"", STALE, 0)
    assert worker.channel.sequence == 1


def test_it_runs_through_the_loader_and_from_memory(program: Path, english: Path) -> None:
    with ExitStack() as stack:
        fd = os.memfd_create("program", 0)
        stack.callback(os.close, fd)
        os.write(fd, program.read_bytes())
        for command in ((LOADER, str(program)), (f"/proc/{os.getpid()}/fd/{fd}",)):
            zygote = Zygote(*command)
            worker = loaded(zygote, english)
            assert worker.channel.call(0, b"World")[1] == b"Hello, World! Nice to meet you."
            assert Path(f"/proc/{worker.pid}/cmdline").read_bytes() == b"hardpoint: english\0"
            assert zygote.close() == 0


def test_workers_end_with_the_zygote(program: Path, english: Path) -> None:
    zygote = Zygote(str(program))
    workers = [loaded(zygote, english), zygote.fork()]
    assert zygote.close() == 0
    end = time.monotonic() + PATIENCE
    for worker in workers:
        with suppress(ProcessLookupError):
            while time.monotonic() < end:
                os.kill(worker.pid, 0)
                time.sleep(0.001)
            pytest.fail("a worker outlived the zygote")


def test_by_hand_it_says_what_it_is(program: Path) -> None:
    run = subprocess.run([program], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stderr == "This is the program of hardpoint's isolated plugins, which hardpoint starts by itself.\n"
