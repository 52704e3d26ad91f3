"""Messages between host, zygote and worker: msgpack frames, one in each packet of a SOCK_SEQPACKET socket. No pickle.

The host doesn't trust a worker: it copies what the worker sent, then checks it (`host/frames.py`), then uses it.

A call is `[method, argument...]`. The reply is `[0, result, buffer...]` or `[1, [class, message, status, text],
buffer...]`; the buffers are the contents of the call's bytearrays as the plugin left them. A payload of more than
INLINE bytes is in shared memory: an extension of the type PAYLOAD, with offset and size, stands for it in the frame.
"""

from __future__ import annotations

import _socket
import array
import mmap
import struct
from functools import partial
from typing import Any

from msgpack import ExtType as ExtType  # noqa: PLC0414 - for those that import this module
from msgpack import Packer, UnpackException, packb, unpackb

from ..definition.model import Contract
from ..fields import Fields
from ..file import Identity
from ..preflight.manifest import Manifest
from ..preflight.vtable import Vtable
from .descriptors import own_sockets

INLINE = 1 << 14
"""Bytes of the largest argument or result that travels in the frame."""
LIMIT = 1 << 18
"""Bytes of the largest frame: nine inline payloads and more."""
CONNECT, END = 1, 0
"""From host to worker, once it has loaded: two descriptors for calls; the request to end."""
FORKED, ENDED = 0, 1
"""From zygote to host: `[FORKED, pid]` with two descriptors, or `[FORKED, -errno]`; `[ENDED, pid, wait status]`."""
NO_MEMORY = 71
"""Exit status of a worker that has no memory left for its own work."""
PAYLOAD = 1
"""Type of the msgpack extension that stands for a payload in shared memory."""
EXTENT = struct.Struct("<QQ")
"""Content of that extension: the payload's offset and size in bytes."""
_ERRORS = "surrogateescape"
"""For texts that are not UTF-8, as paths can be."""

pack: Any = Packer(unicode_errors=_ERRORS).pack
# Without its C extension msgpack is Python code, and one Packer would mix up the frames of several threads.
if Packer.__module__ == "msgpack.fallback":
    pack = partial(packb, unicode_errors=_ERRORS)


class FrameError(Exception):
    """Malformed or unexpected frame."""


def unpack(data: Any) -> Any:
    """Decode a frame. Raises FrameError if it is malformed."""
    try:
        return unpackb(data, unicode_errors=_ERRORS)
    except (UnpackException, ValueError, TypeError, OverflowError) as error:  # all that msgpack raises for bad bytes
        raise FrameError(f"{type(error).__name__}: {error}") from error


def payload(offset: int, size: int) -> ExtType:
    """What stands in a frame for a payload in shared memory."""
    return ExtType(PAYLOAD, EXTENT.pack(offset, size))


class LoadRequest(Fields):
    """The host's request to a worker: load this library, which the host has checked."""

    path: str
    """The library's path as the caller of `load` named it."""
    library: str
    """Its absolute path, for dlopen."""
    identity: Identity
    pinned: str | None
    """The SHA-256 of a pinned file; the worker loads it from the descriptor that comes with the request."""
    contract: Contract
    manifest: Manifest
    vtable: Vtable
    binding: str | None
    """`native`, `cffi` or `ctypes`; None for the default."""
    options: dict[str, Any]
    """The Isolation, as `options.limits` gives it."""
    config: bytes | None


def pack_load(request: LoadRequest) -> bytes:
    """Encode a request to load."""
    data: bytes = pack(request._asdict() | {"contract": request.contract.to_wire()})
    return data


def unpack_load(data: bytes) -> LoadRequest:
    """Decode a request to load, in the worker: it comes from the host, and isn't checked."""
    members = unpackb(data, use_list=False, unicode_errors=_ERRORS)
    classes = {"identity": Identity, "manifest": Manifest, "vtable": Vtable}
    members |= {name: made(*members[name]) for name, made in classes.items()}
    return LoadRequest(**members | {"contract": Contract.from_wire(members["contract"])})


def buffer() -> mmap.mmap:
    """Memory for one frame. A bytearray would be zeroed, which touches all 64 pages; most frames need one."""
    return mmap.mmap(-1, LIMIT, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def pair() -> tuple[_socket.socket, _socket.socket]:
    """Two connected sockets that keep the boundaries of frames."""
    ends = own_sockets(*_socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET))
    for end in ends:
        end.setblocking(True)  # socket.setdefaulttimeout would make it otherwise, for the other process as well
    return ends


def send(sock: _socket.socket, frame: Any, fds: tuple[int, ...] = (), flags: int = 0) -> None:
    """Send a frame, with descriptors if there are any; `flags` are those of sendmsg(2)."""
    if fds:
        sock.sendmsg([pack(frame)], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", fds))], flags)
    else:
        sock.send(pack(frame), flags)  # a sandboxed worker may not call sendmsg(2)


def receive(sock: _socket.socket, most: int = 0) -> tuple[Any, list[int]]:
    """Receive a frame, and at most `most` descriptors with it; (None, []) at the end of the connection."""
    fds = array.array("i")
    room = _socket.CMSG_SPACE(most * 4) if most else 0
    data, ancillary, _, _ = sock.recvmsg(LIMIT, room, _socket.MSG_CMSG_CLOEXEC)
    for level, number, content in ancillary:
        if (level, number) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
            fds.frombytes(content[: len(content) // 4 * 4])
    return (unpack(data) if data else None), list(fds)
