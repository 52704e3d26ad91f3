"""cffi's API mode: C is compiled around the vtable, and what remains in Python is the text."""

from __future__ import annotations

from contextlib import redirect_stdout
from importlib import import_module
from io import StringIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

DECLARED = """
typedef struct { char *data; size_t len; ...; } hp_out;
typedef struct { ...; } greeter_v1;
const greeter_v1 *open_greeter(const char *path);
char *dlerror(void);
const hp_out *greet(const greeter_v1 *vtable, const char *name, size_t len);
const hp_out *lang(const greeter_v1 *vtable);
"""
SOURCE = """
#include "vtable.h"

/* The text stays here until this thread's next call: for Python to allocate it on each call costs 100 ns more. */
static _Thread_local room room_;

static const hp_out *result_of(hp_status status) {
    return room_is_good(&room_, status) ? &room_.out : NULL;
}
static const hp_out *greet(const greeter_v1 *vtable, const char *name, size_t len) {
    room_close(&room_);
    room_open(&room_);
    return result_of(vtable->greet(NULL, name, len, &room_.out));
}
static const hp_out *lang(const greeter_v1 *vtable) {
    room_close(&room_);
    room_open(&room_);
    return result_of(vtable->lang(NULL, &room_.out));
}
"""


def write(target: Path) -> None:
    """Write the module's C, unless it is there already."""
    from cffi import FFI

    builder = FFI()
    builder.cdef(DECLARED)
    builder.set_source("_with_cffi", SOURCE)
    with redirect_stdout(StringIO()):
        builder.emit_c_code(str(target))


class Greeter:
    """The vtable's methods."""

    def __init__(self, path: str) -> None:
        module = import_module("_with_cffi")
        ffi, lib = module.ffi, module.lib
        vtable = lib.open_greeter(path.encode())
        if not vtable:
            raise OSError(ffi.string(lib.dlerror()).decode())
        self._vtable, self._lib, self._buffer = vtable, lib, ffi.buffer

    def greet(self, name: str) -> str:
        """The greeting."""
        text = name.encode()
        return self._result(self._lib.greet(self._vtable, text, len(text)))

    def lang(self) -> str:
        """The language's name for itself."""
        return self._result(self._lib.lang(self._vtable))

    def _result(self, out: Any) -> str:
        if not out:
            raise RuntimeError("the plugin failed")
        return str(self._buffer(out.data, out.len), "utf-8")
