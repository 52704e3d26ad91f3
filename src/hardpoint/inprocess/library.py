"""A checked file -> the library, opened for good, and its live vtable, compared with the file's."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

from ..backend import Slots
from ..errors import ContractBrokenError, HardpointError, HardpointWarning, LoadError, Problem, StaleError, one_line
from ..ffi.libc import ffi, libc
from ..file import Identity, digest, open_library
from .loader_name import is_current, loader_name, rename

if TYPE_CHECKING:
    from ..definition.model import Contract
    from ..elf.reader import ElfFile
    from ..file import LibraryFile
    from ..preflight.checks import Fit
    from ..preflight.manifest import Manifest

_RTLD_DI_LINKMAP = 2
_PROCMAP_QUERY = 0xC0686611  # _IOWR('f', 17, struct procmap_query), linux/fs.h
_QUERY_SIZE = ffi.sizeof("struct procmap_query")
_PROT_READ, _MAP_PRIVATE, _PAGE = 1, 2, 4096


class Library:
    """An opened library, one for each file in a process. It is never closed: glibc cannot unload safely."""

    def __init__(self, file: LibraryFile, handle: Any, elf: ElfFile) -> None:
        self.path = file.loader_path
        self.first_path = file.path
        """The path that its first caller gave."""
        self.identity: Identity = file.identity
        self.handle = handle
        self.sha256 = file.pinned
        self.binding: str | None = None
        """The binding that makes its calls; two in one process can deadlock over a lock of the plugin's."""
        answer = ffi.new("struct link_map **")
        libc.dlinfo(handle, _RTLD_DI_LINKMAP, answer)
        self.link: Any = answer[0]
        self.base: int = self.link.l_addr
        self.mapped = elf.mapped
        self.classes: list[tuple[Contract, type]] = []
        """The classes of plugin objects, by their contracts."""

    def digest(self) -> str | None:
        """The SHA-256 of the file that was opened; None if the file at its path is gone or another."""
        if self.sha256 is None:
            try:
                with open_library(self.path) as file:
                    if file.identity == self.identity:
                        self.sha256 = digest(file)
            except (HardpointError, OSError):
                return None
        return self.sha256


# Opened libraries by their path (glibc compares that first), by device and inode, and by digest.
_by_path: dict[str, Library] = {}
_by_file: dict[tuple[int, int], Library] = {}
_by_digest: dict[str, Library] = {}


def open_for_good(file: LibraryFile, fit: Fit) -> Library:
    """Open a file that passed the preflight, or return the library if it is open already. Needs the loading lock.

    Raises StaleError if another file was opened from that path before, LoadError with the dynamic linker's message if
    it refuses.
    """
    known = _find(file)
    if known is not None:
        if not file.pinned:
            _by_path[file.loader_path] = known
        return known
    name = loader_name(file, fit.elf)
    if name == file.loader_path and not is_current(file, name):
        raise _stale(file, "the file was replaced or rewritten while it was being loaded")
    handle, changed = _dlopen(file, name)
    library = Library(file, handle, fit.elf)
    if name != file.loader_path:
        rename(library.link, name, file.loader_path)
    elif not _is_mapped(file, library.base + fit.elf.loads[0].address):
        if not is_current(file, name):
            raise _stale(file, "the file was replaced while it was being loaded")
        raise _stale(file, "another part of the program had opened an older file of that name")
    if file.pinned:
        _by_digest[file.pinned] = library
    else:
        _by_path[file.loader_path] = library
    _by_file[file.identity[:2]] = library
    if Identity.of(os.fstat(file.fd)) != file.identity:  # it is registered as what was checked, so it stays stale
        raise _stale(file, "the file was rewritten while it was being loaded")
    if changed:
        _warn(file, changed, fit.elf)
    for problem in fit.problems:
        if problem.code == "soname-loaded":
            warnings.warn(HardpointWarning(f"{file.path} {problem}", path=file.path), stacklevel=6)
    return library


def _find(file: LibraryFile) -> Library | None:
    if file.pinned:
        return _by_digest.get(file.pinned)
    known = _by_path.get(file.loader_path) or _by_file.get(file.identity[:2])
    if known is not None and known.identity != file.identity:
        raise _stale(file, "the file was replaced or rewritten after it had been loaded")
    return known


def _stale(file: LibraryFile, why: str) -> StaleError:
    return StaleError(
        f"{file.path} is not the library that this process has loaded: {why}, and a loaded library is never unloaded; "
        "restart the host to use the new one, or run the plugin isolated, in a process of its own",
        path=file.path,
    )


def _dlopen(file: LibraryFile, name: str) -> tuple[Any, list[str]]:
    """Call dlopen; return the handle, and the names of process state that loading changed (it is put back)."""
    from . import process_state  # 1 ms, which hosts that load nothing do without

    # Where it is opened by its path, what was loaded is compared with what was checked.
    if name == file.loader_path and not os.access("/proc/self/maps", os.R_OK):
        raise LoadError(f"{file.path} cannot be loaded: there is no /proc here, which tells what the dynamic linker "
                        "mapped; mount it (mount -t proc proc /proc)", path=file.path)  # fmt: skip
    before = process_state.take()
    file.kept = file.pinned is not None  # first, since a signal handler may raise right after dlopen
    libc.dlerror()
    handle = libc.dlopen(os.fsencode(name), os.RTLD_NOW | os.RTLD_LOCAL | os.RTLD_NODELETE)
    reason = libc.dlerror() if handle == ffi.NULL else ffi.NULL
    changed = process_state.restore(before)
    file.kept = file.kept and handle != ffi.NULL and file.is_open()
    if handle != ffi.NULL:
        if not file.is_open():
            raise _closed(file)
        return handle, changed
    words = os.fsdecode(ffi.string(reason)).replace(name, file.loader_path) if reason else ""
    raise refused(file.path, words) from OSError(words)


def refused(path: str, words: str) -> LoadError:
    """The error for a file that the dynamic linker refused, with its words."""
    words = one_line(words) or "it gave no reason"
    fix = next((fix for sign, fix in _FIXES.items() if sign in words), "")
    problem = Problem.of("loader-refused", f"in the dynamic linker's words: {words}", fix=fix)
    return LoadError(f"{path} cannot be loaded: {problem}", path=path, problems=[problem])


def _closed(file: LibraryFile) -> LoadError:
    return LoadError(
        f"{file.path} cannot be used: code that ran while it was loaded closed descriptors of this process, that of its "
        "file among them, and others of the program may be gone too; restart the host, and report it to the author of "
        "the plugin",
        path=file.path,
    )


_FIXES = {
    "undefined symbol": "link the plugin with what it needs (-Wl,-z,defs finds that when linking)",
    "cannot open shared object file": "install that library, or put its folder into the RUNPATH of the one that needs it",
    "static TLS": "load it before other libraries take what there is, or build it without -ftls-model=initial-exec",
}
"""Fixes, by a phrase in the dynamic linker's message."""


def _warn(file: LibraryFile, changed: list[str], elf: ElfFile) -> None:
    from . import process_state

    by_go = all(each.startswith(process_state.BY_GO) for each in changed)
    warn_changed(file.path, changed, elf, by_go=by_go, is_floating=process_state.FLOATING in changed, stacklevel=8)


def warn_changed(
    path: str, changed: list[str], elf: ElfFile, *, by_go: bool, is_floating: bool, stacklevel: int
) -> None:
    """Warn that loading changed the process; `by_go` says that it is what Go's runtime does."""
    from .process_values import CANNOT

    why = "Its start-up code should leave the process alone"
    if is_floating:
        why += " (gcc links such code in for -ffast-math)"
    elif by_go and any(note.owner == b"Go" for note in elf.notes()):
        why = "Go's runtime does that in every plugin, and nothing is wrong with this one"
    left = [each for each in changed if each.endswith(CANNOT)]
    done = "this was put back" if not left else "the rest was put back" if len(left) < len(changed) else ""
    message = f"loading {one_line(path)} changed {', '.join(changed)} of the process{done and '; '}{done}. {why}"
    warnings.warn(HardpointWarning(message, path=path, changed=changed), stacklevel=stacklevel)


def _is_mapped(file: LibraryFile, address: int) -> bool:
    """True if the mapping at an address is of the file that was checked: glibc compares names before it opens a file.

    The device and inode of the mapping are compared. On overlayfs and btrfs they differ from those of fstat(2), so
    there the file is mapped once more, and the two mappings are compared.
    """
    try:
        there, device = _mapped_file(address), file.identity.device
    except OSError as error:
        raise LoadError(
            f"{file.path} cannot be compared with what was loaded: code that ran while it was loaded took /proc away, or "
            f"the right to read it ({error.strerror}); restart the host, and report it to the author of the plugin",
            path=file.path,
        ) from error
    if there == (os.major(device), os.minor(device), file.identity.inode):
        return True
    again = libc.mmap(ffi.NULL, _PAGE, _PROT_READ, _MAP_PRIVATE, file.fd, 0)
    if again == ffi.cast("void *", -1):
        raise LoadError(f"{file.path} cannot be mapped to see whether it is what was loaded", path=file.path)
    try:
        return there == _mapped_file(int(ffi.cast("uintptr_t", again)))
    finally:
        libc.munmap(again, _PAGE)


def _mapped_file(address: int) -> tuple[int, int, int] | None:
    """Device (major, minor) and inode of the file that is mapped at an address, by proc(5)."""
    query = ffi.new("struct procmap_query *", (_QUERY_SIZE, 0, address))
    with open("/proc/self/maps", "rb", buffering=0) as maps:
        if libc.ioctl(maps.fileno(), _PROCMAP_QUERY, query) < 0:
            # A kernel before 6.11: parse the text, which takes longer the more is mapped.
            return _find_line(maps.readall(), address)
    return query.dev_major, query.dev_minor, query.inode


def _find_line(maps: bytes, address: int) -> tuple[int, int, int] | None:
    """The same from the text of proc(5): lines of `start-end perms offset major:minor inode path`."""
    for line in maps.splitlines():
        span, _, _, device, inode, *_ = line.split(None, 5)
        start, _, end = span.partition(b"-")
        if int(start, 16) <= address < int(end, 16):
            major, _, minor = device.partition(b":")
            return int(major, 16), int(minor, 16), int(inode)
    return None


def live_slots(file: LibraryFile, library: Library, fit: Fit) -> Slots:
    """Read the functions of the vtable in memory.

    Raises ContractBrokenError if it differs from the file's: code that ran when the library was loaded changed it.
    """
    contract, manifest, vtable = fit.contract, fit.manifest, fit.vtable

    def broken(what: str) -> ContractBrokenError:
        return broken_vtable(file.path, manifest.plugin, what)

    address = int(ffi.cast("uintptr_t", libc.dlsym(library.handle, contract.symbol.encode())))
    if not address:
        raise broken(f"{contract.symbol} was not found")
    if address != library.base + vtable.address:
        raise broken(f"{contract.symbol} is another library's symbol")
    base, (major, minor) = library.base, vtable.abi
    numbers, text, flags, *live = ffi.unpack(ffi.cast("uintptr_t *", address), 3 + len(vtable.slots))
    if (numbers, flags) != (vtable.size | major << 32 | minor << 48, vtable.flags):
        raise broken("the vtable's size, ABI or flags changed")
    if not _is_copy(library, manifest, text):
        raise broken("the vtable's manifest is not the note's")
    methods = {method.name: word for method, word in zip(contract.methods, live[3:], strict=False)}
    for method in contract.methods:
        if not method.since and not methods[method.name]:
            raise broken(f"the method {method.name} is an empty slot")
    for index, (word, target) in enumerate(zip(live, vtable.slots, strict=True)):
        if word != target + base if target else target == 0 and word:
            slots = ["create", "destroy", "query", *(method.name for method in contract.methods)]
            raise broken(f"the slot of {slots[index] if index < len(slots) else f'method {index - 3}'} changed")
    return Slots(live[0], live[1], methods)


def broken_vtable(path: str, plugin: str, what: str) -> ContractBrokenError:
    """The error for a vtable in memory that is not the file's; `what` says what differs."""
    return ContractBrokenError(
        f"{path}: {what}, which the file did not show: code that ran while it was loaded changed it, or a "
        f"symbol of the same name took its place, and a vtable is a constant; report it to the author of {plugin}",
        path=path,
    )


def _is_copy(library: Library, manifest: Manifest, pointer: int) -> bool:
    """True if the note's text is at an address; read only if all of it would be inside the library."""
    size, offset = len(manifest.text) + 1, pointer - library.base
    inside = any(start <= offset and offset + size <= end for start, end, _ in library.mapped)
    return inside and ffi.buffer(ffi.cast("char *", pointer), size)[:] == manifest.text + b"\0"
