"""Loading leaves the process as it was: what a constructor changes is put back and named, or at least named."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from typing import TYPE_CHECKING, Any

import pytest

import hardpoint
from hardpoint import conformance
from hardpoint.contracts import Greeter
from hardpoint.inprocess import process_state, process_values, system_calls

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Compiler, Fresh, RunPython

PUT_BACK = {
    "mask": "the signal mask",
    "handler": "the handler of signal 10",
    "caught": "the handler of signal 2",
    "ignored": "the handler of signal 13",
    "real-time": f"the handler of signal {signal.SIGRTMIN + 3}",
    "children": "the handler of signal 17",
    "stack": "the alternate signal stack",
    "alarm": "the timer ITIMER_REAL",
    "timer": "the timer ITIMER_PROF",
    "no timer": "the timer ITIMER_VIRTUAL",
    "soft limit": "the limit RLIMIT_NOFILE",
    "affinity": "the CPU affinity",
    "umask": "the umask",
    "name": "the name of the thread",
    "locale": "the locale of the thread",
    "dumpable": "the dumpable attribute",
    "new variable": "the environment variable DISTURBED",
    "putenv": "the environment variable DISTURBED",
    "variable": "the environment variable HOME",
    "no variable": "the environment variable HOME",
    "in place": "the environment variable HOME",
}


@pytest.fixture
def disturb(compiler: Compiler, fresh: Fresh) -> Path:
    compiler.header(Greeter)
    return fresh(compiler.library("disturb.c"))


def c_environment() -> dict[bytes, bytes]:
    return process_values.read_environment().variables()


@pytest.mark.parametrize("what", PUT_BACK)
def test_a_change_is_put_back_and_named(disturb: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setenv("DISTURB", what)
    if what == "affinity" and len(os.sched_getaffinity(0)) == 1:
        pytest.skip("this process has one CPU already")
    if what == "no timer":
        signal.setitimer(signal.ITIMER_VIRTUAL, 1000)
    try:
        before, variables = process_state.take(), c_environment()
        with pytest.warns(hardpoint.HardpointWarning) as caught:
            assert hardpoint.load(disturb, Greeter).lang() == "English"
        assert process_state.restore(before) == []
        assert c_environment() == variables
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    [warning] = caught
    assert isinstance(warning.message, hardpoint.HardpointWarning)
    assert warning.message.changed == (PUT_BACK[what],)
    assert f"loading {disturb} changed {PUT_BACK[what]} of the process; this was put back" in str(warning.message)


def test_ctrl_c_works_after_a_library_that_blocks_it(disturb: Path, run_python: RunPython) -> None:
    code = f"""
import hardpoint, os, signal, warnings
from hardpoint.contracts import Greeter
warnings.simplefilter("ignore")
os.environ["DISTURB"] = "mask"
hardpoint.load({str(disturb)!r}, Greeter)
try:
    os.kill(os.getpid(), signal.SIGINT)
    signal.pause()
except KeyboardInterrupt:
    print("interrupted")
"""
    assert run_python(code).stdout == "interrupted\n"


NAMED = {
    "hard limit": ("the limit RLIMIT_FSIZE", None),
    "niceness": ("the niceness", None),
    "stdout": ("descriptor 1 (stdout)", False),
    "stderr": ("descriptor 2 (stderr)", False),
    "blocking": ("descriptor 0 (stdin)", True),
    "terminal": ("the settings of the terminal", True),
    "privileges": ("the no_new_privs attribute", False),
    "group": ("the process group or session", True),
    "user": ("the user", True),
    "root": ("the root directory", False),
    "no environment": ("the environment variable HOME", True),
}
"""And True if it is put back, None if that takes a capability that the process may have."""


def test_a_change_is_named(disturb: Path, run_python: RunPython) -> None:
    """Each in a process of its own, since not everything can be put back."""
    code = f"""
import hardpoint, os, pty, resource, warnings
from hardpoint.contracts import Greeter
warnings.simplefilter("always")
for number, what in enumerate({[*NAMED]!r}):
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
        continue
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))
    shown, changed = os.dup(1), []
    os.dup2(pty.openpty()[1], 0)
    warnings.showwarning = lambda message, *_: changed.extend(message.changed)
    os.environ["DISTURB"] = what
    hardpoint.load({str(disturb)!r}, Greeter)
    os.write(shown, f"{{what}}: {{'; '.join(changed)}}\\n".encode())
    os._exit(0)
"""
    root = os.geteuid() == 0
    found = dict(line.split(": ", 1) for line in run_python(code).stdout.splitlines())
    assert found.keys() == NAMED.keys()
    for what, (name, back) in NAMED.items():
        if what in {"user", "root"} and not root:  # only root can be another user for a while, or have another root
            continue
        changed, cannot = found[what].split("; "), f"{name} (which cannot be put back)"
        assert (name in changed) == back or (back is None and {name, cannot} & {*changed}), what
        assert back or cannot in changed or name in changed, what
        assert len(changed) == 1 or what in {"no environment", "user"}, what  # with the user go the capabilities


def test_changes_of_the_environment_by_this_program_are_left_alone(
    disturb: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread may set a variable while a library is opened."""
    monkeypatch.setenv("CHANGED_MEANWHILE", "before")
    monkeypatch.delenv("NEW_MEANWHILE", raising=False)
    take = process_state.take

    def meanwhile() -> Any:
        state = take()
        monkeypatch.setenv("CHANGED_MEANWHILE", "after")
        monkeypatch.setenv("NEW_MEANWHILE", "new")
        monkeypatch.setattr(process_state, "take", take)
        return state

    monkeypatch.setattr(process_state, "take", meanwhile)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hardpoint.load(disturb, Greeter)
    assert c_environment()[b"CHANGED_MEANWHILE"] == b"after"
    assert c_environment()[b"NEW_MEANWHILE"] == b"new"


def test_timers_of_this_program_go_on(disturb: Path) -> None:
    """One that expires meanwhile is no change."""
    fired = threading.Event()
    before = signal.signal(signal.SIGALRM, lambda *_: fired.set())
    try:
        signal.setitimer(signal.ITIMER_REAL, 1e-4)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            hardpoint.load(disturb, Greeter)
        assert fired.wait(10)
        signal.setitimer(signal.ITIMER_PROF, 500, 1000)
        state = process_state.take()
        assert process_state.restore(state) == []
        assert 400 < signal.getitimer(signal.ITIMER_PROF)[0] <= 500.1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_quiet_library_is_not_warned_of(disturb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISTURB", raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hardpoint.load(disturb, Greeter)


@pytest.mark.parametrize(
    ("what", "check", "detail"),
    [
        ("mask", "load.state", "changed the signal mask of the process"),
        ("other timer", "load.state", "loading changed the timers of timer_create(2)"),
        ("personality", "load.state", "loading changed the personality"),
        ("subreaper", "load.state", "loading changed the child subreaper attribute"),
        ("parent", "load.state", "loading changed the signal at the parent's death"),
        ("slack", "load.state", "loading changed the timer slack"),
        ("huge pages", "load.state", "loading changed transparent huge pages"),
        ("scheduling", "load.state", "loading changed the scheduling policy"),
        ("stack size", "load.state", "loading changed the limit of stack size"),
        ("at exec", "load.state", "loading changed the flags of descriptor 2 (stderr)"),
        ("stdout", "load.state", "changed descriptor 1 (stdout) (which cannot be put back)"),
        ("prints", "load.silent", "it wrote 'loaded\\n' to stdout; a plugin writes nothing there"),
        ("writes", "load.silent", "it wrote 'loaded\\n' to stderr; a plugin writes nothing there"),
    ],
)
@pytest.mark.parametrize("in_process", [False, True], ids=["apart", "in process"])
def test_the_kit_reports_it(
    disturb: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], what: str, check: str,
    detail: str, in_process: bool,
) -> None:  # fmt: skip
    if in_process and what not in {"mask", "prints", "writes"}:
        pytest.skip("it would stay so in this process")
    monkeypatch.setenv("DISTURB", what)
    [outcome] = conformance.run(disturb, Greeter, only=[check], in_process=in_process).outcomes
    assert outcome.status == "failed"
    assert detail in outcome.detail
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("what", "detail"),
    [("opens", "loading left descriptors open: "), ("thread", "loading left threads running: ")],
)
def test_the_kit_warns_of_what_is_left(disturb: Path, monkeypatch: pytest.MonkeyPatch, what: str, detail: str) -> None:
    monkeypatch.setenv("DISTURB", what)
    [outcome] = conformance.run(disturb, Greeter, only=["load.state"]).outcomes
    assert outcome.status == "warning"
    assert outcome.detail.startswith(detail)


@pytest.mark.parametrize("what", ["closes", "reopens"])
def test_a_library_that_closes_descriptors(disturb: Path, run_python: RunPython, what: str) -> None:
    """Nothing else may be closed under the number that was the file's."""
    code = f"""
import hardpoint, os, warnings
from hardpoint.contracts import Greeter
warnings.simplefilter("ignore")
os.environ["DISTURB"] = {what!r}
try:
    hardpoint.load({str(disturb)!r}, Greeter)
except hardpoint.LoadError as error:
    print("closed descriptors of this process, that of its file among them" in str(error))
print(sum(os.path.exists(f"/proc/self/fd/{{fd}}") for fd in range(3, 100)))
"""
    assert run_python(code).stdout == f"True\n{0 if what == 'closes' else 97}\n"


def test_the_kit_passes_a_quiet_library(disturb: Path) -> None:
    outcomes = conformance.run(disturb, Greeter, only=["load.state", "load.silent", "lifecycle.state"]).outcomes
    assert [outcome.status for outcome in outcomes] == ["passed"] * 3


@pytest.mark.parametrize("what", ["children", "alarm", "soft limit", "stack", "dumpable"])
def test_a_change_is_put_back_where_nothing_was_compiled(
    disturb: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    in_c = system_calls.read(1 << signal.SIGINT - 1)
    monkeypatch.setattr(system_calls, "_in_c", None)
    monkeypatch.setattr(system_calls, "_tables", {})
    assert system_calls.read(1 << signal.SIGINT - 1) == in_c
    test_a_change_is_put_back_and_named(disturb, monkeypatch, what)
