"""cffi's ABI mode: the vtable is declared and called, and nothing is compiled."""

from __future__ import annotations

from typing import Any

from cffi import FFI

ROOM = 1024
NO_MEMORY = 4

ffi: Any = FFI()
ffi.cdef("""
typedef struct hp_out { char *data; size_t len, cap; int32_t (*grow)(struct hp_out *, size_t); } hp_out;
typedef struct {
    uint32_t size; uint16_t abi_major, abi_minor; const char *manifest;
    uint64_t flags; void *create, *destroy, *query;
    int32_t (*greet)(void *self, const char *name, size_t name_len, hp_out *out);
    int32_t (*lang)(void *self, hp_out *out);
} greeter_v1;
extern greeter_v1 hardpoint_greeter_v1;
""")
_grown: dict[Any, Any] = {}
"""The memory of results longer than ROOM, by their hp_out."""


@ffi.callback("int32_t(hp_out *, size_t)", error=NO_MEMORY)  # type: ignore[untyped-decorator]
def _grow(out: Any, need: int) -> int:
    cap = max(need, 2 * out.cap)
    data = ffi.new("char[]", cap)
    ffi.memmove(data, out.data, out.len)
    _grown[out] = out.data = data
    out.cap = cap
    return 0


class Greeter:
    """The vtable's methods."""

    def __init__(self, path: str) -> None:
        self._library = ffi.dlopen(path)
        vtable = self._library.hardpoint_greeter_v1
        self._greet, self._lang = vtable.greet, vtable.lang
        new = ffi.new_allocator(should_clear_after_alloc=False)
        self._new, self._out, self._buffer = new, ffi.typeof("hp_out *"), ffi.typeof(f"char[{ROOM}]")

    def greet(self, name: str) -> str:
        """The greeting."""
        text = name.encode()
        out, buffer = self._room()
        return self._result(self._greet(ffi.NULL, text, len(text), out), out, buffer)

    def lang(self) -> str:
        """The language's name for itself."""
        out, buffer = self._room()
        return self._result(self._lang(ffi.NULL, out), out, buffer)

    def _room(self) -> tuple[Any, Any]:
        buffer, out = self._new(self._buffer), self._new(self._out)
        out.data, out.len, out.cap, out.grow = buffer, 0, ROOM, _grow
        return out, buffer

    @staticmethod
    def _result(status: int, out: Any, buffer: Any) -> str:
        data, length = out.data, out.len
        memory = buffer if data == buffer else _grown.pop(out)
        if status or length > len(memory):
            raise RuntimeError(f"the plugin failed with status {status}")
        return str(ffi.buffer(data, length), "utf-8")
