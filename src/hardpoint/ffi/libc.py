"""libc through cffi: the only place that opens it."""

from __future__ import annotations

from typing import Any

from ._ffi import ffi as _ffi

ffi: Any = _ffi
libc: Any = ffi.dlopen(None)
libm: Any = ffi.dlopen("libm.so.6")
