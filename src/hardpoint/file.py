"""A path -> an open library file, identified by its descriptor, hashed or pinned on demand."""

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
    """Raises if an open file may not be loaded; returns the digest to pin it to, or None."""

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}
_CHUNK = 1 << 20
LARGEST, _MOST_HOLES = 4 << 30, 64 << 20
"""Bytes of the largest file that is hashed, and of the holes in it, which cost whoever made them nothing (lseek(2)).
The largest libraries, PyTorch's for CUDA and LLVM's with debug information, have 1 to 3 GiB, and no holes, or small
ones where a copy left out zeros."""


class Identity(Fields):
    """Identifies a file and its version, from fstat(2); `modified` is in nanoseconds."""

    device: int
    inode: int
    size: int
    modified: int

    @classmethod
    def of(cls, status: os.stat_result) -> Identity:
        """Take the identity from a result of stat(2)."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


class LibraryFile:
    """An open regular file that may be a library. Leaving its `with` block closes it, unless `kept` is set."""

    def __init__(self, path: str, fd: int, loader_path: str, status: os.stat_result, sha256: str | None = None) -> None:
        self.path = path
        """The path as the caller named it."""
        self.fd = fd
        self.loader_path = loader_path
        """The path for dlopen: the absolute path, or the descriptor's name under /proc if it is pinned."""
        self.absolute = loader_path
        """The absolute path of the file, or of the original of a pinned copy."""
        self.pinned = sha256
        """The SHA-256 of a pinned file, 64 hexadecimal digits; None if it is not pinned."""
        self.identity = Identity.of(status)
        self.digest: str | None = None
        """Its SHA-256, once it was computed."""
        self.kept = False
        """True to leave the descriptor open: glibc identifies a pinned library by its name, which has the number."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.kept and self.is_open():
            os.close(self.fd)

    def is_open(self) -> bool:
        """True if the descriptor still is the file's: code of a library may have closed it, and others its number."""
        try:
            status = os.fstat(self.fd)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self.identity[:2]


def path_of(path: str | os.PathLike[str], what: str) -> str:
    """Convert a path to str. TypeError if it is not a path; `what` is the caller's name for it, such as `folder`."""
    try:
        return os.fsdecode(path)
    except TypeError:
        raise TypeError(f"{what} is a str or an os.PathLike, not {path!r}") from None


def tilde_hint(path: str) -> str:
    """The end of a message about a path that leads nowhere, if it starts with `~`; "" for others."""
    home = os.path.expanduser(path) if path.startswith("~") else path
    return f"; only a shell expands ~, so write {home}" if home != path else ""


def open_library(path: str | os.PathLike[str], named: str | None = None) -> LibraryFile:
    """Open the regular file at `path`, without ever blocking, as on a FIFO.

    `named` is the path as the caller wrote it, if that differs. Raises PluginNotFoundError if nothing is there,
    NotAPluginError if it is not a regular file or cannot be read, and LoadError if the process is out of descriptors.
    """
    path = os.fsdecode(path)
    name = named or path
    try:
        # Checked before opening, since opening a device can have effects, and again after, since the path can change.
        _check_regular(name, os.stat(path).st_mode)
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise PluginNotFoundError(
            f"{name}: there is no such file; check the path, or build the plugin{tilde_hint(name)}", path=name
        ) from error
    except OSError as error:
        if error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOMEM}:  # not the file's fault
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
    # Not os.path.abspath: it removes `link/..`, so that dlopen would open another file than this one.
    return LibraryFile(name, fd, path if path.startswith("/") else f"{os.getcwd()}/{path}", status)


def _check_regular(name: str, mode: int) -> None:
    if not stat.S_ISREG(mode):
        found = _KINDS.get(stat.S_IFMT(mode), "a special file")
        problem = Problem.of("file-kind", found)
        raise NotAPluginError(f"{name} is not a plugin: {problem}", path=name, problems=[problem])


def _check_size(file: LibraryFile) -> None:
    size = os.fstat(file.fd).st_size
    found = f"{size} bytes"
    if size <= LARGEST:
        holes = _holes(file.fd, size) if size > _MOST_HOLES else 0
        if holes <= _MOST_HOLES:
            return
        found += f", with {holes} or more of them in holes"
    problem = Problem.of("file-large", found)
    raise NotAPluginError(f"{file.path} cannot be hashed: {problem}", path=file.path, problems=[problem])


def _holes(fd: int, size: int) -> int:
    """Count the bytes in holes, up to the first that is over the limit; 0 where the file system tells none."""
    at = holes = 0
    while at < size and holes <= _MOST_HOLES:
        try:
            data = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:  # ENXIO: there is only a hole up to the end
            data = size
        holes += data - at
        at = os.lseek(fd, data, os.SEEK_HOLE) if data < size else size
    return holes


def read_small(path: str, most: int) -> bytes:
    """Read a regular file of at most `most` bytes, without ever blocking. OSError if it is larger or not regular."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):
            found = _KINDS.get(stat.S_IFMT(mode), "a special file")
            raise OSError(errno.EINVAL, f"it is {found}, not a regular file", path)
        parts, left = [], most + 1  # its size may be 0 in /proc, or change
        while left and (part := os.read(fd, min(left, _CHUNK))):
            parts.append(part)
            left -= len(part)
        if not left:
            raise OSError(errno.EFBIG, f"it is larger than {most} bytes", path)
        return b"".join(parts)
    finally:
        os.close(fd)


def digest(file: LibraryFile) -> str:
    """Return the SHA-256 (FIPS 180-4) of the file's bytes, as 64 lower-case hexadecimal digits.

    NotAPluginError if it is larger than any library, or cannot be read.
    """
    if file.digest is None:
        _check_size(file)
        try:
            file.digest = _copy(file, None)
        except OSError as error:
            problem = Problem.of("file-unreadable", error.strerror or error)
            message = f"{file.path} cannot be hashed: {problem}"
            raise NotAPluginError(message, path=file.path, problems=[problem]) from error
    return file.digest


def pin(file: LibraryFile, sha256: str) -> LibraryFile:
    """Copy the file into memory (memfd_create(2)), sealed: the bytes have this digest and can no longer change.

    IncompatibleError if the digest differs, NotAPluginError if the file is larger than any library. TypeError or
    ValueError if `sha256` is not 64 hexadecimal digits.
    """
    if not isinstance(sha256, str):
        raise TypeError(f"sha256 is 64 hexadecimal digits, not {sha256!r}")
    wanted = sha256.lower()
    if len(wanted) != 64 or not set(wanted) <= set("0123456789abcdef"):
        raise ValueError(f"sha256 is 64 hexadecimal digits, not {sha256!r}")
    check_digest(file, wanted)  # first, since the copy takes as much memory as the file has bytes
    name = os.fsencode(os.path.basename(file.path))[:200]
    try:
        memory = os.memfd_create(os.fsdecode(name), os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            _check_digest(file, wanted, _copy(file, memory))
            _seal(memory)
            pinned = LibraryFile(file.path, memory, f"/proc/self/fd/{memory}", os.fstat(memory), wanted)
        except BaseException:
            os.close(memory)
            raise
    except OSError as error:
        raise LoadError(f"{file.path} cannot be copied into memory: {error.strerror}", path=file.path) from error
    pinned.absolute = file.absolute
    return pinned


def check_digest(file: LibraryFile, wanted: str) -> None:
    """Raise IncompatibleError if the file's bytes have another digest."""
    _check_digest(file, wanted, digest(file))


def _check_digest(file: LibraryFile, wanted: str, found: str) -> None:
    if found != wanted:
        problem = Problem.of("sha256", found, sha256=wanted)
        raise IncompatibleError(f"{file.path} is another file: {problem}", path=file.path, problems=[problem])


def _seal(memory: int) -> None:
    import fcntl  # 0.3 ms that only pinned files pay

    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, seals)


def _copy(file: LibraryFile, to: int | None) -> str:
    """Hash the file's bytes, and write the same bytes to the descriptor `to` if it is not None."""
    import hashlib  # 4 ms that only pinned and locked files pay

    sha, offset = hashlib.sha256(), 0
    while offset <= LARGEST and (chunk := os.pread(file.fd, _CHUNK, offset)):  # it may grow meanwhile
        sha.update(chunk)
        offset += len(chunk)
        view = memoryview(chunk)
        while to is not None and view:
            view = view[os.write(to, view) :]
    return sha.hexdigest()
