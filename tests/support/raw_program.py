"""The host's side of the program of isolated plugins, raw: sockets, and a memfd for each channel."""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
import struct
import subprocess
import time
from contextlib import ExitStack
from io import FileIO
from typing import TYPE_CHECKING, Any

from hardpoint import Isolation
from hardpoint.contracts import Greeter
from hardpoint.definition.decorators import contract_of
from hardpoint.file import open_library
from hardpoint.isolation.host.recipe import make_recipe
from hardpoint.preflight.checks import require_fit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

HALF, ROOM = 64 << 20, 32 << 20
LOAD, HANG_UP, HELLO = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
FORK, FORKED, ENDED = 1, 2, 3  # messages of the zygote
CONTROL_LOAD, CONTROL_CONNECT, CONTROL_END = 1, 2, 3
LOADED, STALE = 0, 1  # stages
PATIENCE = 60.0
"""Seconds that a busy machine may take for anything."""
_FUTEX = {"x86_64": 202, "aarch64": 98}[os.uname().machine]


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

    def reply(self, seconds: float = PATIENCE) -> tuple[int, bytes, int, int]:
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
    """Wake whoever waits for the first word of a memory."""
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    ctypes.CDLL(None).syscall(ctypes.c_long(_FUTEX), ctypes.c_void_p(address), 1, 1, None, None, 0)


class Zygote:
    """The zygote, run from a path or through a command."""

    def __init__(self, *command: str) -> None:
        self.sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(PATIENCE)
        self.workers: list[Worker] = []
        with theirs:
            fd = theirs.fileno()
            self.process = subprocess.Popen(
                [*command, "zygote", str(os.getpid()), str(fd)], executable=command[0], pass_fds=[fd], env={"A": "1"}
            )

    def fork(self) -> Worker:
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        mine.settimeout(PATIENCE)
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
        status = self.process.wait(PATIENCE)
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
        self,
        path: Path,
        contract: Any = Greeter,
        isolation: Isolation | None = None,
        change: Callable[[bytes], bytes] | None = None,
    ) -> tuple[int, bytes, int, int]:
        with open_library(str(path)) as file:
            fit = require_fit(file, contract_of(contract))
            data = make_recipe(file, fit, isolation or Isolation(), None).data
            data = change(data) if change else data
            reads, pipe = os.pipe()
            self.output = self.open.enter_context(FileIO(reads))
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
