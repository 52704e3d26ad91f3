"""Allow: which files a registry may load, by a lock file of digests, or by who owns them and may write to them."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Any

from ..errors import HardpointError, Problem
from ..file import digest, path_of
from ..preflight.manifest import without_duplicates

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ..file import LibraryFile
    from ..preflight.manifest import Manifest

FORMAT = 1
FIELDS = ("contract", "plugin", "release", "file", "sha256")
_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_MOST_USER = (1 << 32) - 2  # chown(2) takes the last one for none


class Allow:
    """What a registry may load.

    With `lock`, the path of a file that `hardpoint lock` wrote: only files whose SHA-256 stands there for that contract and
    plugin, and exactly the bytes that were hashed are loaded. With `owners`, user names or ids, or with neither: only files
    that belong to one of them or to root (by default the user that this process runs as, or root), that group and others may
    not write to, and whose folders up to the root are so, too; above the file's own, one with the sticky bit, such as /tmp,
    may be written to by all. That is what OpenSSH's StrictModes asks of its files.

    HardpointError if there is no such lock file or it is malformed; ValueError for a user that there is not, and TypeError
    for what is no user at all.
    """

    __slots__ = ("_digests", "_owners", "lock")

    def __init__(
        self, lock: str | os.PathLike[str] | None = None, *, owners: Iterable[str | int] | None = None
    ) -> None:
        self.lock = None if lock is None else path_of(lock, "Allow(lock=...)")
        self._digests: dict[tuple[str, str], set[str]] = {}
        for entry in [] if self.lock is None else read_lock(self.lock):
            self._digests.setdefault((entry["contract"], entry["plugin"]), set()).add(entry["sha256"])
        self._owners: frozenset[int] | None = None
        if owners is not None or lock is None:
            self._owners = frozenset({0, *([os.geteuid()] if owners is None else _user_ids(owners))})

    def examine(self, file: LibraryFile, contract: str, plugin: str) -> tuple[str | None, list[Problem]]:
        """The digest that the open file has to be pinned to, if there is a lock; and why it may not be loaded."""
        problems: list[Problem] = []
        sha256 = None
        if self.lock is not None:
            sha256 = digest(file)
            problems += self._check_digest(sha256, contract, plugin)
        if self._owners is not None:
            problems += self._check_owners(file)
        return sha256, problems

    def _check_digest(self, sha256: str, contract: str, plugin: str) -> list[Problem]:
        allowed = self._digests.get((contract, plugin), set())
        if sha256 in allowed:
            return []
        found, fix = f"{sha256}, of a plugin that is not in the lock", ""
        if allowed:
            found = f"{sha256}, while the lock has {', '.join(sorted(allowed))}"
            fix = "find out what changed; if that is intended, rewrite the lock with `hardpoint lock`"
        return [Problem.of("trust-digest", found, fix=fix, plugin=plugin, contract=contract, lock=self.lock)]

    def _check_owners(self, file: LibraryFile) -> list[Problem]:
        """Of the open file, not of what is at its path by now; then of the folders where anybody could put another."""
        try:
            path = os.readlink(f"/proc/self/fd/{file.fd}")
            again = os.stat(path)
        except OSError as error:
            found = f"{file.path}, whose folder cannot be told: {error.strerror}"
            return [Problem.of("trust-owner", found, needs="a file with readable folders", fix="search again")]
        status = os.fstat(file.fd)
        if (again.st_dev, again.st_ino) != (status.st_dev, status.st_ino):
            found = f"{path}, replaced after it was opened"
            return [Problem.of("trust-owner", found, needs="a file that stays at its path", fix="search again")]
        problems = self._check_status("file", path, status, sticky=False)
        for folder, own in _folders(path, file.loader_path):
            try:
                problems += self._check_status("folder", folder, os.stat(folder), sticky=not own)
            except OSError as error:
                found = f"{folder}: {error.strerror}"
                problems.append(Problem.of("trust-owner", found, needs="readable folders", fix="check its permissions"))
        return problems

    def _check_status(self, what: str, path: str, status: os.stat_result, *, sticky: bool) -> list[Problem]:
        assert self._owners is not None  # noqa: S101 - who asks has seen it
        problems: list[Problem] = []
        if status.st_uid not in self._owners:
            owners = " or ".join(map(_user_name, sorted(self._owners)))
            found = f"{path}, which belongs to {_user_name(status.st_uid)}"
            problems.append(Problem.of("trust-owner", found, kind=what, owners=owners))
        mode = stat.S_IMODE(status.st_mode)
        if mode & _OTHERS and not (sticky and mode & stat.S_ISVTX):
            problems.append(Problem.of("trust-writable", f"{path} with mode {mode:04o}", kind=what, path=path))
        return problems


def policy(allow: Allow | str | os.PathLike[str] | None) -> Allow | None:
    """What a registry's `allow` asks for; a path is a lock file's."""
    if allow is None or isinstance(allow, Allow):
        return allow
    if not isinstance(allow, (str, bytes, os.PathLike)):
        raise TypeError(f"allow is an Allow or the path of a lock file, not {allow!r}")
    return Allow(allow)


def _folders(*paths: str) -> Iterator[tuple[str, bool]]:
    """The folders above the paths, up to the root, and whether each is a file's own."""
    own = dict.fromkeys(os.path.dirname(path) for path in paths)
    above: dict[str, None] = {}
    for folder in own:
        while folder != (folder := os.path.dirname(folder)):
            above[folder] = None
    yield from ((folder, True) for folder in own)
    yield from ((folder, False) for folder in above if folder not in own)


def _user_ids(owners: Iterable[str | int]) -> list[int]:
    """The ids of users; one name may stand alone."""
    try:
        users = [owners] if isinstance(owners, (str, bytes)) else [*owners]  # bytes would be a list of ids
    except TypeError:
        raise TypeError(f"Allow(owners=...) is a list or tuple of users' names and ids, not {owners!r}") from None
    return [*map(_user_id, users)]


def _user_id(user: object) -> int:
    if isinstance(user, int) and not isinstance(user, bool):
        if not 0 <= user <= _MOST_USER:
            raise ValueError(f"Allow(owners=...): a user's id is a number from 0 to {_MOST_USER}, not {user}")
        return user
    if not isinstance(user, str):
        raise TypeError(f"Allow(owners=...): a user is a name or an id, not {user!r}")
    import pwd  # only a policy that names users needs it

    try:
        return pwd.getpwnam(user).pw_uid
    except (KeyError, ValueError):  # the latter for a NUL
        raise ValueError(f"Allow(owners=...): there is no user {user!r} on this machine") from None


def _user_name(user: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"


# -- the lock file -------------------------------------------------------------------------------------------------------


def entry_of(file: LibraryFile, manifest: Manifest) -> dict[str, str]:
    """What stands in a lock file for a plugin in the open file."""
    values = (manifest.contract, manifest.plugin, manifest.release, os.path.basename(file.path), digest(file))
    return dict(zip(FIELDS, values, strict=True))


def read_lock(path: str) -> list[dict[str, str]]:
    """The entries of a lock file. HardpointError if there is none or it is malformed."""
    import json

    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file, object_pairs_hook=without_duplicates)
    except FileNotFoundError:
        raise HardpointError(f"{path}: there is no such lock file; write it with `hardpoint lock`", path=path) from None
    except OSError as error:
        needs = "give the path of a lock file that this user can read"
        raise HardpointError(f"{path} cannot be read: {error.strerror}; {needs}", path=path) from error
    except (ValueError, RecursionError) as error:
        raise HardpointError(f"{path} cannot be read as a lock file: {error}; write it anew", path=path) from error
    entries = content.get("plugins") if isinstance(content, dict) and _is_ours(content.get("hardpoint-lock")) else None
    if not isinstance(entries, list) or not all(map(_is_entry, entries)):
        raise HardpointError(f"{path} is no lock file that `hardpoint lock` wrote; write it anew", path=path)
    return [{**entry, "sha256": entry["sha256"].lower()} for entry in entries]  # by hand, as load's sha256= may be


def _is_ours(number: object) -> bool:
    return type(number) is int and number == FORMAT  # neither true nor 1.0


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and sorted(entry) == sorted(FIELDS)
        and all(isinstance(value, str) for value in entry.values())
        and len(entry["sha256"]) == 64
        and not entry["sha256"].strip("0123456789abcdefABCDEF")
    )


def write_lock(path: str, entries: Sequence[dict[str, str]]) -> None:
    """Write a lock file, by rename: a host that reads it meanwhile gets the old one or the new one. OSError if it cannot be."""
    import json

    path = os.path.realpath(path)  # a link would be replaced itself, even if it is /dev/stdout
    if os.path.exists(path) and not os.path.isfile(path):
        raise FileExistsError(errno.EEXIST, "what is there is no file", path)

    text = json.dumps({"hardpoint-lock": FORMAT, "plugins": list(entries)}, indent=2)
    new = f"{path}.{os.getpid()}"
    try:
        with open(new, "w", encoding="ascii") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    except BaseException:
        if os.path.exists(new):
            os.unlink(new)
        raise
