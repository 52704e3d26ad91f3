"""The places that a Registry searches and their order; no file in them breaks the search or is run."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import open_parents
from forge import Forge
from test_refusals import REMOVED

import hardpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Compiler, RunPython

pytestmark = pytest.mark.usefixtures("alone")


@pytest.fixture
def plugin(compiler: Compiler) -> Callable[..., Path]:
    """Compile a plugin of that name and copy it to a path."""

    def make(target: Path, name: str = "english", release: str = "1.0.0") -> Path:
        target.parent.mkdir(parents=True, exist_ok=True)
        made = compiler.library("broken.c", f'-DPLUGIN="{name}"', f'-DRELEASE="{release}"', name=f"{name}-{release}")
        shutil.copy(made, target)
        return target

    return make


def paths(registry: hardpoint.Registry) -> list[str | None]:
    return [found.path for found in registry]


def states(registry: hardpoint.Registry, origin: str) -> dict[str, str]:
    return {place.folder: what for place, what in registry.places if place.origin == origin}


def distribution(folder: Path, entries: str) -> None:
    """Write a package's metadata as pip does."""
    info = folder / "greetings-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: greetings\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[hardpoint.plugins]\n{entries}\n")


# -- the places --------------------------------------------------------------------------------------------------------


def test_the_places_in_their_order(
    tmp_path: Path, plugin: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    wheels = tmp_path / "site"
    monkeypatch.syspath_prepend(wheels)
    monkeypatch.setenv("HARDPOINT_PATH", f"{tmp_path}/first::{tmp_path}/second:")
    in_order = [
        plugin(tmp_path / "given/english.so"),
        plugin(tmp_path / "first/english.so"),
        plugin(tmp_path / "second/english.so"),
        plugin(wheels / "my_package/native/english.so"),
        plugin(wheels / "hardpoint_plugins/english/english.so"),
        plugin(tmp_path / "home/.local/share/hardpoint/plugins/english.so"),
        plugin(tmp_path / "system/hardpoint/plugins/english.so"),
    ]
    (wheels / "my_package/__init__.py").write_text("raise RuntimeError('imported')")
    distribution(wheels, "english = my_package.native")
    registry = hardpoint.Registry.discover([tmp_path / "given"])
    assert paths(registry) == [str(path) for path in in_order]
    assert [place.origin for place, what in registry.places if what == "1 plugin"] == [
        "given", "$HARDPOINT_PATH", "$HARDPOINT_PATH", "installed", "installed", "user", "system",
    ]  # fmt: skip
    first, *others = registry
    assert (first.status, first.shadowed_by, first.shadows) == ("fits", None, tuple(others))
    for other in others:
        assert (other.status, other.shadowed_by, other.shadows) == ("shadowed", first, ())
    assert "my_package" not in sys.modules


def test_given_folders_are_the_only_ones(
    tmp_path: Path, plugin: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARDPOINT_PATH", str(plugin(tmp_path / "path/spanish.so", "spanish").parent))
    plugin(tmp_path / "given/english.so")
    assert [found.name for found in hardpoint.Registry([tmp_path / "given"])] == ["english"]
    assert [found.name for found in hardpoint.Registry([str(tmp_path / "given"), tmp_path / "path"])] == [
        "english",
        "spanish",
    ]
    assert list(hardpoint.Registry()) == []
    with pytest.raises(TypeError, match="folders is a list or tuple of folders, not one folder; write"):
        hardpoint.Registry(str(tmp_path))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (None, "folders is a list or tuple of folders, not None"),
        (3, "folders is a list or tuple of folders, not 3"),
        (b"plugins", "folders is a list or tuple of folders, not one folder; write [b'plugins']"),
        (["plugins", None], "each of folders is a str or an os.PathLike, not None"),
    ],
    ids=repr,
)
def test_an_invalid_list_of_folders(wrong: Any, said: str) -> None:
    for make in (hardpoint.Registry, hardpoint.Registry.discover):
        with pytest.raises(TypeError) as caught:
            make(wrong)
        assert str(caught.value) == said


def test_the_users_folder(tmp_path: Path, plugin: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    here = plugin(tmp_path / "data/hardpoint/plugins/english.so")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert paths(hardpoint.Registry.discover()) == [str(here)]
    monkeypatch.chdir(tmp_path)
    for ignored in ("data", ""):  # relative: ignored by the specification
        monkeypatch.setenv("XDG_DATA_HOME", ignored)
        registry = hardpoint.Registry.discover()
        assert paths(registry) == []
        assert states(registry, "user") == {f"{tmp_path}/home/.local/share/hardpoint/plugins": "no such folder"}


def test_relative_folders_stay_as_they_are_named(
    tmp_path: Path, plugin: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin(tmp_path / "plugins/english.so")
    monkeypatch.chdir(tmp_path)
    registry = hardpoint.Registry(["plugins"])
    assert paths(registry) == ["plugins/english.so"]
    monkeypatch.chdir("/")  # as a daemon does
    [found] = registry
    assert (found.path, found.status) == ("plugins/english.so", "fits")


WRONG_ENTRIES = {
    "package:attribute": "not the name of a package, such as my_package or my_package.native",
    "gone_package": "package gone_package is not installed",
    "gone_package.native": "package gone_package is not installed",
    "one_module": "one_module is a module, not a package: it has no folder",
}


@pytest.mark.parametrize("value", WRONG_ENTRIES)
def test_dangling_entry_points(tmp_path: Path, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "one_module.py").write_text("raise RuntimeError('imported')")
    distribution(tmp_path, f"greetings = {value}")
    assert (
        states(hardpoint.Registry.discover(), "installed")[f"entry point greetings = {value}"] == WRONG_ENTRIES[value]
    )


def test_an_entry_point_whose_folder_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "some_package").mkdir()
    distribution(tmp_path, "greetings = some_package.native")
    installed = states(hardpoint.Registry.discover(), "installed")
    assert installed[f"{tmp_path}/some_package/native"] == "no such folder"


def test_metadata_that_cannot_be_read_stops_nothing(
    tmp_path: Path, plugin: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    distribution(tmp_path, "greetings = some_package")
    with (tmp_path / "greetings-1.0.dist-info/entry_points.txt").open("ab") as file:
        file.write(b"\xff\xff")
    registry = hardpoint.Registry.discover([plugin(tmp_path / "plugins/english.so").parent])
    assert len(registry) == 1
    assert states(registry, "installed")["entry points hardpoint.plugins"].startswith("cannot be read: 'utf-8' codec")


def test_the_error_if_no_plugins_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    assert states(hardpoint.Registry.discover(), "installed") == {
        "entry points hardpoint.plugins": "none",
        "hardpoint_plugins": "no such folder on sys.path",
    }


# -- files in a folder -------------------------------------------------------------------------------------------------


def test_names_and_depth(tmp_path: Path, plugin: Callable[..., Path]) -> None:
    taken = [
        plugin(tmp_path / "a.so", "a"),
        plugin(tmp_path / "lib-z.1.so", "z"),
        plugin(tmp_path / "native/english.so"),
        plugin(tmp_path / "x.so/inner.so", "inner"),  # a folder named x.so
    ]
    for name in (
        ".hidden.so",
        "one.so.1",
        "two.txt",
        "three.cpython-311-x86_64-linux-gnu.so",
        "four.cpython-399-aarch64-linux-gnu.so",
        "five.abi3.so",
        ".hidden/six.so",
        "native/deep/seven.so",
    ):
        plugin(tmp_path / name, "not-looked-at")
    assert paths(hardpoint.Registry([tmp_path])) == [str(path) for path in taken]


def test_a_folder_that_is_reached_twice_is_read_once(tmp_path: Path, plugin: Callable[..., Path]) -> None:
    folder = plugin(tmp_path / "plugins/english.so").parent
    plugin(folder / "sub/spanish.so", "spanish")
    deep = plugin(folder / "sub/deep/french.so", "french")
    (tmp_path / "link").symlink_to(folder)
    (folder / "circle").symlink_to(folder)
    registry = hardpoint.Registry([folder, tmp_path / "link", f"{folder}/../plugins", folder / "sub"])
    assert paths(registry) == [f"{folder}/english.so", f"{folder}/sub/spanish.so", str(deep)]
    assert [what for _, what in registry.places] == [
        "2 plugins",
        f"the same folder as {folder}",
        f"the same folder as {folder}",
        "1 plugin",  # its own subfolders had not been read
    ]


# -- errors that must not stop it --------------------------------------------------------------------------------------


def test_odd_files_stay_with_their_problems_and_stop_nothing(
    tmp_path: Path, plugin: Callable[..., Path], compiler: Compiler, english: Path
) -> None:
    plugin(tmp_path / "good.so", "good")
    (tmp_path / "empty.so").touch()
    (tmp_path / "text.so").write_text("GROUP ( libc.so.6 )")
    (tmp_path / "short.so").write_bytes(english.read_bytes()[:5000])
    os.mkfifo(tmp_path / "fifo.so")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.so"))
    (tmp_path / "circle.so").symlink_to("circle.so")
    (tmp_path / "nowhere.so").symlink_to("gone")
    (tmp_path / "null.so").symlink_to("/dev/null")
    with (tmp_path / "huge.so").open("wb") as file:
        file.truncate(1 << 40)
    shutil.copy(english, tmp_path / "padded.so")
    os.truncate(tmp_path / "padded.so", 1 << 40)
    shutil.copy(compiler.library("broken.c", '-DNOTE="{oops"'), tmp_path / "malformed.so")
    shutil.copy(compiler.library("broken.c", "-DNO_NOTE"), tmp_path / "stripped.so")
    shutil.copy(compiler.text("dependency", "int answer(void); int answer(void) { return 42; }"), tmp_path / "lib.so")
    found = {Path(each.path or "").stem: each for each in hardpoint.Registry([tmp_path])}
    assert {name: each.status for name, each in found.items()} == {
        "good": "fits", "padded": "fits", "lib": "not a plugin", "circle": "broken", "empty": "broken", "fifo": "broken",
        "huge": "broken", "malformed": "broken", "nowhere": "broken", "null": "broken", "short": "broken",
        "socket": "broken", "stripped": "broken", "text": "broken",
    }  # fmt: skip
    assert {name: each.problems[0].found for name, each in found.items() if each.status == "broken"} == {
        "circle": "Too many levels of symbolic links",
        "empty": "an empty file",
        "fifo": "a FIFO",
        "huge": r"a file that starts with b'\x00\x00\x00\x00\x00\x00\x00\x00'",
        "malformed": "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        "nowhere": "a dangling symbolic link",
        "null": "a character device",
        "short": f"5000 bytes, while the table of section headers would end at {english.stat().st_size}",
        "socket": "a socket",
        "stripped": f"none, though it has the symbol hardpoint_greeter_v1: {REMOVED}",
        "text": "a file that starts with b'GROUP ( '",
    }
    for each in found.values():
        if each.status in {"broken", "not a plugin"}:
            assert (each.name, each.contract, each.version, each.release, each.manifest) == (None,) * 5
            assert each.error is not None
            assert str(each.error).startswith(f"{each.path} ")


def test_a_library_with_two_plugins(tmp_path: Path, compiler: Compiler) -> None:
    two = compiler.library("header_two_contracts.c")
    shutil.copy(two, tmp_path)
    assert len({(found.contract, found.name) for found in hardpoint.Registry([tmp_path])}) == 2
    half = compiler.library("broken.c", '-DSECOND_NOTE="[]"')
    shutil.copy(half, tmp_path / "half.so")
    good, bad = [found for found in hardpoint.Registry([tmp_path]) if found.path == f"{tmp_path}/half.so"]
    assert (good.name, good.status, bad.name, bad.status) == ("broken", "does not fit", None, "broken")
    assert [problem.code for problem in (*good.problems, *bad.problems)] == ["manifest-malformed"] * 2


def test_a_file_with_a_huge_size_in_its_header_is_not_read_whole(tmp_path: Path, english: Path) -> None:
    forge = Forge(english, tmp_path / "english.so")
    forge.segment("PT_NOTE", 32, 1 << 40)  # the size in the file
    forge.write()
    [found] = hardpoint.Registry([tmp_path])
    assert (found.status, found.problems[0].found) == ("broken", "more than 1048576 bytes of notes")


def test_folders_that_cannot_be_read(tmp_path: Path, plugin: Callable[..., Path], run_python: RunPython) -> None:
    plugin(tmp_path / "good/english.so")
    closed = [
        plugin(tmp_path / "closed/spanish.so", "spanish").parent,
        plugin(tmp_path / "good/closed/spanish.so", "spanish").parent,
    ]
    (tmp_path / "file").touch()
    for folder in closed:
        folder.chmod(0)
    open_parents(tmp_path)
    code = (
        f"import os, hardpoint\n"
        f"hardpoint.Registry([{str(tmp_path)!r}])\n"  # imports modules that only root may be able to read
        "if os.geteuid() == 0: os.setuid(65534)\n"  # root can read everything
        "import warnings; warnings.simplefilter('ignore')\n"
        f"registry = hardpoint.Registry([{str(tmp_path)!r} + name for name in ('/closed', '/file', '/good', '/gone')])\n"
        "print(*(what for _, what in registry.places), *(found.name for found in registry), sep='\\n')\n"
    )
    try:
        printed = run_python(code).stdout
    finally:
        for folder in closed:
            folder.chmod(0o755)
    assert printed.splitlines() == [
        "an unreadable folder: Permission denied",
        "a file, not a folder",
        "1 plugin",
        "no such folder",
        "english",
    ]


def test_folders_that_change_while_they_are_read(tmp_path: Path, plugin: Callable[..., Path]) -> None:
    good = plugin(tmp_path / "plugins/a-good.so", "good")
    folder, ended = good.parent, threading.Event()

    def disturb() -> None:
        while not ended.is_set():
            for number in range(20):
                shutil.copy(good, folder / f"x{number}.so")
                (folder / f"sub{number}").mkdir(exist_ok=True)
            for number in range(20):
                (folder / f"x{number}.so").unlink()
                (folder / f"sub{number}").rmdir()

    other = threading.Thread(target=disturb)
    other.start()
    try:
        for _ in range(50):
            registry = hardpoint.Registry([folder])
            assert next(iter(registry)).name == "good"
            assert registry.places[0][0].state == "ok"
    finally:
        ended.set()
        other.join()


def test_without_descriptors_every_file_says_so(
    tmp_path: Path, plugin: Callable[..., Path], run_python: RunPython
) -> None:
    plugin(tmp_path / "english.so")
    code = (
        "import os, resource, warnings, hardpoint\nhardpoint.Registry()\nwarnings.simplefilter('ignore')\n"
        "limit = os.open('/', os.O_RDONLY)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (limit + 1, limit + 1))\n"
        f"print(hardpoint.Registry([{str(tmp_path)!r}]).places[0][1])\n"
    )
    assert run_python(code).stdout == "an unreadable folder: Too many open files\n"


# -- nothing runs ------------------------------------------------------------------------------------------------------


def test_nothing_of_the_plugins_runs_or_is_mapped(
    tmp_path: Path, plugin: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARDPOINT_RAN", str(tmp_path / "ran"))
    plugin(tmp_path / "plugins/english.so")
    plugin(tmp_path / "plugins/old/english.so")
    for found in hardpoint.Registry.discover([tmp_path / "plugins"]):
        assert found.status in {"fits", "shadowed"}
        assert found.problems == ()
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()
    assert not (tmp_path / "ran").exists()


def test_a_search_imports_little(tmp_path: Path, plugin: Callable[..., Path], run_python: RunPython) -> None:
    plugin(tmp_path / "english.so")
    code = (
        "import sys, hardpoint\nbefore = set(sys.modules)\n"
        f"[found] = hardpoint.Registry.discover([{str(tmp_path)!r}])\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    late = set(run_python(code).stdout.split())
    assert "hardpoint.registry" in late
    assert not late & {
        "importlib.metadata",
        "packaging",
        "packaging.version",
        "inspect",
        "difflib",
        "hashlib",
        "pathlib",
    }


def test_fit_is_checked_at_first_use(tmp_path: Path, plugin: Callable[..., Path]) -> None:
    path = plugin(tmp_path / "english.so")
    [asked] = hardpoint.Registry([tmp_path])
    [not_asked] = hardpoint.Registry([tmp_path])
    assert asked.status == "fits"
    path.unlink()
    assert asked.status == "fits"
    assert not_asked.status == "does not fit"
    assert [str(problem) for problem in not_asked.problems] == [
        "needs the file that was found, found none any more; make a new registry [file-changed]"
    ]
