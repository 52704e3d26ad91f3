"""Isolated plugins that behave: what load takes and refuses, pools, threads, asyncio, reload."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hostile
import pytest
from hostile import Hostile
from probe import Probe
from processes import eventually, runs, workers
from test_bindings import probe_library

import hardpoint
from hardpoint import Isolation
from hardpoint.contracts import Greeter, Transformer

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Compiler, RunPython

__all__ = ["probe_library"]
HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def library(compiler: Compiler) -> Path:
    return hostile.build(compiler)


@pytest.fixture(scope="session")
def newer(compiler: Compiler) -> Path:
    return hostile.build(compiler, '-DRELEASE="2.0.0"')


@pytest.fixture(scope="session")
def serial(compiler: Compiler) -> Path:
    return hostile.build(compiler, "-DSERIAL")


@pytest.fixture
def load(library: Path, request: pytest.FixtureRequest) -> Callable[..., Hostile]:
    """Load the hostile plugin; it is closed after the test."""

    def load(path: Path = library, isolated: Any = True, **options: Any) -> Hostile:
        plugin = hardpoint.load(path, Hostile, isolated=isolated, **options)
        request.addfinalizer(lambda: hardpoint.close(plugin))
        return plugin

    return load


def together(*functions: Callable[[], Any]) -> list[Any]:
    """What they give, called at once on a thread each; an error is given too."""
    results: list[Any] = [None] * len(functions)
    barrier = threading.Barrier(len(functions))

    def call(at: int) -> None:
        barrier.wait()
        try:
            results[at] = functions[at]()
        except hardpoint.HardpointError as error:
            results[at] = error

    threads = [threading.Thread(target=call, args=(at,)) for at in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


# -- load ------------------------------------------------------------------------------------------------------------


def test_info_tells_how_it_is_kept(load: Callable[..., Hostile], library: Path) -> None:
    options = Isolation(timeout=5.0, memory="256MiB")
    plugin = load(isolated=options)
    about = hardpoint.info(plugin)
    assert about.isolation is not None
    assert about.isolation.options == options
    assert about.isolation.workers == (plugin.pid(),)
    assert all(isinstance(line, str) for line in about.isolation.sandbox)
    assert about.isolation.sandbox
    assert about.sha256 == hashlib.sha256(library.read_bytes()).hexdigest()
    assert about.binding in {"native", "cffi", "ctypes"}
    assert plugin.pid() != os.getpid()


def test_a_closed_plugin_has_no_worker(load: Callable[..., Hostile]) -> None:
    plugin = load()
    [pid] = workers(plugin)
    hardpoint.close(plugin)
    assert not runs(pid)
    assert workers(plugin) == ()
    hardpoint.close(plugin)
    with pytest.raises(hardpoint.ClosedError, match="count cannot be called: hostile was closed; load it again"):
        plugin.count()


def test_an_object_that_nobody_holds_ends_its_worker(library: Path) -> None:
    plugin = hardpoint.load(library, Hostile, isolated=True)
    [pid] = workers(plugin)
    del plugin
    assert eventually(lambda: not runs(pid))


@pytest.mark.parametrize("binding", ["native", "cffi", "ctypes"])
def test_the_same_file_can_be_in_the_process_too(
    load: Callable[..., Hostile], library: Path, tmp_path: Path, binding: Any
) -> None:
    copy = shutil.copy(library, tmp_path)
    inside = hardpoint.load(copy, Hostile, binding=binding)
    outside = load(copy)
    assert (inside.pid(), outside.pid() != os.getpid()) == (os.getpid(), True)


def test_config_reaches_a_fresh_worker_too(probe_library: Path) -> None:
    with hardpoint.loaded(probe_library, Probe, isolated=True, config={"a": "é"}) as plugin:
        assert plugin.config() == '{"a": "é"}'
        os.kill(workers(plugin)[0], signal.SIGKILL)
        with pytest.raises(hardpoint.CrashedError, match="killed by SIGKILL in config"):
            plugin.config()
        assert plugin.config() == '{"a": "é"}'


def test_a_large_config_and_a_long_reason(probe_library: Path) -> None:
    """More than a packet holds."""
    config = "x" * 3_000_000
    with hardpoint.loaded(probe_library, Probe, isolated=True, config=config) as plugin:
        assert plugin.config() == config
        with pytest.raises(hardpoint.CallError) as caught:
            plugin.fail(300, config)
        assert (caught.value.status, caught.value.text) == (300, config)


def test_many_large_arguments_at_once(probe_library: Path) -> None:
    with hardpoint.loaded(probe_library, Probe, isolated=True) as plugin:
        for size in (0, 1, 16383, 16384, 16385, 100_000, 5_000_000, 10):
            data = bytearray(b"f" * size)
            text = plugin.mixed(-1, 2.5, "é" * size, True, b"e" * size, data, 0.125, 7)
            assert text == f"-1 2.5 {'é' * size} 1 {'e' * size} {size} 0.125 7"
            assert data == bytes(size)


OPTIONS: list[dict[str, Any]] = [
    {"timeout": 0}, {"timeout": -1.0}, {"timeout": "2"}, {"timeout": float("nan")}, {"workers": 0}, {"workers": 1.5},
    {"workers": None}, {"workers": True}, {"cpu": 0.5}, {"files": "many"}, {"restart": "always"},
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_options_that_cannot_be(library: Path, options: dict[str, Any]) -> None:
    [(name, value)] = options.items()
    with pytest.raises(ValueError, match=rf"^Isolation\({name}=\.\.\.\) is .*, not {value!r}$"):
        hardpoint.load(library, Hostile, isolated=Isolation(**options))


@pytest.mark.parametrize("size", ["much", -1, 0, "0MiB", "1.5GiB", ""])
def test_sizes_that_cannot_be(library: Path, size: Any) -> None:
    with pytest.raises(ValueError, match=rf"not {size!r}$"):
        hardpoint.load(library, Hostile, isolated=Isolation(memory=size))


def test_an_option_that_there_is_not(library: Path) -> None:
    with pytest.raises(TypeError, match="tiemout"):
        Isolation(tiemout=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"^isolated is True, False or an Isolation\(\.\.\.\), not str$"):
        hardpoint.load(library, Hostile, isolated="yes")  # type: ignore[arg-type]


@pytest.mark.parametrize("timeout", [30, 1e300, float("inf")])
def test_long_timeouts(library: Path, timeout: float) -> None:
    with hardpoint.loaded(library, Hostile, isolated=Isolation(timeout=timeout)) as plugin:
        assert plugin.count() == 1


def test_what_is_refused_is_refused_before_any_process_starts(
    library: Path, english: Path, tmp_path: Path, run_python: RunPython
) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(HERE)!r})
import hardpoint
from hardpoint.contracts import Greeter, Transformer
from processes import children
def refused(kind, path, contract=Greeter, **options):
    try:
        hardpoint.load(path, contract, isolated=True, **options)
    except kind as error:
        print(type(error).__name__, children())
refused(hardpoint.PluginNotFoundError, "/nowhere.so")
refused(hardpoint.NotAPluginError, {str(HERE / "conftest.py")!r})
refused(hardpoint.IncompatibleError, {str(english)!r}, Transformer)
refused(hardpoint.IncompatibleError, {str(english)!r}, sha256="0" * 64)
refused(ValueError, {str(english)!r}, sha256="0")
refused(TypeError, {str(english)!r}, config=5)
"""
    names = [
        "PluginNotFoundError",
        "NotAPluginError",
        "IncompatibleError",
        "IncompatibleError",
        "ValueError",
        "TypeError",
    ]
    assert run_python(code).stdout.splitlines() == [f"{name} []" for name in names]
    with pytest.raises(hardpoint.IncompatibleError, match="does not fit transformer") as caught:
        hardpoint.load(english, Transformer, isolated=True)
    with pytest.raises(hardpoint.IncompatibleError) as inside:
        hardpoint.load(english, Transformer)
    assert (str(caught.value), caught.value.problems) == (str(inside.value), inside.value.problems)


# -- files that change -----------------------------------------------------------------------------------------------


def test_pinned(load: Callable[..., Hostile], library: Path, tmp_path: Path) -> None:
    """Exactly those bytes, in every worker, whatever becomes of the file."""
    digest = hashlib.sha256(library.read_bytes()).hexdigest()
    path = Path(shutil.copy(library, tmp_path / "pinned.so"))
    plugin = load(path, sha256=digest)
    assert hardpoint.info(plugin).sha256 == digest
    path.unlink()
    assert plugin.count() == 1
    with pytest.raises(hardpoint.CrashedError):
        plugin.harm("abort")
    assert plugin.count() == 1
    with pytest.raises(hardpoint.IncompatibleError, match="is another file"):
        load(sha256=digest[::-1])


def replace(path: Path, source: Path) -> None:
    """As package managers do."""
    beside = path.with_suffix(".new")
    shutil.copy(source, beside)
    beside.replace(path)


@pytest.fixture
def path(library: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(library, tmp_path / "plugin.so"))


def test_a_file_that_is_replaced_is_no_error(load: Callable[..., Hostile], path: Path, newer: Path) -> None:
    plugin = load(path)
    replace(path, newer)
    assert plugin.release() == "1.0.0"
    assert load(path).release() == "2.0.0"
    assert plugin.release() == "1.0.0"
    path.unlink()
    assert plugin.release() == "1.0.0"


def test_a_worker_that_dies_after_its_file_was_replaced(load: Callable[..., Hostile], path: Path, newer: Path) -> None:
    """The new file was checked by nobody: to go on with it is what reload is for."""
    plugin = load(path)
    replace(path, newer)
    with pytest.raises(hardpoint.CrashedError):
        plugin.harm("abort")
    with pytest.raises(hardpoint.StaleError, match="was replaced") as caught:
        plugin.count()
    assert caught.value.path == str(path)
    hardpoint.reload(plugin)
    assert plugin.release() == "2.0.0"


# -- reload ----------------------------------------------------------------------------------------------------------


def test_reload_goes_on_with_the_file_that_is_there_now(load: Callable[..., Hostile], path: Path, newer: Path) -> None:
    options = Isolation(timeout=30.0, memory="256MiB")
    plugin = load(path, options, config="if:/nowhere")
    [before] = workers(plugin)
    replace(path, newer)
    hardpoint.reload(plugin)
    about = hardpoint.info(plugin)
    assert (plugin.release(), about.manifest.release) == ("2.0.0", "2.0.0")
    assert about.sha256 == hashlib.sha256(newer.read_bytes()).hexdigest()
    assert about.isolation is not None
    assert about.isolation.options == options
    assert isinstance(plugin, Hostile)
    assert "2.0.0" in repr(plugin)
    assert eventually(lambda: not runs(before))


def test_a_call_that_is_under_way_ends_with_the_old_file(load: Callable[..., Hostile], path: Path, newer: Path) -> None:
    plugin = load(path)
    [before] = workers(plugin)

    def reload() -> str:
        threading.Event().wait(0.2)
        replace(path, newer)
        hardpoint.reload(plugin)
        assert runs(before)
        return plugin.release()

    assert together(lambda: plugin.nap(1000), reload) == [before, "2.0.0"]
    assert eventually(lambda: not runs(before))


def test_a_new_file_that_does_not_fit_leaves_the_old_one_serving(
    load: Callable[..., Hostile], path: Path, english: Path
) -> None:
    plugin = load(path)
    plugin.count()
    replace(path, english)
    with pytest.raises(hardpoint.IncompatibleError, match=r"does not fit hostile 1\.0"):
        hardpoint.reload(plugin)
    assert plugin.count() == 2
    path.write_bytes(b"rubbish, and not in place")
    with pytest.raises(hardpoint.NotAPluginError):
        hardpoint.reload(plugin)
    path.unlink()
    with pytest.raises(hardpoint.PluginNotFoundError):
        hardpoint.reload(plugin)
    assert plugin.count() == 3


def test_a_new_file_whose_create_dies_leaves_the_old_one_serving(load: Callable[..., Hostile], tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    plugin = load(config=f"if:{trap}")
    plugin.count()
    trap.touch()
    with pytest.raises(hardpoint.CrashedError, match="SIGABRT in create"):
        hardpoint.reload(plugin)
    assert plugin.count() == 2


def test_reload_makes_up_for_a_plugin_that_was_given_up(load: Callable[..., Hostile]) -> None:
    plugin = load(isolated=Isolation(restart="never"))
    with pytest.raises(hardpoint.CrashedError):
        plugin.harm("abort")
    with pytest.raises(hardpoint.CrashedError, match="restart is 'never'"):
        plugin.count()
    hardpoint.reload(plugin)
    assert plugin.count() == 1


def test_reload_is_for_isolated_plugins(english: Path, tmp_path: Path) -> None:
    plugin = hardpoint.load(shutil.copy(english, tmp_path), Greeter)
    with pytest.raises(
        TypeError, match="is not isolated: its library stays in the process for good; load it with isolated=True"
    ):
        hardpoint.reload(plugin)
    with pytest.raises(TypeError, match="'x' is not a plugin object"):
        hardpoint.reload("x")


def test_a_closed_plugin_is_not_reloaded(load: Callable[..., Hostile]) -> None:
    plugin = load()
    hardpoint.close(plugin)
    with pytest.raises(hardpoint.ClosedError, match="reload cannot be called: hostile was closed; load it again"):
        hardpoint.reload(plugin)
    assert workers(plugin) == ()


# -- threads, pools, asyncio -----------------------------------------------------------------------------------------


def test_threads_call_one_worker_at_once(load: Callable[..., Hostile]) -> None:
    plugin = load()
    seen: list[int] = []

    def watch() -> None:
        [pid] = workers(plugin)
        threading.Event().wait(0.3)
        seen.append(len(os.listdir(f"/proc/{pid}/task")))

    assert together(*[lambda: plugin.nap(600)] * 4, watch) == [workers(plugin)[0]] * 4 + [None]
    assert seen[0] >= 5  # a thread for each call


@pytest.mark.parametrize("kind", ["library", "serial"])
def test_workers_share_the_calls(load: Callable[..., Hostile], request: pytest.FixtureRequest, kind: str) -> None:
    plugin = load(request.getfixturevalue(kind), Isolation(workers=3))
    pids = together(*[lambda: plugin.nap(400)] * 3)
    assert len(set(pids)) == 3
    assert set(workers(plugin)) == set(pids)
    hardpoint.close(plugin)
    assert not any(map(runs, pids))


def test_one_worker_of_a_pool_dies_and_the_others_go_on(load: Callable[..., Hostile]) -> None:
    plugin = load(isolated=Isolation(workers=2))
    first, second = together(*[lambda: plugin.nap(300)] * 2)
    assert first != second
    errors = together(lambda: plugin.harm("segv"), lambda: plugin.nap(300))
    assert isinstance(errors[0], hardpoint.CrashedError)
    assert errors[1] in {first, second}
    again = together(*[lambda: plugin.nap(300)] * 2)
    assert len(set(again)) == 2
    assert len(set(again) & {first, second}) == 1


def test_a_serial_plugin_serves_one_call_at_a_time_in_one_worker(probe_library: Path, compiler: Compiler) -> None:
    library = compiler.library("probe.c", "-pthread", "-DSERIAL")
    with hardpoint.loaded(library, Probe, isolated=True) as plugin:
        assert together(*[lambda: plugin.overlap(30)] * 4) == [1] * 4
    with hardpoint.loaded(library, Probe, isolated=Isolation(workers=2)) as plugin:
        assert together(*[lambda: plugin.overlap(30)] * 6) == [1] * 6


def test_awaited_calls_overlap_and_the_loop_goes_on(load: Callable[..., Hostile]) -> None:
    plugin = hardpoint.awaitable(load(isolated=Isolation(workers=2)))
    turns = 0

    async def tick() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.01)

    async def main() -> set[int]:
        ticking = asyncio.create_task(tick())
        pids = await asyncio.gather(plugin.nap(500), plugin.nap(500))
        ticking.cancel()
        return set(pids)

    assert len(asyncio.run(main())) == 2
    assert turns > 5


def test_awaited_errors_and_names(load: Callable[..., Hostile]) -> None:
    plain = load()
    plugin = hardpoint.awaitable(plain)
    with pytest.raises(hardpoint.CrashedError):
        asyncio.run(plugin.harm("abort"))
    assert asyncio.run(plugin.count()) == 1
    assert repr(plugin) == f"<awaitable {plain!r}>"
    assert set(dir(plugin)) == {name for name in dir(Hostile) if not name.startswith("_")}
    with pytest.raises(AttributeError, match="has no method 'hum'"):
        plugin.hum  # noqa: B018
    with pytest.raises(TypeError, match="'x' is not a plugin object"):
        hardpoint.awaitable("x")


def test_to_stop_waiting_leaves_the_plugin_usable(load: Callable[..., Hostile]) -> None:
    plugin = hardpoint.awaitable(load())

    async def main() -> int:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await plugin.nap(400)
        number: int = await plugin.count()
        return number

    assert asyncio.run(main()) == 1


def test_an_interrupted_call_gives_no_answer_to_the_next(load: Callable[..., Hostile]) -> None:
    plugin = load()

    def interrupt(*_: object) -> None:
        raise TimeoutError("a handler of the host")

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(TimeoutError, match=r"^a handler of the host$"):
            plugin.nap(500)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert plugin.release() == "1.0.0"
    assert plugin.count() == 1
    assert workers(plugin) == (plugin.pid(),)


def test_a_host_that_blocks_signals_learns_all_the_same_how_a_worker_died(library: Path, run_python: RunPython) -> None:
    """They would be blocked in the processes that it starts."""
    code = f"""
import signal, sys
sys.path.insert(0, {str(HERE)!r})
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
import hardpoint
from hostile import Hostile
plugin = hardpoint.load({str(library)!r}, Hostile, isolated=hardpoint.Isolation(timeout=30))
for what in ("alarm", "segv", "exit"):
    try:
        plugin.harm(what)
    except hardpoint.CrashedError as error:
        print(error.signal, error.status)
"""
    assert run_python(code).stdout == "14 None\n11 None\nNone 0\n"


def test_a_host_without_stdin_stdout_and_stderr(library: Path, tmp_path: Path, run_python: RunPython) -> None:
    """A daemon: descriptors 0, 1 and 2 are whatever was opened first."""
    said = tmp_path / "said"
    code = f"""
import os, sys
sys.path.insert(0, {str(HERE)!r})
import hardpoint
from hostile import Hostile
for fd in range(3):
    os.close(fd)
plugin = hardpoint.load({str(library)!r}, Hostile, isolated=True)
plugin.write("nobody", 1)
count = plugin.count()
with open({str(said)!r}, "w") as file:
    file.write(str(count))
"""
    run_python(code, check=False)
    assert said.read_text() == "1"
