"""Folders -> the plugins in them, by their manifests: nothing is opened with dlopen, and no package is imported.

The places, in their order; the first one wins:

1. the folders that the caller gives;
2. those of $HARDPOINT_PATH, between colons; empty ones are passed over;
3. of installed packages: what the entry points of the group `hardpoint.plugins` name, then each folder
   `hardpoint_plugins` on sys.path, which is where wheels that carry nothing but libraries put them;
4. the user's, `hardpoint/plugins` in $XDG_DATA_HOME (XDG Base Directory Specification: ~/.local/share where it is unset
   or relative);
5. the system's: /usr/local/lib, /usr/lib/<machine>-linux-gnu and /usr/lib, each with `hardpoint/plugins`.

Looked at in each: files whose names end in `.so`, in the folder and in its direct subfolders. Not those whose names
start with a dot, and no extension modules of CPython, by their names' endings.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from typing import TYPE_CHECKING

from ..errors import HardpointError, IncompatibleError, NotAPluginError, PluginNotFoundError, Problem, reasons
from ..fields import Fields
from ..file import open_library, path_of
from ..preflight.checks import read_library
from ..preflight.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..file import Identity

SYSTEM = ("/usr/local/lib", f"/usr/lib/{os.uname().machine}-linux-gnu", "/usr/lib")
GROUP, FOLDER = "hardpoint.plugins", "hardpoint_plugins"
_SAME = "the same folder as"
_OWN = os.path.join("hardpoint", "plugins")
_MODULES = (*(suffix for suffix in EXTENSION_SUFFIXES if suffix != ".so"), ".abi3.so")
"""How the names of CPython's extension modules end."""


class Place(Fields):
    """Where plugins were looked for."""

    folder: str
    """The folder as it was named; or what was looked for, where that led to none."""
    origin: str
    """Who named it: `given`, `$HARDPOINT_PATH`, `installed`, `user` or `system`."""
    state: str = "ok"
    """Why there is nothing of it, such as `no such folder`."""

    @property
    def is_read(self) -> bool:
        """Whether what it has was found, there or where it was reached before."""
        return self.state == "ok" or self.state.startswith(_SAME)


class Candidate(Fields):
    """A file in a place: its manifests, or why there are none."""

    path: str
    """As the place was named: relative if that was."""
    absolute: str
    """The same, wherever this process may go to."""
    identity: Identity | None
    manifests: tuple[Manifest, ...]
    error: NotAPluginError | IncompatibleError | None
    """Why there is no manifest, or what is wrong with those that are malformed."""


# -- the places ----------------------------------------------------------------------------------------------------------


def given(folders: Iterable[str | os.PathLike[str]]) -> list[Place]:
    """The folders that the caller names."""
    needs = "folders is a list or tuple of folders"
    if isinstance(folders, (str, bytes, os.PathLike)):
        raise TypeError(f"{needs}, not one folder; write [{os.fspath(folders)!r}]")
    try:
        listed = [*folders]
    except TypeError:
        raise TypeError(f"{needs}, not {folders!r}") from None
    return [Place(path_of(folder, "each of folders"), "given") for folder in listed]


def usual() -> list[Place]:
    """The places that are looked at without having been given."""
    path = os.environ.get("HARDPOINT_PATH", "").split(os.pathsep)
    data = os.environ.get("XDG_DATA_HOME", "")
    if not os.path.isabs(data):
        data = os.path.join(os.path.expanduser("~"), ".local", "share")
    return [
        *(Place(folder, "$HARDPOINT_PATH") for folder in path if folder),
        *_installed(),
        Place(os.path.join(data, _OWN), "user"),
        *(Place(os.path.join(folder, _OWN), "system") for folder in SYSTEM),
    ]


def _installed() -> list[Place]:
    folders = [os.path.join(entry, FOLDER) for entry in dict.fromkeys(sys.path)]
    return [
        *(_entry_points() or [Place(f"entry points {GROUP}", "installed", "none")]),
        *([Place(folder, "installed") for folder in folders if os.path.isdir(folder)]
          or [Place(FOLDER, "installed", "no such folder on sys.path")]),
    ]  # fmt: skip


def _entry_points() -> list[Place]:
    if not any(map(_names_group, dict.fromkeys(sys.path))):
        return []
    from importlib.metadata import entry_points  # 25 ms, more than all else here takes

    try:
        found = {(entry.name, entry.value) for entry in entry_points(group=GROUP)}
    except Exception as error:  # noqa: BLE001 - what somebody else installed must not keep the other places from being read
        return [Place(f"entry points {GROUP}", "installed", f"cannot be read: {error}")]
    return [_entry_point(name, value) for name, value in sorted(found)]


def _names_group(folder: str) -> bool:
    """Whether the metadata of a package in the folder has the group; as text, which is what saves the import."""
    try:
        names = [name for name in os.listdir(folder or ".") if name.endswith((".dist-info", ".egg-info"))]
    except OSError:
        return False
    for name in names:
        try:
            with open(os.path.join(folder, name, "entry_points.txt"), "rb") as file:
                if GROUP.encode() in file.read():
                    return True
        except OSError:
            continue
    return False


def _entry_point(name: str, value: str) -> Place:
    """The folder of a package, which is found without importing it: the top one by its spec, and the rest by its name."""
    what = f"entry point {name} = {value}"
    top, *rest = value.strip().split(".")
    if not value.replace(".", "_").isidentifier():
        return Place(what, "installed", "a value that is no package's name, such as my_package or my_package.native")
    from importlib.util import find_spec

    try:
        spec = find_spec(top)
    except (ImportError, ValueError, AttributeError) as error:
        return Place(what, "installed", f"package {top} cannot be found: {error}")
    if spec is None:
        return Place(what, "installed", f"no package {top} is installed")
    if not spec.submodule_search_locations:
        return Place(what, "installed", f"{top} is a module and no package: it has no folder")
    folders = [os.path.join(location, *rest) for location in spec.submodule_search_locations]
    there = [folder for folder in folders if os.path.isdir(folder)]
    return Place((there or folders)[0], "installed")


# -- what is in them -----------------------------------------------------------------------------------------------------


def read(places: list[Place]) -> Iterator[tuple[Place, list[Candidate]]]:
    """Each place with its libraries, by their names. A folder that is reached twice, by whatever path, is read once."""
    seen: dict[tuple[int, int], tuple[str, bool]] = {}
    for place in places:
        if place.state != "ok":
            yield place, []
            continue
        paths: list[str] = []
        state = _scan(place.folder, paths, seen, into=True)
        yield place._replace(state=state), [candidate for path in paths for candidate in _read(path)]


def _scan(folder: str, paths: list[str], seen: dict[tuple[int, int], tuple[str, bool]], *, into: bool) -> str:
    """Add the paths in a folder, and `into` its subfolders too; what became of it. `seen` has what was read, and whether into."""
    try:
        status = os.stat(folder)
        key = status.st_dev, status.st_ino
        before, was_into = seen.get(key, ("", False))
        if before and (was_into or not into):
            return f"{_SAME} {before}"
        with os.scandir(folder) as entries:
            found = sorted((entry.name, _is_folder(entry)) for entry in entries if not entry.name.startswith("."))
    except (FileNotFoundError, ValueError):
        return "no such folder"
    except NotADirectoryError:
        return "no folder but a file"
    except OSError as error:
        return f"a folder that cannot be read: {error.strerror}"
    seen[key] = folder, into
    if not before:
        paths += [os.path.join(folder, name) for name, is_folder in found if not is_folder and _is_library(name)]
    for name in [name for name, is_folder in found if is_folder and into]:
        _scan(os.path.join(folder, name), paths, seen, into=False)
    return "ok"


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle, say
        return False


def _is_library(name: str) -> bool:
    return name.endswith(".so") and not name.endswith(_MODULES) and ".cpython-" not in name


def _read(path: str) -> Iterator[Candidate]:
    """The file at a path with its manifests, or with the reason that it has none; nothing if it is gone by now."""
    absolute, identity = path, None
    try:
        with open_library(path) as file:
            absolute, identity = file.loader_path, file.identity
            manifests = read_library(file)[1]
    except (NotAPluginError, IncompatibleError) as error:
        yield Candidate(path, absolute, identity, (), error.with_traceback(None))  # whose frames would be kept with it
    except PluginNotFoundError:
        if os.path.islink(path):
            yield _unread(path, "a dangling link", "mend or remove the link")
    except HardpointError as error:
        yield _unread(path, str(error), "search again")
    else:
        good = tuple(each for each in manifests if isinstance(each, Manifest))
        bad = [each for each in manifests if isinstance(each, Problem)]
        message = f"{path} has a manifest that cannot be read{reasons(bad)}"
        malformed = IncompatibleError(message, path=path, problems=bad) if bad else None
        yield Candidate(path, absolute, identity, good, malformed)


def _unread(path: str, found: str, fix: str) -> Candidate:
    problem = Problem.of("file-unreadable", found, fix=fix)
    error = NotAPluginError(f"{path} cannot be opened: {problem}", path=path, problems=[problem])
    return Candidate(path, path, None, (), error)
