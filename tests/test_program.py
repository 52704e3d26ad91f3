"""The program of isolated plugins, driven raw: sockets, a memfd for each channel, and no host's side of hardpoint."""

from __future__ import annotations

import mmap
import os
import shlex
import signal
import socket
import struct
import subprocess
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hostile import Hostile

import hardpoint
from hardpoint import Isolation
from hardpoint.contracts import Greeter
from hardpoint.definition.decorators import contract_of
from hardpoint.file import open_library
from hardpoint.isolation.host.recipe import make_recipe
from hardpoint.preflight.checks import require_fit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from conftest import Compiler

SOURCES = Path(hardpoint.__file__).parent / "isolation" / "channel"
HALF, ROOM = 64 << 20, 32 << 20
LOAD, HANG_UP, HELLO = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
FORK, FORKED, ENDED = 1, 2, 3  # messages of the zygote
CONTROL_LOAD, CONTROL_CONNECT, CONTROL_END = 1, 2, 3
LOADED, BROKEN, REFUSED, FAILED, STALE = 0, 3, 2, 5, 1  # stages
NO_MEMORY, GROW_REFUSED, NO_THREAD = 4, 1, 16


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("program") / "_channel.so"
    words = shlex.split(os.environ.get("CC") or "cc")
    flags = ("-std=c11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
    sources = sorted(map(str, SOURCES.glob("*.c")))
    subprocess.run([*words, *flags, "-Wl,-e,hp_start", "-o", target, *sources, "-ldl", "-lpthread"], check=True)
    return target


def send(sock: socket.socket, message: bytes, fds: Sequence[int] = ()) -> None:
    socket.send_fds(sock, [message], list(fds))


class Channel:
    """The host's side of a channel, without any of its haste."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("channel", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, 2 * HALF)
        self.memory = mmap.mmap(self.fd, 2 * HALF)
        self.sequence = 0

    def close(self) -> None:
        self.memory.close()
        os.close(self.fd)

    def request(self, method: int, content: bytes = b"") -> None:
        self.memory[16 : 16 + len(content)] = content
        self.sequence += 1
        self.memory[4:16] = struct.pack("<IHHI", method, 0xFFFF, 0, 0)
        self.memory[0:4] = struct.pack("<I", self.sequence << 1)
        wake(self.memory)

    def reply(self, seconds: float = 10.0) -> tuple[int, bytes, int, int]:
        """Status, text, scalar and flags."""
        end = time.monotonic() + seconds
        while (struct.unpack_from("<I", self.memory, HALF)[0] & ~1) != self.sequence << 1:
            assert time.monotonic() < end, "no reply"
            time.sleep(0.0001)
        _, status, length, scalar, flags, _, _ = struct.unpack_from("<IiQQIHH", self.memory, HALF)
        text = self.memory[HALF + 32 : HALF + 32 + length] if length <= ROOM else b""
        return status, text, scalar, flags

    def call(self, method: int, *arguments: bytes | int) -> tuple[int, bytes, int, int]:
        words, buffers = b"", b""
        start = 16 + 8 * len(arguments)
        for each in arguments:
            if isinstance(each, bytes):
                buffers += bytes(-(start + len(buffers)) % 16) + each
            words += struct.pack("<Q", len(each) if isinstance(each, bytes) else each)
        self.request(method, words + buffers)
        return self.reply()


def wake(memory: mmap.mmap) -> None:
    """Wake whoever waits for a word; without the address that Python hides, by ctypes."""
    import ctypes

    number = {"x86_64": 202, "aarch64": 98}[os.uname().machine]
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    ctypes.CDLL(None).syscall(ctypes.c_long(number), ctypes.c_void_p(address), 1, 1, None, None, 0)


class Zygote:
    """The zygote, run from a path or through a command."""

    def __init__(self, *command: str) -> None:
        self.sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(10)
        self.workers: list[Worker] = []
        with theirs:
            fd = theirs.fileno()
            self.process = subprocess.Popen(
                [*command, "zygote", str(os.getpid()), str(fd)], executable=command[0], pass_fds=[fd], env={"A": "1"}
            )

    def fork(self) -> Worker:
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        mine.settimeout(10)
        with theirs:
            send(self.sock, struct.pack("<IiiI", FORK, 0, 0, 0), [theirs.fileno()])
        message, fds, _, _ = socket.recv_fds(self.sock, 16, 1)
        kind, pid, _, _ = struct.unpack("<IiiI", message)
        assert kind == FORKED
        assert len(fds) == 1
        os.close(fds[0])
        self.workers.append(Worker(pid, mine))
        return self.workers[-1]

    def ended(self) -> tuple[int, int]:
        kind, pid, status, _ = struct.unpack("<IiiI", self.sock.recv(16))
        assert kind == ENDED
        return pid, status

    def close(self) -> int:
        self.sock.close()
        status = self.process.wait(10)
        for worker in self.workers:
            worker.close()
        return status


class Worker:
    """A worker, its control socket and its first channel."""

    def __init__(self, pid: int, control: socket.socket) -> None:
        self.pid, self.control, self.channel = pid, control, Channel()
        self.channels = [self.channel]
        self.applied = 0
        self.open = ExitStack()
        """What is closed with it."""
        self.open.enter_context(control)

    def close(self) -> None:
        self.open.close()
        for channel in self.channels:
            channel.close()

    def load(
        self, path: Path, contract: Any = Greeter, isolation: Isolation | None = None, change: Any = None
    ) -> tuple[int, bytes, int, int]:
        with open_library(str(path)) as file:
            fit = require_fit(file, contract_of(contract))
            data = make_recipe(file, fit, isolation or Isolation(), None).data
            data = change(data) if change else data
            reads, pipe = os.pipe()
            self.output = self.open.enter_context(open(reads, "rb"))
            mine, records = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            self.open.enter_context(mine)
            counter = os.memfd_create("counter")
            os.ftruncate(counter, 4096)
            self.channel.request(LOAD, data)
            with records:
                fds = [file.fd, pipe, records.fileno(), counter, self.channel.fd]
                send(self.control, struct.pack("<IIQQQ", CONTROL_LOAD, 0, HALF, ROOM, len(data)), fds)
            os.close(pipe)
            os.close(counter)
        reply = self.channel.reply()
        self.applied = struct.unpack("<IiiI", self.control.recv(16))[0]
        return reply

    def connect(self) -> Channel:
        channel = Channel()
        self.channels.append(channel)
        send(self.control, struct.pack("<IIQQQ", CONTROL_CONNECT, 0, HALF, ROOM, 0), [channel.fd])
        return channel

    def words(self) -> str:
        return self.output.read().decode()

    def threads(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/task"))


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
def test_a_call(zygote: Zygote, english: Path, sandbox: bool | str) -> None:  # noqa: FBT001
    worker = loaded(zygote, english, isolation=Isolation(sandbox=sandbox))  # type: ignore[arg-type]
    assert worker.channel.call(0, b"World") == (0, b"Hello, World! Nice to meet you.", 0, 0)
    assert worker.channel.call(0, b"") == (0, b"Hello, ! Nice to meet you.", 0, 0)
    assert worker.channel.call(1) == (0, b"English", 0, 0)
    assert Path(f"/proc/{worker.pid}/cmdline").read_bytes() == b"hardpoint: english\0"
    assert Path(f"/proc/{worker.pid}/comm").read_text() == "english\n"
    assert Path(f"/proc/{worker.pid}/oom_score_adj").read_text() == "500\n"


def test_a_large_call(zygote: Zygote, english: Path) -> None:
    worker = loaded(zygote, english)
    name = os.urandom(5 << 20)
    assert worker.channel.call(0, name) == (0, b"Hello, " + name + b"! Nice to meet you.", 0, 0)
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
    worker = loaded(zygote, english)
    channel = worker.connect()
    assert channel.call(HELLO) == (0, b"", 0, 0)
    assert channel.call(0, b"you") == (0, b"Hello, you! Nice to meet you.", 0, 0)
    assert worker.threads() == 3
    channel.request(HANG_UP)
    end = time.monotonic() + 5
    while worker.threads() > 2 and time.monotonic() < end:
        time.sleep(0.001)
    assert worker.threads() == 2


def test_a_thread_that_cannot_be_had(zygote: Zygote, english: Path) -> None:
    worker = loaded(zygote, english, isolation=Isolation(memory="16MiB"))
    channels: list[Channel] = []
    while not channels or channels[-1].call(HELLO)[3] == 0:
        channels.append(worker.connect())
    assert 3 < len(channels) < 12
    assert channels[-1].reply()[0] == 12  # ENOMEM
    assert worker.channel.call(0, b"World") == (0, b"Hello, World! Nice to meet you.", 0, 0)


@pytest.mark.parametrize("how", ["close", "end"])
def test_the_end_of_a_worker(zygote: Zygote, english: Path, how: str) -> None:
    worker = loaded(zygote, english)
    if how == "end":
        send(worker.control, struct.pack("<IIQQQ", CONTROL_END, 0, 0, 0, 0))
    else:
        worker.control.close()
    assert zygote.ended() == (worker.pid, 0)


def test_a_file_that_is_another_one(zygote: Zygote, english: Path, tmp_path: Path) -> None:
    worker = zygote.fork()
    identity = english.stat()
    words = struct.pack("<QQQq", identity.st_dev, identity.st_ino, identity.st_size, identity.st_mtime_ns)

    def change(data: bytes) -> bytes:
        assert words in data
        return data.replace(words, words[:-8] + bytes(8))

    assert worker.load(english, change=change) == (1, b"", STALE, 0)
    assert worker.channel.sequence == 1


def test_it_runs_through_the_loader_and_from_memory(program: Path, english: Path) -> None:
    loader = {"x86_64": "/lib64/ld-linux-x86-64.so.2", "aarch64": "/lib/ld-linux-aarch64.so.1"}[os.uname().machine]
    with ExitStack() as stack:
        fd = os.memfd_create("program", 0)
        stack.callback(os.close, fd)
        os.write(fd, program.read_bytes())
        for command in ((loader, str(program)), (f"/proc/{os.getpid()}/fd/{fd}",)):
            zygote = Zygote(*command)
            worker = loaded(zygote, english)
            assert worker.channel.call(0, b"World")[1] == b"Hello, World! Nice to meet you."
            assert Path(f"/proc/{worker.pid}/cmdline").read_bytes() == b"hardpoint: english\0"
            assert zygote.close() == 0


def test_workers_end_with_the_zygote(program: Path, english: Path) -> None:
    zygote = Zygote(str(program))
    workers = [loaded(zygote, english), zygote.fork()]
    assert zygote.close() == 0
    end = time.monotonic() + 5
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
