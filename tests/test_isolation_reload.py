"""Replacing the file of an isolated plugin, and reload."""

from __future__ import annotations

import hashlib
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import hostile
import pytest
from hostile import Hostile
from processes import eventually, runs, together, workers

import hardpoint
from hardpoint import Isolation
from hardpoint.contracts import Greeter

if TYPE_CHECKING:
    from conftest import Compiler, LoadHostile


@pytest.fixture(scope="session")
def newer(compiler: Compiler) -> Path:
    return hostile.build(compiler, '-DRELEASE="2.0.0"')


def replace(path: Path, source: Path) -> None:
    """Replace a file as package managers do."""
    beside = path.with_suffix(".new")
    shutil.copy(source, beside)
    beside.replace(path)


@pytest.fixture
def path(hostile_library: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(hostile_library, tmp_path / "plugin.so"))


def test_a_replaced_file_is_not_an_error(load_hostile: LoadHostile, path: Path, newer: Path) -> None:
    plugin = load_hostile(path)
    replace(path, newer)
    assert plugin.release() == "1.0.0"
    assert load_hostile(path).release() == "2.0.0"
    assert plugin.release() == "1.0.0"
    path.unlink()
    assert plugin.release() == "1.0.0"


def test_a_worker_that_dies_after_its_file_was_replaced(load_hostile: LoadHostile, path: Path, newer: Path) -> None:
    """The new file is not checked yet: only reload does that."""
    plugin = load_hostile(path)
    replace(path, newer)
    with pytest.raises(hardpoint.CrashedError):
        plugin.harm("abort")
    with pytest.raises(
        hardpoint.StaleError, match=r"was replaced after it was loaded, .*; call hardpoint\.reload to load that"
    ) as caught:
        plugin.count()
    assert caught.value.path == str(path)
    hardpoint.reload(plugin)
    assert plugin.release() == "2.0.0"


def test_reload_uses_the_current_file(load_hostile: LoadHostile, path: Path, newer: Path) -> None:
    options = Isolation(timeout=30.0, memory="256MiB")
    plugin = load_hostile(path, options, config="if:/nowhere")
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


def test_a_running_call_finishes_with_the_old_file(load_hostile: LoadHostile, path: Path, newer: Path) -> None:
    plugin = load_hostile(path)
    [before] = workers(plugin)

    def reload() -> str:
        threading.Event().wait(0.2)
        replace(path, newer)
        hardpoint.reload(plugin)
        assert runs(before)
        return plugin.release()

    assert together(lambda: plugin.nap(450), reload) == [before, "2.0.0"]
    assert eventually(lambda: not runs(before))


def test_a_new_file_that_does_not_fit_leaves_the_old_one_serving(
    load_hostile: LoadHostile, path: Path, english: Path
) -> None:
    plugin = load_hostile(path)
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


def test_a_file_that_is_gone_at_the_reload_is_named_as_it_was_given(
    load_hostile: LoadHostile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    plugin = load_hostile(Path(path.name))
    path.unlink()
    with pytest.raises(hardpoint.PluginNotFoundError) as caught:
        hardpoint.reload(plugin)
    assert str(caught.value) == f"{path.name}: there is no such file; check the path, or build the plugin"
    assert caught.value.path == path.name


def test_a_new_file_whose_create_dies_leaves_the_old_one_serving(load_hostile: LoadHostile, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    plugin = load_hostile(config=f"if:{trap}")
    plugin.count()
    trap.touch()
    with pytest.raises(hardpoint.CrashedError, match="SIGABRT in loading"):
        hardpoint.reload(plugin)
    assert plugin.count() == 2


def test_reload_revives_a_plugin_after_too_many_failed_starts(load_hostile: LoadHostile) -> None:
    plugin = load_hostile(isolated=Isolation(restart="never"))
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


def test_a_closed_plugin_is_not_reloaded(load_hostile: LoadHostile) -> None:
    plugin = load_hostile()
    hardpoint.close(plugin)
    with pytest.raises(hardpoint.ClosedError, match="reload cannot be called: hostile was closed; load it again"):
        hardpoint.reload(plugin)
    assert workers(plugin) == ()
