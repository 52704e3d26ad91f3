"""Hostile frames: the host takes whatever a worker sends as a valid reply or as a crash, never as anything else.

A thread at the other end of the host's sockets plays the worker.
"""

from __future__ import annotations

import array
import os
import random
import resource
import socket
import struct
import subprocess
import threading
from io import FileIO
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
from probe import Probe
from processes import eventually

import hardpoint
from hardpoint.definition.decorators import contract_of
from hardpoint.isolation.host.spawner import Forked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import RunPython

PAYLOAD = 1
LOADED = [0, [True] * len(contract_of(Probe).methods), [], "native"]
CASES = int(os.environ.get("HARDPOINT_FRAMES", "400"))


def pack(value: Any) -> bytes:
    packed: Any = msgpack.packb(value)
    return bytes(packed)


def placed(offset: int, size: int) -> Any:
    return msgpack.ExtType(PAYLOAD, struct.pack("<QQ", offset, size))


class Fake:
    """A stand-in for the spawner: each of its workers is a process that sleeps, and a thread that answers for it."""

    def __init__(self) -> None:
        self.loaded: bytes = pack(LOADED)
        """The reply to the request to load."""
        self.reply: Callable[[socket.socket, int], None] = lambda _, __: None
        """Called for each call, with the socket and the shared memory."""
        self.started: Callable[[list[int]], None] = lambda _: None
        """Called at the start, with its ends of the pipe, the socket for log records, and the counter."""

    def fork(self, worker: Any) -> Forked:
        process = subprocess.Popen(["sleep", "600"])
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        threading.Thread(target=self._serve, args=(process, mine), daemon=True).start()
        threading.Thread(target=self._wait, args=(process, worker), daemon=True).start()
        return Forked(process.pid, FileIO(os.pidfd_open(process.pid)), theirs)

    def _wait(self, process: subprocess.Popen[bytes], worker: Any) -> None:
        worker.has_ended(-process.wait())

    def _serve(self, process: subprocess.Popen[bytes], control: socket.socket) -> None:
        with control:
            _, (library, *output, connection, memory), _, _ = socket.recv_fds(control, 1 << 20, 8)
            self.started(output)
            for fd in (library, *output):
                os.close(fd)
            if self.loaded:
                control.send(self.loaded)
            fds = [connection, memory]
            while True:
                if not fds:
                    process.kill()
                    return
                threading.Thread(target=self._answer, args=(socket.socket(fileno=fds[0]), fds[1]), daemon=True).start()
                _, fds, _, _ = socket.recv_fds(control, 1 << 20, 8)

    def _answer(self, connection: socket.socket, memory: int) -> None:
        with connection:
            try:
                while connection.recv(1 << 20):
                    self.reply(connection, memory)
            except OSError:  # closed by the host, or by the reply itself
                pass
        os.close(memory)

    def say(self, frame: bytes) -> None:
        """Answer the following calls with these bytes."""
        self.reply = lambda connection, _: connection.sendall(frame)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    fake = Fake()
    monkeypatch.setattr("hardpoint.isolation.host.spawner.fork", fake.fork)
    return fake


@pytest.fixture
def probe(fake: Fake, probe_library: Path) -> Iterator[Probe]:
    with hardpoint.loaded(probe_library, Probe, isolated=hardpoint.Isolation(timeout=20.0)) as probe:
        yield probe


CALLS: dict[str, tuple[Callable[[Probe], Any], type, Any, int]] = {
    "str": (lambda probe: probe.text("x"), str, b"text", 0),
    "bytes": (lambda probe: probe.raw(b"x"), bytes, b"data", 0),
    "int": (lambda probe: probe.add(1, 2), int, 3, 0),
    "float": (lambda probe: probe.half(1.0), float, 0.5, 0),
    "bool": (lambda probe: probe.negate(True), bool, False, 0),
    "None": (lambda probe: probe.flip(bytearray(3)), type(None), None, 1),
    "bytearray": (lambda probe: probe.fill(bytearray(3), 1), int, 3, 1),
    "mixed": (lambda probe: probe.mixed(1, 2.0, "c", True, b"e", bytearray(3), 0.5, 7), str, b"mixed", 1),
}


@pytest.mark.parametrize("kind", CALLS)
def test_valid_answers_of_the_fake_worker_are_accepted(fake: Fake, probe: Probe, kind: str) -> None:
    call, wanted, result, buffers = CALLS[kind]
    fake.say(pack([0, result, *[b"abc"] * buffers]))
    assert type(call(probe)) is wanted


WRONG: dict[str, tuple[Any, ...]] = {
    "str": (0, None, True, 1.5, "text", [b"x"], {}),
    "bytes": (0, None, True, "data", [b"x"], {}),
    "int": (None, True, 1.0, b"3", "3", 1 << 63, (1 << 64) - 1, [], {}),
    "float": (None, True, 1, b"0.5", "0.5", []),
    "bool": (None, 0, 1, b"", "", []),
    "None": (0, False, b"", "", [], {}),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_result_of_another_type_is_a_crash(fake: Fake, probe: Probe, kind: str) -> None:
    call, _, _, buffers = CALLS[kind]
    for value in WRONG[kind]:
        fake.say(pack([0, value, *[b"abc"] * buffers]))
        with pytest.raises(hardpoint.CrashedError, match="the worker sent a malformed frame"):
            call(probe)


SHAPES: dict[str, Any] = {
    "nothing": [], "no-result": [0], "too-much": [0, b"x", b"y"], "no-list": {0: b"x"}, "a-text": "reply", "a-number": 7,
    "none": None, "other-status": [2, b"x"], "negative": [-1, b"x"], "status-text": ["0", b"x"], "status-none": [None, b"x"],
    "status-list": [[], b"x"], "status-float": [0.0, b"x"], "status-bool": [False, b"x"],
    "error-text": [1, "no"], "error-none": [1, None], "error-short": [1, ["CallError", "m", 1]],
    "error-long": [1, ["CallError", "m", 1, "t", 5]], "error-unknown": [1, ["KeyboardInterrupt", "m", 1, "t"]],
    "error-private": [1, ["_RefusedError", "m", 1, "t"]], "error-types": [1, ["CallError", 5, 1, "t"]],
    "error-bool": [1, ["CallError", "m", True, "t"]], "error-name": [1, [["CallError"], "m", 1, "t"]],
    "error-bytes": [1, [b"CallError", "m", 1, "t"]], "error-place": [1, ["CallError", "m", 1, placed(0, 100)]],
    "other-extension": [0, msgpack.ExtType(2, b"x" * 16)], "short-place": [0, msgpack.ExtType(PAYLOAD, b"x" * 15)],
    "timestamp": [0, msgpack.Timestamp(5)], "deep": [0, [[[[[[[[[[[[b"x"]]]]]]]]]]]]],
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_a_reply_of_another_shape_is_a_crash(fake: Fake, probe: Probe, name: str) -> None:
    fake.say(pack(SHAPES[name]))
    with pytest.raises(hardpoint.CrashedError, match=r"the worker sent a malformed frame .* and was killed"):
        probe.text("x")


def test_text_of_a_worker_forges_no_line(fake: Fake, probe_library: Path) -> None:
    evil = "x\nhardpoint: all is well\x1b[2J"
    fake.loaded = pack([0, LOADED[1], [evil], evil])
    with hardpoint.loaded(probe_library, Probe, isolated=True) as probe:
        about = hardpoint.info(probe)
        assert about.isolation is not None
        assert about.isolation.sandbox == (r"x\nhardpoint: all is well\x1b[2J",)
        assert about.binding.isprintable()
        for name in ("CallError", "LoadError", "ContractBrokenError", "IncompatibleError"):
            fake.say(pack([1, [name, evil, 1, evil]]))
            with pytest.raises(hardpoint.HardpointError) as caught:
                probe.text("x")
            assert str(caught.value) == r"x\nhardpoint: all is well\x1b[2J"


BYTES = {
    "unused": b"\xc1", "short": b"\x92\x00", "more": pack([0, b"x"]) + b"\x00", "huge-array": b"\xdd\xff\xff\xff\xff",
    "huge-map": b"\xdf\xff\xff\xff\xff", "huge-bytes": b"\x92\x00\xc6\xff\xff\xff\xff", "huge-text": b"\x92\x00\xdb\xff\xff\xff\xff",
    "deep": b"\x91" * 100_000, "bad-text": b"\x92\x01\x94\xa2\xc3\x28\xa0\x00\xa0", "odd-key": b"\x81\x91\x00\x00",
    "bad-timestamp": b"\x92\x00\xd7\xff" + b"\xff" * 8, "zeros": b"\0" * 200_000, "array-of-zeros": b"\xdc\xff\xff" + b"\0" * 65535,
}  # fmt: skip


@pytest.mark.parametrize("name", BYTES)
def test_a_malformed_frame_is_a_crash(fake: Fake, probe: Probe, name: str) -> None:
    fake.say(BYTES[name])
    with pytest.raises(hardpoint.CrashedError, match=r"the worker sent a malformed frame .* and was killed"):
        probe.text("x")


@pytest.mark.parametrize(
    "size", [(0, 0), (0, 1), (1 << 63, 1), (0, 1 << 63), ((1 << 64) - 1, (1 << 64) - 1), (4096, 1 << 40)]
)
@pytest.mark.parametrize("kind", ["str", "bytes", "mixed"])
def test_missing_payloads_are_a_crash(fake: Fake, probe: Probe, kind: str, size: tuple[int, int]) -> None:
    call, _, _, buffers = CALLS[kind]
    fake.say(pack([0, placed(*size), *[b"abc"] * buffers]))
    with pytest.raises(hardpoint.CrashedError, match="the worker sent a malformed frame"):
        call(probe)


@pytest.mark.parametrize("size", [1 << 20, 1 << 34, 1 << 45, (1 << 63) - 4096])
def test_memory_that_is_a_hole_is_not_read(fake: Fake, probe: Probe, size: int) -> None:
    """A hole costs the worker no memory, and copying it would cost the host its size."""

    def lie(connection: socket.socket, memory: int) -> None:
        os.ftruncate(memory, size)
        connection.send(pack([0, placed(0, size)]))

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fake.reply = lie
    with pytest.raises(hardpoint.CrashedError, match="the worker sent a malformed frame"):
        probe.raw(b"x")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_enlarged_memory_is_still_used(fake: Fake, probe: Probe) -> None:
    data = b"x" * 100_000

    def grow(connection: socket.socket, memory: int) -> None:
        os.ftruncate(memory, 1 << 50)
        connection.send(pack([0, placed(0, len(data))]))

    fake.reply = grow
    for _ in range(3):
        assert probe.raw(data) == data


def test_memory_cannot_be_shrunk(fake: Fake, probe: Probe) -> None:
    """Else the host would die of SIGBUS when it reads beyond the end."""
    import fcntl

    errors: list[Any] = []

    def shrink(connection: socket.socket, memory: int) -> None:
        for attempt in (
            lambda: os.ftruncate(memory, 0),
            lambda: fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW),
        ):
            try:
                attempt()
                errors.append(None)
            except OSError as error:
                errors.append(type(error))
        connection.send(pack([0, placed(0, 100_000)]))

    fake.reply = shrink
    assert probe.raw(b"x" * 100_000) == b"x" * 100_000
    assert errors == [PermissionError, PermissionError]


@pytest.mark.parametrize("content", [b"", b"ab", b"abcd", "abc", None, placed(0, 3)], ids=repr)
def test_a_buffer_of_another_size_is_a_crash(fake: Fake, probe: Probe, content: Any) -> None:
    fake.say(pack([0, None, content]))
    data = bytearray(b"xyz")
    with pytest.raises(hardpoint.CrashedError, match="the worker sent a malformed frame"):
        probe.flip(data)
    assert data == b"xyz"
    data.append(1)  # it is not referenced


def test_an_answer_that_never_comes(fake: Fake, probe_library: Path) -> None:
    with hardpoint.loaded(probe_library, Probe, isolated=hardpoint.Isolation(timeout=1.0)) as probe, \
            pytest.raises(hardpoint.TimedOutError):  # fmt: skip
        probe.text("x")


@pytest.mark.parametrize("reply", [lambda connection, _: connection.close(), lambda connection, _: connection.send(b""),
                                   lambda connection, _: connection.shutdown(socket.SHUT_RDWR)], ids=["close", "empty", "shutdown"])  # fmt: skip
def test_a_connection_that_ends_is_a_crash(fake: Fake, probe: Probe, reply: Any) -> None:
    fake.reply = reply
    with pytest.raises(
        hardpoint.CrashedError, match=r"the worker closed its connection to the host .*, and was killed in text"
    ):
        probe.text("x")


def test_attached_descriptors_are_closed(fake: Fake, probe: Probe) -> None:
    def flood(connection: socket.socket, memory: int) -> None:
        rights = array.array("i", [memory] * 200)
        connection.sendmsg([pack([0, b"x"])], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])

    fake.reply = flood
    assert probe.text("x") == "x"
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        assert probe.text("x") == "x"
    assert len(os.listdir("/proc/self/fd")) <= before


ANSWERS: dict[str, Any] = {
    "nothing": [], "a-number": 5, "too-short": LOADED[:3], "too-long": [*LOADED, 1], "few-methods": [0, [True], [], "x"],
    "no-methods": [0, [], [], "x"], "methods-of-numbers": [0, [1] * len(LOADED[1]), [], "x"],  # type: ignore[arg-type]
    "sandbox-of-numbers": [0, LOADED[1], [1], "x"], "binding-of-number": [0, LOADED[1], [], 1],
    "error-of-numbers": [1, [1, 2, 3, 4], [], ""], "error-unknown": [1, ["SystemExit", "m", 0, ""], [], ""],
    "error-empty": [1, [], [], ""], "status": ["0", LOADED[1], [], "x"],
}  # fmt: skip


@pytest.mark.parametrize("name", [*ANSWERS, *BYTES])
def test_an_invalid_answer_to_load_is_a_crash(fake: Fake, probe_library: Path, name: str) -> None:
    fake.loaded = pack(ANSWERS[name]) if name in ANSWERS else BYTES[name]
    with pytest.raises(hardpoint.CrashedError, match="in loading, the worker sent a malformed frame"):
        hardpoint.load(probe_library, Probe, isolated=hardpoint.Isolation(timeout=20.0))


def test_a_load_that_is_not_answered(fake: Fake, probe_library: Path) -> None:
    fake.loaded = b""
    with pytest.raises(hardpoint.TimedOutError, match=r"loading took longer than 0\.2 s"):
        hardpoint.load(probe_library, Probe, isolated=hardpoint.Isolation(timeout=0.2))


def test_rubbish_as_log_records_and_counts(fake: Fake, probe_library: Path, caplog: pytest.LogCaptureFixture) -> None:
    rubbish = random.Random(1)

    def write(output: list[int]) -> None:
        pipe, records, counter = output
        with socket.socket(fileno=os.dup(records)) as sock:
            for size in (0, 1, 15, 16, 17, 100, 2000, 5000):
                sock.send(rubbish.randbytes(size))
            sock.send(bytes(16) + b"the last")
        os.pwrite(counter, b"\xff" * 8, 0)
        os.write(pipe, rubbish.randbytes(5000) + b"\nthe end\n")

    fake.started = write
    caplog.set_level(1, "hardpoint")
    with hardpoint.loaded(probe_library, Probe, isolated=hardpoint.Isolation(timeout=20.0)) as probe:
        fake.say(pack([0, b"x"]))
        assert probe.text("x") == "x"
        assert eventually(lambda: {"the end", "the last"} <= {record.getMessage() for record in caplog.records})


# -- at random -------------------------------------------------------------------------------------------------------


def some_value(choose: random.Random, depth: int = 0) -> Any:
    kinds: list[Callable[[], Any]] = [
        lambda: None, lambda: choose.random() < 0.5, lambda: choose.choice((0, 1, -1, 255, 1 << 40, (1 << 64) - 1, -(1 << 63))),
        choose.random, lambda: choose.randbytes(choose.randrange(40)), lambda: "é" * choose.randrange(10),
        lambda: placed(choose.choice((0, 5, 1 << 20, 1 << 63)), choose.choice((0, 3, 4, 1 << 30, 1 << 63))),
        lambda: msgpack.ExtType(choose.randrange(128), choose.randbytes(choose.choice((0, 1, 15, 16, 17)))),
        lambda: choose.choice(("CallError", "CreateError", "ClosedError", "PluginError", "HardpointError", "Exception")),
    ]  # fmt: skip
    if depth < 3:
        kinds += [lambda: [some_value(choose, depth + 1) for _ in range(choose.randrange(5))]] * 2
        kinds += [lambda: {str(at): some_value(choose, depth + 1) for at in range(choose.randrange(3))}]
    return choose.choice(kinds)()


def some_frame(choose: random.Random, result: Any, buffers: int) -> bytes:
    """Draw random bytes, a reply with some bytes changed, or a reply of odd values."""
    right = pack(
        choose.choice(
            ([0, result, *[b"abc"] * buffers], [1, ["CallError", "message", 300, "text"], *[b"abc"] * buffers])
        )
    )
    way = choose.randrange(5)
    if way == 0:
        return choose.randbytes(choose.choice((1, 2, 5, 20, 300, 60_000)))
    if way == 1:
        changed = bytearray(right)
        for _ in range(choose.randrange(1, 4)):
            changed[choose.randrange(len(changed))] = choose.randrange(256)
        return bytes(changed)
    if way == 2:
        at = choose.randrange(len(right))
        return right[:at] + choose.choice((b"", choose.randbytes(3), right[at:] * 2))
    if way == 3:
        return pack(
            [
                choose.choice((0, 0, 1, 1, 2, True, None)),
                some_value(choose),
                *[some_value(choose) for _ in range(buffers)],
            ]
        )
    return pack(some_value(choose))


def test_random_frames(fake: Fake, probe: Probe) -> None:
    seed = random.randrange(1 << 32)
    choose = random.Random(seed)
    outcomes = {"crash": 0, "answer": 0, "told": 0}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for case in range(CASES):
        kind = choose.choice(list(CALLS))
        call, wanted, result, buffers = CALLS[kind]
        frame = some_frame(choose, result, buffers)
        fake.say(frame or b"\xc1")
        try:
            answer = call(probe)
        except hardpoint.CrashedError:
            outcomes["crash"] += 1
        except hardpoint.HardpointError:
            outcomes["told"] += 1
        except BaseException as error:
            raise AssertionError(f"seed {seed}, case {case}, {kind}: {frame!r}") from error
        else:
            outcomes["answer"] += 1
            assert type(answer) is wanted, f"seed {seed}, case {case}, {kind}: {frame!r}"
    assert min(outcomes.values()) > 0
    assert outcomes["crash"] > CASES / 3
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_msgpack_without_its_extension_keeps_the_frames_of_threads_apart(run_python: RunPython) -> None:
    """The case of a Python without a wheel of it, or with MSGPACK_PUREPYTHON."""
    code = """
import os, sys
os.environ["MSGPACK_PUREPYTHON"] = "1"
from concurrent.futures import ThreadPoolExecutor
from hardpoint.isolation.wire import Packer, pack, unpack
assert Packer.__module__ == "msgpack.fallback"
sys.setswitchinterval(1e-6)
frames = [[1, str(number) * 20, number] for number in range(20_000)]
with ThreadPoolExecutor(8) as pool:
    print([*pool.map(unpack, pool.map(pack, frames))] == frames)
"""
    assert run_python(code).stdout == "True\n"
