"""The process that an isolated plugin runs in: it loads the file that the host checked, and answers calls."""

from __future__ import annotations

import _socket
import _thread
import fcntl
import mmap
import os
import signal
from typing import TYPE_CHECKING, Any, NoReturn

from .. import logs, opening
from ..errors import HardpointError, PluginError, StaleError
from ..file import LibraryFile, open_library
from ..libc import ffi, libc
from ..manifest import Manifest
from ..preflight import Fit, read_elf
from ..signature import Contract, Method, Parameter
from ..vtable import Vtable
from . import crash, sandbox, wire
from .shared import Shared

if TYPE_CHECKING:
    from collections.abc import Callable

    Call = Callable[..., Any]

_PR_SET_PDEATHSIG = 1
_CONTROL, _LIBRARY, _RECORDS, _COUNTER = 3, 4, 5, 6
_RAW = {"str": "bytes"}
"""Text stays UTF-8 here: the host has encoded it, and decodes and judges what comes back."""


def main(zygote: int, *kept: int) -> NoReturn:
    """Become a worker; it ends when the host closes its side of the connection."""
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != zygote:
        os._exit(0)
    _keep(*kept)
    control = _socket.socket(fileno=_CONTROL)
    placed, [fd] = wire.receive(control, 1)
    memory = Shared(fd)
    request, config = (memory.copy(each) for each in placed)
    memory.close()
    request = wire.unpack(request)
    applied: list[str] = []
    try:
        *what, binding, options = request
        file, fit = _check(*what)
        with file:
            applied = sandbox.enter(options, file, fit.elf)
            methods, calls = _load(file, fit, config, binding)
    except HardpointError as error:
        wire.send(control, [1, told(error, None), applied, ""])
        os._exit(0)
    os.close(_LIBRARY)
    wire.send(control, [0, [call is not None for call in calls], applied, binding or opening.default_binding()])
    while True:
        request, fds = wire.receive(control, 2)
        if request is None:
            os._exit(0)
        if request == wire.END:  # the instance goes with the last reference to it
            calls.clear()
            os._exit(0)
        if len(fds) < 2:  # this process may have no more descriptors; with the last one closed, the host sees the end
            for fd in fds:
                os.close(fd)
            continue
        _thread.start_new_thread(_serve, (_socket.socket(fileno=fds[0]), Shared(fds[1]), methods, calls))


def _keep(connection: int, library: int, output: int, records: int, counter: int) -> None:
    """Have these descriptors at known numbers, and no others."""
    nothing = os.open(os.devnull, os.O_RDWR)
    wanted = (nothing, output, output, connection, library, records, counter)
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in wanted]
    for number, fd in enumerate(high):
        os.dup2(fd, number)
    os.closerange(len(wanted), 1 << 16)


def _check(
    path: str, loader_path: str, identity: list[int], sha256: str | None, name: str, version: list[int],
    methods: list[Any], manifest: list[Any], vtable: list[Any],
) -> tuple[LibraryFile, Fit]:  # fmt: skip
    """The file that the host checked, and what it found: to check it again would take half of a worker's start."""
    major, minor = version
    contract = Contract(name, major, minor, tuple(
        Method(called, tuple(Parameter(*each) for each in parameters), *more) for called, parameters, *more in methods
    ))  # fmt: skip
    if sha256:
        file = LibraryFile(path, os.dup(_LIBRARY), f"/proc/self/fd/{_LIBRARY}", os.fstat(_LIBRARY), sha256)
        file.kept = True
    else:
        file = open_library(loader_path)
        file.path = path
        if file.identity != tuple(identity):
            raise StaleError(
                f"{path} is another file than the one that was loaded, and a new worker cannot start with that; "
                "hardpoint.reload goes on with the file that is there now",
                path=path,
            )
    abi, about, written_for, plugin, release, texts, text = manifest
    address, size, vtable_abi, flags = vtable
    found = Manifest(tuple(abi), about, tuple(written_for), plugin, release, tuple(texts), text)
    return file, Fit(read_elf(file), contract, found, Vtable(address, size, tuple(vtable_abi), flags), ())


def _load(
    file: LibraryFile, fit: Fit, config: bytes | None, binding: str | None
) -> tuple[list[Method], list[Call | None]]:
    contract = fit.contract
    opened = opening.open_plugin(file, fit, binding)
    raw = [
        method._replace(
            parameters=tuple(each._replace(kind=_RAW.get(each.kind, each.kind)) for each in method.parameters),
            result=_RAW.get(method.result, method.result),
            quick=False,  # the GIL is the other connections', and what it costs to release is nothing here
        )
        for method in contract.methods
    ]
    plugin = opened.plugin._replace(contract=contract._replace(methods=tuple(raw)))
    counter = mmap.mmap(_COUNTER, mmap.PAGESIZE)
    logs.use(logs.host_of(_RECORDS, int(ffi.cast("uintptr_t", ffi.from_buffer(counter)))), counter)
    made = opening.make_object(opened._replace(plugin=plugin), config)
    return raw, [getattr(made, each.name) if plugin.slots.methods.get(each.name) else None for each in raw]


def told(error: HardpointError, shared: Shared | None) -> list[Any]:
    """An error, as it travels: a long text of it by the connection's memory, or cut where there is none."""
    status, text = (error.status, error.text) if isinstance(error, PluginError) else (0, "")
    data: Any = text
    if len(text) > wire.INLINE // 4:
        data = text[: wire.INLINE] if shared is None else shared.put(text.encode(errors="replace"))
    return [type(error).__name__, str(error), status, data]


def _serve(sock: _socket.socket, shared: Shared, methods: list[Method], calls: list[Call | None]) -> None:
    """Answer the calls of one connection, one after the other, until the host closes it."""
    crash.guard()
    buffer = wire.buffer()
    view = memoryview(buffer)
    receive, send, unpack, pack, inline = sock.recv_into, sock.send, wire.unpack, wire.pack, wire.INLINE
    try:
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
    except OSError:  # the host has given up this one
        pass
    finally:
        sock.close()
        shared.close()


def _answer(index: int, arguments: list[Any], shared: Shared, methods: list[Method], calls: list[Call | None]) -> bytes:
    """The answer to a call with payloads in shared memory, or with bytearrays, which are given back as they were left."""
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
            offset, size = wire.PLACED.unpack(value.data)
            end = max(end, offset + size)
            given = shared.view(offset, size)
        elif parameter.kind == "bytearray":
            given = bytearray(value)
        if parameter.kind == "bytearray":
            kept.append(value if type(value) is wire.ExtType else given)
        values.append(given)
    shared.begin(end)
    return values, kept
