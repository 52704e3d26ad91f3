"""Errors of isolated plugins that seldom come: each says what happened, and what to do."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from conftest import BINDINGS, IMPORTABLE
from hostile import Hostile
from processes import together

import hardpoint
from hardpoint import CrashedError, Isolation
from hardpoint.isolation.host import failures, process, remote, spawner, workers, zygote
from hardpoint.isolation.host.answer import Answer
from hardpoint.isolation.host.connection import Connection, Room
from hardpoint.isolation.host.flow import Flow

if TYPE_CHECKING:
    from conftest import LoadHostile, RunPython


def session_of(plugin: Any) -> Any:
    """The session behind an isolated plugin."""
    return plugin._instance.backend.session


# -- answers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [Answer(0, 8, 0, 0, b""), Answer(0, 17, 0, 0, b""), Answer(5, 0, 0, 0, b""),
                                    Answer(0, 0, 3, 0, b"abc")], ids=str)  # fmt: skip
def test_an_answer_to_a_greeting_that_cannot_be_one(
    load_hostile: LoadHostile, monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> None:
    plugin = load_hostile()
    session_of(plugin).free.clear()
    monkeypatch.setattr(Connection, "wait", lambda *_: answer)
    with pytest.raises(CrashedError, match="the worker sent a malformed answer"):
        plugin.count()


def test_a_call_is_not_answered_by_lack_of_a_thread() -> None:
    def answer(_: Any, head: Any) -> int:
        head.flags = 16
        return 0

    port = SimpleNamespace(channel=id, pointer=lambda each: each, send=lambda *_: 0, wait=lambda *_: 0, answer=answer)
    with pytest.raises(remote._Lost) as caught:
        remote._exchange(port, None, 0, [], 0)  # type: ignore[arg-type]
    assert caught.value.args == (4, 2)


@pytest.mark.parametrize("kind", BINDINGS)
def test_a_traceback_shows_one_error(hostile_library: Path, kind: Any) -> None:
    with (
        hardpoint.loaded(hostile_library, Hostile, binding=kind, isolated=True) as plugin,
        pytest.raises(CrashedError) as caught,
    ):
        plugin.harm("abort")
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("memory", "mebibytes", "bound"),
    [(16 << 20, 16, "Isolation(memory=...)"), (None, 4096, ""), (8 << 30, 4096, "")],
)
def test_the_bound_of_arguments(memory: int | None, mebibytes: int, bound: str) -> None:
    room = Room.of(memory)
    assert (room.mebibytes, room.bound) == (mebibytes, bound)


def test_arguments_beyond_the_memory(load_hostile: LoadHostile, hostile_library: Path) -> None:
    plugin = load_hostile(isolated=Isolation(memory="16MiB"))
    with pytest.raises(hardpoint.CallError) as caught:
        plugin.harm("x" * (30 << 20))
    assert str(caught.value) == (
        f"{hostile_library}: harm needs at most 16 MiB of arguments, found more; pass less, or raise Isolation(memory=...)"
    )
    assert (caught.value.status, caught.value.method) == (4, "harm")
    assert plugin.count() == 1


# -- a worker without threads ------------------------------------------------------------------------------------------


def test_calls_that_wait_for_a_channel_ask_seldom(load_hostile: LoadHostile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each attempt costs a channel, and a thread of the worker if it succeeds."""
    plugin = load_hostile()
    wait, refused = Connection.wait, []

    def refuse(connection: Connection, deadline: int) -> Answer:
        refused.append(wait(connection, deadline))
        return Answer(errno.EAGAIN, 16, 0, 0, b"")

    monkeypatch.setattr(Connection, "wait", refuse)
    napping = threading.Thread(target=plugin.nap, args=(500,))
    napping.start()
    assert all(isinstance(each, int) for each in together(*[plugin.count] * 4))
    napping.join()
    assert len(refused) <= 4


def test_no_thread(load_hostile: LoadHostile, hostile_library: Path) -> None:
    plugin = session_of(load_hostile())._plugin
    why = f"{hostile_library}: count is not possible now: the worker cannot start a thread for it"
    assert str(failures.no_thread(plugin, "count", errno.EPERM)) == (
        f"{why} (Operation not permitted); allow clone(2) in the container's seccomp profile"
    )
    assert str(failures.no_thread(plugin, "count", errno.EINVAL)) == (
        f"{why} (Invalid argument); end some threads or processes, or raise their limits"
    )


# -- the ends of processes ---------------------------------------------------------------------------------------------


def test_only_the_workers_own_word_is_lack_of_memory() -> None:
    """A plugin may exit with the same status."""
    worker: Any = SimpleNamespace(is_orphan=False, output=SimpleNamespace(lines=["tired"]))
    assert failures._end(worker, 71, Isolation(), "in count") == "exited with status 71 in count"
    worker.output.lines.append("hardpoint: out of memory")
    assert failures._end(worker, 71, Isolation(), "in count") == (
        "ran out of memory in count: needs more than Isolation(memory='1GiB'); give it more"
    )


def test_a_zygote_that_ends_at_once(hostile_library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spawn(_: int) -> int:
        return os.posix_spawn("/bin/sh", ["sh", "-c", "exit 7"], {})

    monkeypatch.setattr(zygote, "program", lambda: SimpleNamespace(spawn=spawn))
    monkeypatch.setattr(spawner, "_current", None)
    with pytest.raises(hardpoint.LoadError) as caught:
        hardpoint.load(hostile_library, Hostile, isolated=True)
    assert str(caught.value) == (
        f"{hostile_library} cannot be isolated: needs a process that forks workers, found that it ends at once (exit status 7); "
        "look for the program that kills it, such as a security module or the out-of-memory killer, in the kernel's log (dmesg)"
    )


def test_a_zygote_is_killed_by_its_pidfd(hostile_library: Path, run_python: RunPython) -> None:
    """A host that waits for all its children may have a new one of the same number."""
    code = f"""
import os, subprocess, sys
sys.path[:0] = {IMPORTABLE!r}
import hardpoint
from hostile import Hostile
from processes import eventually, runs
from hardpoint.isolation.host import spawner
with hardpoint.loaded({str(hostile_library)!r}, Hostile, isolated=True) as plugin:
    one = spawner.zygote()
    pid = one._pid
    other = subprocess.Popen(["sleep", "60"])
    one._pid = other.pid
    one.kill()
    print(eventually(lambda: not runs(pid)), other.poll())
    other.kill()
    print(other.wait())
"""
    assert run_python(code).stdout == "True None\n-9\n"


# -- the file ----------------------------------------------------------------------------------------------------------


def test_a_file_that_is_replaced_while_it_is_loaded(
    hostile_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(shutil.copy(hostile_library, tmp_path / "plugin.so"))
    changed: Any = workers
    require_same = changed.require_same

    def replace(*arguments: Any, **named: Any) -> None:
        Path(shutil.copy(path, tmp_path / "new")).rename(path)
        require_same(*arguments, **named)

    monkeypatch.setattr(workers, "require_same", replace)
    with pytest.raises(hardpoint.StaleError) as caught:
        hardpoint.load(path, Hostile, isolated=True)
    assert str(caught.value) == f"{path} was replaced while it was being loaded; load it again"


# -- output ------------------------------------------------------------------------------------------------------------


def test_the_workers_of_a_plugin_share_its_flow(load_hostile: LoadHostile) -> None:
    plugin = load_hostile(isolated=Isolation(workers=3, timeout=60))
    together(*[lambda: plugin.nap(100)] * 3)
    assert len({each.output.flow for each in session_of(plugin)._workers.running}) == 1


def test_dropped_records_are_counted_by_plugin() -> None:
    """Those of workers that have ended, too; while another runs, the burst goes on."""
    flow = Flow("hostile")
    warned: list[Any] = []
    flow._drops._logger = lambda _: SimpleNamespace(warning=lambda *words: warned.append(words[1:]))
    counters: list[Any] = [bytearray(8), bytearray(8)]
    for counter, number in zip(counters, (3, 4), strict=True):
        flow.count(counter)
        counter[0] = number
    assert flow.check() is not None
    flow.end_count(counters[0])
    assert not warned
    flow.end_count(counters[1])
    assert warned == [(7, "hostile")]


def test_the_pidfd_of_a_worker_may_be_refused(load_hostile: LoadHostile, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by a seccomp profile that does not know pidfd_send_signal(2): the worker sees the end of its socket."""
    plugin = load_hostile()
    [worker] = session_of(plugin)._workers.running

    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(process, "signal", SimpleNamespace(pidfd_send_signal=refuse, SIGKILL=9))
    worker.kill()
    assert worker.wait(5) == 0
