"""A path -> a library's file: opened once, identified by its descriptor, hashed or pinned on demand."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from .errors import IncompatibleError, LoadError, NotAPluginError, PluginNotFoundError, Problem
from .fields import Fields

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self, TypeAlias

    Examine: TypeAlias = Callable[["LibraryFile"], str | None]
    """Raises if an open file may not be loaded; gives the digest that it is to be pinned to, or None."""

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}
_CHUNK = 1 << 20


class Identity(Fields):
    """What tells one file from another, and from what it was before: from fstat(2), `modified` in nanoseconds."""

    device: int
    inode: int
    size: int
    modified: int

    @classmethod
    def of(cls, status: os.stat_result) -> Identity:
        """The identity in an answer of stat(2)."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


class LibraryFile:
    """An open regular file that may be a library; leaving its `with` block closes it, unless it is to be kept."""

    def __init__(self, path: str, fd: int, loader_path: str, status: os.stat_result, sha256: str | None = None) -> None:
        self.path = path
        """The path as the caller named it."""
        self.fd = fd
        self.loader_path = loader_path
        """What dlopen is given: the absolute path, or the descriptor's name under /proc if it is pinned."""
        self.absolute = loader_path
        """The absolute path of the file, or of the one that a pinned copy was made of."""
        self.pinned = sha256
        """The digest of a pinned file, 64 hexadecimal digits; None if it is not pinned."""
        self.identity = Identity.of(status)
        self.kept = False
        """Set to leave the descriptor open for good: glibc knows a pinned library by its number."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.kept:
            os.close(self.fd)


def path_of(path: str | os.PathLike[str], what: str) -> str:
    """A path as text. TypeError for what is none; `what` is how the caller knows it, such as `folder`."""
    try:
        return os.fsdecode(path)
    except TypeError:
        raise TypeError(f"{what} is a str or an os.PathLike, not {path!r}") from None


def open_library(path: str | os.PathLike[str], named: str | None = None) -> LibraryFile:
    """Open the file at `path`, which has to be a regular one. Never waits for another process, as a FIFO would.

    `named` is how the caller named it, if that was in another way: relative to another folder, say. Raises PluginNotFoundError if nothing is there, and NotAPluginError if it is no regular file or cannot be read.
    """
    path = os.fsdecode(path)
    name = named or path
    try:
        # Asked before it is opened, since opening a device can do something; and again after, since it can change.
        _check_regular(name, os.stat(path).st_mode)
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise PluginNotFoundError(
            f"{name}: there is no such file; check the path, or build the plugin", path=name
        ) from error
    except OSError as error:
        if error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOMEM}:  # it says nothing about the file
            raise LoadError(
                f"{name} cannot be opened now: {error.strerror}; close some and try again", path=name
            ) from error
        fix = "check its permissions" if isinstance(error, PermissionError) else "check the path"
        problem = Problem.of("file-unreadable", error.strerror or error, fix=fix)
        raise NotAPluginError(f"{name} cannot be opened: {problem}", path=name, problems=[problem]) from error
    try:
        status = os.fstat(fd)
        _check_regular(name, status.st_mode)
    except NotAPluginError:
        os.close(fd)
        raise
    # Not os.path.abspath: it folds `link/..` away, and dlopen would open another file than this one.
    return LibraryFile(name, fd, path if path.startswith("/") else f"{os.getcwd()}/{path}", status)


def _check_regular(name: str, mode: int) -> None:
    if not stat.S_ISREG(mode):
        found = _KINDS.get(stat.S_IFMT(mode), "a special file")
        problem = Problem.of("file-kind", found)
        raise NotAPluginError(f"{name} is not a plugin: {problem}", path=name, problems=[problem])


def digest(file: LibraryFile) -> str:
    """The SHA-256 (FIPS 180-4) of the file's bytes, as 64 lower-case hexadecimal digits."""
    return _copy(file, None)


def pin(file: LibraryFile, sha256: str) -> LibraryFile:
    """A sealed copy of the file in memory (memfd_create(2)), whose bytes have this digest and can change no more.

    IncompatibleError if the digest is another one. TypeError or ValueError if `sha256` is not 64 hexadecimal digits.
    """
    if not isinstance(sha256, str):
        raise TypeError(f"sha256 is 64 hexadecimal digits, not {sha256!r}")
    wanted = sha256.lower()
    if len(wanted) != 64 or not set(wanted) <= set("0123456789abcdef"):
        raise ValueError(f"sha256 is 64 hexadecimal digits, not {sha256!r}")
    name = os.fsencode(os.path.basename(file.path))[:200]
    try:
        memory = os.memfd_create(os.fsdecode(name), os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError as error:
        raise LoadError(f"{file.path} cannot be copied into memory: {error.strerror}", path=file.path) from error
    try:
        _check_digest(file, wanted, _copy(file, memory))
        _seal(memory)
        pinned = LibraryFile(file.path, memory, f"/proc/self/fd/{memory}", os.fstat(memory), wanted)
    except BaseException:
        os.close(memory)
        raise
    pinned.absolute = file.absolute
    return pinned


def check_digest(file: LibraryFile, wanted: str) -> None:
    """IncompatibleError if the file's bytes have another digest."""
    _check_digest(file, wanted, digest(file))


def _check_digest(file: LibraryFile, wanted: str, found: str) -> None:
    if found != wanted:
        problem = Problem.of("sha256", found, sha256=wanted)
        raise IncompatibleError(f"{file.path} is another file: {problem}", path=file.path, problems=[problem])


def _seal(memory: int) -> None:
    import fcntl  # only pinned files need it

    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, seals)


def _copy(file: LibraryFile, to: int | None) -> str:
    """Hash the file's bytes, and write the very same ones to a descriptor if there is one."""
    import hashlib  # 4 ms of start-up, for the few that ask

    sha, offset = hashlib.sha256(), 0
    while chunk := os.pread(file.fd, _CHUNK, offset):
        sha.update(chunk)
        offset += len(chunk)
        view = memoryview(chunk)
        while to is not None and view:
            view = view[os.write(to, view) :]
    return sha.hexdigest()
