"""What host, zygote and worker say to each other: msgpack frames, one in each packet of a SOCK_SEQPACKET socket.

A worker is not trusted: whatever comes from it is looked at here or where it is used, and there is no pickle anywhere.
A call is `[method, argument...]`; the reply `[0, result, buffer...]`, with what the call left in its bytearrays, or
`[1, [class, message, status, text], buffer...]`. A payload of more than INLINE bytes lies in memory that both map, and
the frame has in its place an extension of PLACE: offset and size.
"""

from __future__ import annotations

import _socket
import array
import mmap
import struct
from functools import partial
from typing import Any

from msgpack import ExtType as ExtType  # noqa: PLC0414 - given on
from msgpack import Packer, UnpackException, packb, unpackb

INLINE = 1 << 14
"""Bytes of one argument or result up to which it travels in the frame."""
LIMIT = 1 << 18
"""Bytes in a frame: nine inline payloads and more."""
CONNECT, END = 1, 0
"""What the host sends on a worker's first socket once it has loaded: two descriptors for calls, or that it shall end."""
NO_MEMORY = 71
"""The status with which a worker exits that has no memory left for its own part."""
PLACE = 1
"""The type of the extension that stands for a payload in shared memory."""
PLACED = struct.Struct("<QQ")

pack: Any = Packer(unicode_errors="surrogateescape").pack  # a path may be no text
# Without its extension it is in Python, and one Packer for all threads would mix their frames up.
if Packer.__module__ == "msgpack.fallback":
    pack = partial(packb, unicode_errors="surrogateescape")


class FrameError(Exception):
    """What came is no frame, or not one that can stand there."""


def unpack(data: Any) -> Any:
    """The frame in some bytes. FrameError if it is none."""
    try:
        return unpackb(data, unicode_errors="surrogateescape")
    except (UnpackException, ValueError, TypeError, OverflowError) as error:  # all that msgpack raises for bad bytes
        raise FrameError(f"{type(error).__name__}: {error}") from error


def buffer() -> mmap.mmap:
    """Room for a frame; of a bytearray, all 64 pages would be written to, and most frames need one."""
    return mmap.mmap(-1, LIMIT, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def pair() -> tuple[_socket.socket, _socket.socket]:
    """Two ends of a socket that keeps frames apart."""
    ends = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    for end in ends:
        end.setblocking(True)  # socket.setdefaulttimeout would make it otherwise, for the other process as well
    return ends


def send(sock: _socket.socket, frame: Any, fds: tuple[int, ...] = (), flags: int = 0) -> None:
    """Give a frame to the other side, and descriptors with it; `flags` are as for sendmsg(2)."""
    if fds:
        sock.sendmsg([pack(frame)], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", fds))], flags)
    else:
        sock.send(pack(frame), flags)  # the call that a sandboxed worker still has


def receive(sock: _socket.socket, most: int = 0, flags: int = 0) -> tuple[Any, list[int]]:
    """A frame, and at most so many descriptors that came with it; (None, []) at the end. `flags` are as for recvmsg(2)."""
    fds = array.array("i")
    room = _socket.CMSG_SPACE(most * 4) if most else 0
    data, ancillary, _, _ = sock.recvmsg(LIMIT, room, flags | _socket.MSG_CMSG_CLOEXEC)
    for level, kind, content in ancillary:
        if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
            fds.frombytes(content[: len(content) // 4 * 4])
    return (unpack(data) if data else None), list(fds)


def place(offset: int, size: int) -> ExtType:
    """What stands in a frame for a payload in shared memory."""
    return ExtType(PLACE, PLACED.pack(offset, size))
