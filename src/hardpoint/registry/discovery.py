"""Find libraries in folders and read their manifests. Nothing is opened with dlopen, and no package is imported.

The places, in the order in which they are searched; the first that has a plugin wins:

1. the folders that the caller gives;
2. those of $HARDPOINT_PATH, separated by colons; empty ones are ignored;
3. installed packages: first what the entry points of the group `hardpoint.plugins` name, then each folder
   `hardpoint_plugins` on sys.path, where wheels that contain only libraries put them;
4. the user's: `hardpoint/plugins` in $XDG_DATA_HOME (XDG Base Directory Specification: ~/.local/share if that is unset
   or relative);
5. the system's: `hardpoint/plugins` in /usr/local/lib, /usr/lib/<machine>-linux-gnu and /usr/lib.

In each, files whose names end in `.so` are read, in the folder and in its direct subfolders. Names that start with a
dot are ignored, and so are CPython's extension modules, by the ends of their names.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from typing import TYPE_CHECKING

from ..errors import HardpointError, IncompatibleError, NotAPluginError, PluginNotFoundError, Problem, reasons
from ..fields import Fields
from ..file import open_library, path_of, read_small
from ..preflight.checks import read_library
from ..preflight.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..file import Identity

SYSTEM = ("/usr/local/lib", f"/usr/lib/{os.uname().machine}-linux-gnu", "/usr/lib")
GROUP, FOLDER = "hardpoint.plugins", "hardpoint_plugins"
PATH = "$HARDPOINT_PATH"
NAMED = ("given", PATH)
"""The origins of places that somebody named, and so expects to exist."""
_SAME = "the same folder as"
_SUBFOLDER = os.path.join("hardpoint", "plugins")
_MODULE_SUFFIXES = (*(suffix for suffix in EXTENSION_SUFFIXES if suffix != ".so"), ".abi3.so")
"""Of CPython's extension modules."""
_LARGEST = 1 << 20
"""Bytes of the largest entry_points.txt that is read."""


class Place(Fields):
    """A folder that was searched for plugins."""

    folder: str
    """The folder as it was named; for an entry point that leads to no folder, its name."""
    origin: str
    """Where the folder comes from: `given`, `$HARDPOINT_PATH`, `installed`, `user` or `system`."""
    state: str = "ok"
    """`ok`, or the reason that it was not read, such as `no such folder`."""

    @property
    def is_read(self) -> bool:
        """True if its files were found, here or under an earlier path to the same folder."""
        return self.state == "ok" or self.state.startswith(_SAME)


class Candidate(Fields):
    """A library file in a place, with its manifests or the reason that it has none."""

    path: str
    """The path under the place's folder; relative if that is."""
    absolute: str
    """The same file, independent of the working directory."""
    identity: Identity | None
    manifests: tuple[Manifest, ...]
    error: NotAPluginError | IncompatibleError | None
    """Why there is no manifest, or the problems of malformed ones."""


# -- the places --------------------------------------------------------------------------------------------------------


def given_places(folders: Iterable[str | os.PathLike[str]]) -> list[Place]:
    """The folders that the caller gives. Raises TypeError for anything but a list of paths."""
    needs = "folders is a list or tuple of folders"
    if isinstance(folders, (str, bytes, os.PathLike)):
        raise TypeError(f"{needs}, not one folder; write [{os.fspath(folders)!r}]")
    try:
        listed = [*folders]
    except TypeError:
        raise TypeError(f"{needs}, not {folders!r}") from None
    return [Place(path_of(folder, "each of folders"), "given") for folder in listed]


def usual_places() -> list[Place]:
    """The places that are searched by default, without the caller's."""
    path = os.environ.get("HARDPOINT_PATH", "").split(os.pathsep)
    data = os.environ.get("XDG_DATA_HOME", "")
    if not os.path.isabs(data):
        data = os.path.join(os.path.expanduser("~"), ".local", "share")
    return [
        *(Place(folder, PATH) for folder in path if folder),
        *_installed(),
        Place(os.path.join(data, _SUBFOLDER), "user"),
        *(Place(os.path.join(folder, _SUBFOLDER), "system") for folder in SYSTEM),
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
    from importlib.metadata import entry_points  # 25 ms, more than everything else here

    try:
        found = {(entry.name, entry.value) for entry in entry_points(group=GROUP)}
    except Exception as error:  # noqa: BLE001 - a broken package must not hide the other places
        return [Place(f"entry points {GROUP}", "installed", f"cannot be read: {error}")]
    return [_entry_point(name, value) for name, value in sorted(found)]


def _names_group(folder: str) -> bool:
    """True if a package's metadata in the folder names the group. Read as text: importlib.metadata takes 28 ms."""
    try:
        names = [name for name in os.listdir(folder or ".") if name.endswith((".dist-info", ".egg-info"))]
    except OSError:
        return False
    for name in names:
        try:
            if GROUP.encode() in read_small(os.path.join(folder, name, "entry_points.txt"), _LARGEST):
                return True
        except OSError:
            continue
    return False


def _entry_point(name: str, value: str) -> Place:
    """Find the folder of a package without importing it: the top level by its spec, the rest by name."""
    label = f"entry point {name} = {value}"
    top, *rest = value.strip().split(".")
    if not value.replace(".", "_").isidentifier():
        return Place(label, "installed", "not the name of a package, such as my_package or my_package.native")
    from importlib.util import find_spec  # 1 ms, for hosts with plugins in packages

    try:
        spec = find_spec(top)
    except (ImportError, ValueError, AttributeError) as error:
        return Place(label, "installed", f"package {top} not found: {error}")
    if spec is None:
        return Place(label, "installed", f"package {top} is not installed")
    if not spec.submodule_search_locations:
        return Place(label, "installed", f"{top} is a module, not a package: it has no folder")
    folders = [os.path.join(location, *rest) for location in spec.submodule_search_locations]
    existing = [folder for folder in folders if os.path.isdir(folder)]
    return Place((existing or folders)[0], "installed")


# -- their files -------------------------------------------------------------------------------------------------------


def read_places(places: list[Place]) -> Iterator[tuple[Place, list[Candidate]]]:
    """Yield each place with its libraries, sorted by name. A folder that is reached by several paths is read once."""
    seen: dict[tuple[int, int], tuple[str, bool]] = {}
    for place in places:
        if place.state != "ok":
            yield place, []
            continue
        paths: list[str] = []
        state = _scan(place.folder, paths, seen, subfolders=True)
        yield place._replace(state=state), [candidate for path in paths for candidate in _read(path)]


def _scan(folder: str, paths: list[str], seen: dict[tuple[int, int], tuple[str, bool]], *, subfolders: bool) -> str:
    """Add a folder's libraries to `paths`, and those of its `subfolders`, and return the place's state.

    `seen` maps each folder's device and inode to the path that it was first read by, and to True if with subfolders.
    """
    try:
        status = os.stat(folder)
        key = status.st_dev, status.st_ino
        before, with_subfolders = seen.get(key, ("", False))
        if before and (with_subfolders or not subfolders):
            return f"{_SAME} {before}"
        with os.scandir(folder) as entries:
            found = sorted((entry.name, _is_folder(entry)) for entry in entries if not entry.name.startswith("."))
    except (FileNotFoundError, ValueError):
        return "no such folder"
    except NotADirectoryError:
        return "a file, not a folder"
    except OSError as error:
        return f"an unreadable folder: {error.strerror}"
    seen[key] = folder, subfolders
    if not before:
        paths += [os.path.join(folder, name) for name, is_folder in found if not is_folder and _is_library(name)]
    for name in [name for name, is_folder in found if is_folder and subfolders]:
        _scan(os.path.join(folder, name), paths, seen, subfolders=False)
    return "ok"


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # e.g. a symbolic link to itself
        return False


def _is_library(name: str) -> bool:
    return name.endswith(".so") and not name.endswith(_MODULE_SUFFIXES) and ".cpython-" not in name


def _read(path: str) -> Iterator[Candidate]:
    """Yield the file at a path with its manifests or the reason why it has none; nothing if it was removed."""
    absolute, identity = path, None
    try:
        with open_library(path) as file:
            absolute, identity = file.loader_path, file.identity
            manifests = read_library(file)[1]
    except (NotAPluginError, IncompatibleError) as error:
        yield Candidate(path, absolute, identity, (), error.with_traceback(None))  # frees the frames
    except PluginNotFoundError:
        if os.path.islink(path):
            yield _unread(path, "a dangling symbolic link", "fix or remove the link")
    except HardpointError as error:
        yield _unread(path, str(error), "search again")
    else:
        valid = tuple(each for each in manifests if isinstance(each, Manifest))
        problems = [each for each in manifests if isinstance(each, Problem)]
        message = f"{path} has a malformed manifest{reasons(problems)}"
        malformed = IncompatibleError(message, path=path, problems=problems) if problems else None
        yield Candidate(path, absolute, identity, valid, malformed)


def _unread(path: str, found: str, fix: str) -> Candidate:
    problem = Problem.of("file-unreadable", found, fix=fix)
    error = NotAPluginError(f"{path} cannot be opened: {problem}", path=path, problems=[problem])
    return Candidate(path, path, None, (), error)
