"""Allow: which files a registry may load, by a lock file of digests, or by who owns them and may write to them."""

from __future__ import annotations

import os
import pwd
import stat
from typing import TYPE_CHECKING

from ..errors import Problem
from ..file import digest, path_of
from .lockfile import read_lock
from .needed_paths import needed_paths
from .steps import steps

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..file import LibraryFile
    from .steps import Step

_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_MAX_USER_ID = (1 << 32) - 2  # chown(2): (uid_t)-1 means "leave it"


class Allow:
    """A policy: which files a registry may load.

    With `lock`, the path of a file written by `hardpoint lock`: only files whose SHA-256 it lists for that contract and
    plugin. Exactly the bytes that were hashed are loaded. With `owners`, user names or ids, or with neither: only files
    that belong to one of them or to root (by default: to this process's user or to root) and that neither group nor
    others can write to. The same holds for every step on the way from the root to the file: for each folder, also those
    that symbolic links lead through, and each link's owner. These are the rules of OpenSSH's StrictModes, with links,
    and with one exception: a folder in which neither the file nor a link to it stands may be writable by others if it
    has the sticky bit, as /tmp has, since only its owner can replace what stands there. All this holds as well
    for every library that the file needs, directly or not, and for each folder of its search path (RUNPATH), where one
    could be put. A lock alone does not cover the libraries that a plugin needs, so it refuses those that lie beside it
    ($ORIGIN); of others, only `owners` says more.

    Raises HardpointError for a lock file that is missing or malformed, ValueError for an unknown user, and TypeError
    for something that is neither a user name nor an id.
    """

    __slots__ = ("_digests", "_owners", "lock")

    def __init__(
        self, lock: str | os.PathLike[str] | None = None, *, owners: Iterable[str | int] | None = None
    ) -> None:
        self.lock = None if lock is None else path_of(lock, "Allow(lock=...)")
        """The path of the lock file; None without one."""
        self._digests: dict[tuple[str, str], set[str]] = {}
        for entry in [] if self.lock is None else read_lock(self.lock):
            self._digests.setdefault((entry["contract"], entry["plugin"]), set()).add(entry["sha256"])
        self._owners: frozenset[int] | None = None
        if owners is not None or lock is None:
            self._owners = frozenset({0, *([os.geteuid()] if owners is None else _user_ids(owners))})

    def examine(self, file: LibraryFile, contract: str, plugin: str) -> tuple[str | None, list[Problem]]:
        """Return the digest to pin the open file to (None without a lock), and why it may not be loaded."""
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
        """Check every step to the file, and that they lead to the open file and not to one that took its place."""
        problems: list[Problem] = []
        last = None
        try:
            for last in steps(file.absolute):
                problems += self._check_step(last)
        except OSError as error:
            found = f"{file.path}, whose folders cannot be looked at: {error.strerror}"
            return [Problem.of("trust-owner", found, needs="a file with readable folders", fix="search again")]
        status = os.fstat(file.fd)
        if last is None or (last.status.st_dev, last.status.st_ino) != (status.st_dev, status.st_ino):
            found = f"{file.path}, replaced after it was opened"
            return [Problem.of("trust-owner", found, needs="a file that stays at its path", fix="search again")]
        problems = [*dict.fromkeys(reversed(problems))]
        return problems or [*dict.fromkeys(self._check_needed(file))]

    def _check_needed(self, file: LibraryFile) -> Iterator[Problem]:
        """Check every step to the libraries that the file needs, and to where others could put one."""
        for path, name in needed_paths(file):
            last, why = None, f", where {name}, which it needs, is looked for"
            try:
                for last in steps(path):
                    yield from self._check_step(last, why)
            except OSError:  # there is none, so nobody else may put one into the last folder that there is
                if last is not None:
                    yield from self._check_step(last._replace(is_last=True), why)

    def _check_step(self, step: Step, why: str = "") -> Iterator[Problem]:
        assert self._owners is not None  # noqa: S101 - the caller checks it
        if step.status.st_uid not in self._owners:
            owners = " or ".join(map(_user_name, sorted(self._owners)))
            found = f"{step.path}, which belongs to {_user_name(step.status.st_uid)}{why}"
            yield Problem.of("trust-owner", found, kind=step.kind, owners=owners)
        mode = stat.S_IMODE(step.status.st_mode)
        sticky = step.kind == "folder" and not step.is_last and mode & stat.S_ISVTX
        if step.kind != "link" and mode & _WRITABLE_BY_OTHERS and not sticky:
            yield Problem.of("trust-writable", f"{step.path} with mode {mode:04o}{why}", kind=step.kind, path=step.path)


def policy(allow: Allow | str | os.PathLike[str] | None) -> Allow | None:
    """Make an Allow of a registry's `allow`: a path is that of a lock file."""
    if allow is None or isinstance(allow, Allow):
        return allow
    if not isinstance(allow, (str, bytes, os.PathLike)):
        raise TypeError(f"allow is an Allow or the path of a lock file, not {allow!r}")
    return Allow(allow)


def _user_ids(owners: Iterable[str | int]) -> list[int]:
    """The ids of users. A single name need not be in a list."""
    try:
        users = [owners] if isinstance(owners, (str, bytes)) else [*owners]  # bytes would iterate as ids
    except TypeError:
        raise TypeError(f"Allow(owners=...) is a list or tuple of user names and ids, not {owners!r}") from None
    return [*map(_user_id, users)]


def _user_id(user: object) -> int:
    if isinstance(user, int) and not isinstance(user, bool):
        if not 0 <= user <= _MAX_USER_ID:
            raise ValueError(f"Allow(owners=...): a user id is a number from 0 to {_MAX_USER_ID}, not {user}")
        return user
    if not isinstance(user, str):
        raise TypeError(f"Allow(owners=...): a user is a name or an id, not {user!r}")
    try:
        return pwd.getpwnam(user).pw_uid
    except (KeyError, ValueError):  # ValueError: it contains a NUL
        raise ValueError(f"Allow(owners=...): no user {user!r} on this machine; check the name") from None


def _user_name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"
