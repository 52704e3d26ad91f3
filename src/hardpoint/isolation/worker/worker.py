"""The process that an isolated plugin runs in: it loads the file that the host checked, and answers calls."""

from __future__ import annotations

import _socket
import _thread
import errno
import mmap
import os
from io import FileIO
from typing import TYPE_CHECKING, Any, NoReturn

import _cffi_backend

from ...backend import Plugin, Request, Slots
from ...binding import module_of
from ...binding.methods import make_object
from ...definition.kinds import find_kind
from ...definition.model import Contract, Method, Parameter
from ...errors import HardpointError, PluginError, StaleError
from ...ffi.libc import ffi, libc
from ...file import LibraryFile, open_library
from ...inprocess import host_log
from ...inprocess.library import open_for_good
from ...inprocess.plugin import InProcess, default_binding, open_in_process
from ...preflight.checks import Fit, read_elf
from ...preflight.manifest import Manifest
from ...preflight.vtable import Vtable
from .. import wire
from ..descriptors import close_from
from ..eager import eager
from ..shared import Shared
from . import crash, sandbox

if TYPE_CHECKING:
    from collections.abc import Callable

    Call = Callable[..., Any]

_PR_SET_PDEATHSIG, _SIGKILL = 1, 9
_CONTROL = 3
_BYTES = find_kind("bytes")
"""The kind of texts here, which stay UTF-8: the host has encoded them, and decodes and checks the results."""


def _nobody() -> None: ...


def die_with(parent: int) -> None:
    """End this process when its parent does, even if it is stopped then."""
    libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def main(zygote: int, control: int, *, ahead: bool) -> NoReturn:
    """Wait for the host's request, and become a worker; it ends when the host closes its side of the connection.

    `ahead` says that the host has nothing to ask for as yet.
    """
    die_with(zygote)
    os.dup2(control, _CONTROL, inheritable=False)
    close_from(_CONTROL + 1)
    if ahead:
        try:  # noqa: SIM105 - contextlib would have to be imported
            _rehearse()
        except HardpointError:  # the request will get the same error
            pass
    _start(_socket.socket(fileno=_CONTROL))


def _rehearse() -> None:
    """Go through a start with a library that is open already.

    A fork shares its memory with the zygote until it writes to it, and Python writes to whatever it looks at. Each page
    is copied then, at 3 µs: 700 of them are half of a worker's start, which nobody waits for here.
    """
    path = _cffi_backend.__file__
    with open_library(path) as file:
        request = wire.LoadRequest(
            path, path, file.identity, None,
            Contract("rehearsal", 1, 0, (Method("method", (Parameter("parameter", find_kind("str")),), find_kind("str")),)),
            Manifest((1, 0), "rehearsal", (1, 0), "", "", (), b""), Vtable(0, 0, (1, 0), 0, ()), None, {}, None,
        )  # fmt: skip
    file, fit = _check(-1, wire.unpack_load(wire.pack_load(request)))
    with file:
        library = open_for_good(file, fit)
    plugin = Plugin(path, fit.contract, fit.manifest, Slots(0, 0, {"method": 1}), serial=False)
    _bind(InProcess(plugin, library, module_of(default_binding()), (), Request(path, fit.contract)))


def _start(control: _socket.socket) -> NoReturn:
    content, fds = wire.receive(control, 6)
    if content is None:
        os._exit(0)
    library, output, records, counter, connection, memory = fds
    for number in (1, 2):
        os.dup2(output, number)
    os.close(output)
    shared = Shared(FileIO(memory))
    request = wire.unpack_load(shared.copy(content))
    applied: list[str] = []
    try:
        file, fit = _check(library, request)
        with file:
            applied = sandbox.enter(request.options, file, fit.elf)
            _log_to(records, counter)
            methods, calls = _bind(
                open_in_process(file, fit, Request(file.absolute, fit.contract, request.config, request.binding))
            )
    except HardpointError as error:
        wire.send(control, [1, told(error, None), applied, ""])
        os._exit(0)
    os.close(library)
    # Before it is said that all is well: the plugin's threads may have left no memory for the stack of this one.
    _thread.start_new_thread(_serve, (_socket.socket(fileno=connection), shared, methods, calls))
    wire.send(control, [0, [call is not None for call in calls], applied, request.binding or default_binding()])
    while True:
        word, fds = wire.receive(control, 2)
        if word is None:
            os._exit(0)
        if word == wire.END:  # the instance goes with the last reference to it
            calls.clear()
            os._exit(0)
        if len(fds) < 2:  # this process may have no more descriptors; with the last one closed, the host sees the end
            for fd in fds:
                os.close(fd)
            continue
        _thread.start_new_thread(_serve, (_socket.socket(fileno=fds[0]), Shared(FileIO(fds[1])), methods, calls))


def _check(library: int, request: wire.LoadRequest) -> tuple[LibraryFile, Fit]:
    """The file that the host checked, and what it found: to check it again would take half of a worker's start."""
    path = request.path
    if request.pinned:
        file = LibraryFile(path, os.dup(library), f"/proc/self/fd/{library}", os.fstat(library), request.pinned)
        file.kept = True
    else:
        file = open_library(request.library)
        file.path = path
        if file.identity != request.identity:
            raise StaleError(
                f"{path} was replaced after it was loaded, and a new worker cannot start with the new file; "
                "call hardpoint.reload to load that",
                path=path,
            )
    return file, Fit(read_elf(file), request.contract, request.manifest, request.vtable, ())


def _bind(opened: InProcess) -> tuple[list[Method], list[Call | None]]:
    contract = opened.plugin.contract
    raw = [
        method._replace(
            parameters=tuple(
                each._replace(kind=_BYTES if each.kind.is_text else each.kind) for each in method.parameters
            ),
            result=_BYTES if method.result.is_text else method.result,
            function=_nobody,  # type: ignore[arg-type]  # else one is compiled for the signature, which nobody looks at
            quick=False,  # the GIL is the other connections', and what it costs to release is nothing here
        )
        for method in contract.methods
    ]
    plugin = opened.plugin._replace(contract=contract._replace(methods=tuple(raw)))
    made = make_object(opened._replace(plugin=plugin))
    return raw, [getattr(made, each.name) if plugin.slots.methods.get(each.name) else None for each in raw]


def _log_to(records: int, counter: int) -> None:
    memory = mmap.mmap(counter, mmap.PAGESIZE)
    os.close(counter)
    host_log.use(host_log.host_of(records, int(ffi.cast("uintptr_t", ffi.from_buffer(memory)))), memory)


def told(error: HardpointError, shared: Shared | None) -> list[Any]:
    """An error, as it travels: a long text of it by the connection's memory, or cut where there is none."""
    status, text = (error.status, error.text) if isinstance(error, PluginError) else (0, "")
    data: Any = text
    if len(text) > wire.INLINE // 4:
        data = text[: wire.INLINE] if shared is None else shared.put(text.encode(errors="replace"))
    return [type(error).__name__, str(error), status, data]


def lacks_memory(error: Exception) -> bool:
    """Whether it is raised where there is no memory; to start a thread takes some for its stack."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or str(error) == "can't start new thread"


def _serve(sock: _socket.socket, shared: Shared, methods: list[Method], calls: list[Call | None]) -> None:
    """Answer the calls of one connection, one after the other, until the host closes it."""
    crash.guard()
    receive, send, unpack, pack, inline = eager(sock, sock.recv_into), sock.send, wire.unpack, wire.pack, wire.INLINE
    try:
        buffer = wire.buffer()
        view = memoryview(buffer)
        while size := receive(buffer):
            index, *arguments = unpack(view[:size])
            if index < 0:  # there is more to it
                send(_answer(~index, arguments, shared, methods, calls))
                continue
            try:
                reply = [0, calls[index](*arguments)]
            except HardpointError as error:
                shared.begin()
                reply = [1, told(error, shared)]
            if type(reply[1]) is bytes and len(reply[1]) > inline:
                shared.begin()
                reply[1] = shared.put(reply[1])
            send(pack(reply))
    except (OSError, MemoryError) as error:  # else the host has given up this one
        if lacks_memory(error):
            os._exit(wire.NO_MEMORY)
    finally:
        sock.close()
        shared.close()


def _answer(index: int, arguments: list[Any], shared: Shared, methods: list[Method], calls: list[Call | None]) -> bytes:
    """The answer to a call with payloads in shared memory, or with bytearrays, which are sent back."""
    values, kept = _unpacked(methods[index], arguments, shared)
    try:
        reply = [0, calls[index](*values)]  # type: ignore[misc]  # the host calls what is there
    except HardpointError as error:
        reply = [1, told(error, shared)]
    if type(reply[1]) is bytes and len(reply[1]) > wire.INLINE:
        reply[1] = shared.put(reply[1])
    frame: bytes = wire.pack(reply + kept)
    return frame


def _unpacked(method: Method, arguments: list[Any], shared: Shared) -> tuple[list[Any], list[Any]]:
    """The arguments with those in shared memory as views of it, and what goes back of bytearrays."""
    values, kept = [], []
    end = 0
    for parameter, value in zip(method.parameters, arguments, strict=True):
        given: Any = value
        if type(value) is wire.ExtType:
            offset, size = wire.EXTENT.unpack(value.data)
            end = max(end, offset + size)
            given = shared.view(offset, size)
        elif parameter.kind.writable:
            given = bytearray(value)
        if parameter.kind.writable:
            kept.append(value if type(value) is wire.ExtType else given)
        values.append(given)
    shared.begin(end)
    return values, kept
