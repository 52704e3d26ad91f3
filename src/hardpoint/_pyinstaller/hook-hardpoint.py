"""What PyInstaller's analysis does not see: modules imported by name, and the program of isolated plugins.

PyInstaller reads these names; see "Understanding PyInstaller Hooks" in its manual.
"""

from __future__ import annotations

import os
from importlib.machinery import EXTENSION_SUFFIXES

import hardpoint

_PACKAGE = os.path.dirname(hardpoint.__file__)

hiddenimports = [f"hardpoint.binding.{name}" for name in ("native", "cffi", "ctypes")]
excludedimports = ["gevent", "eventlet", "rich"]  # optional: in the application if it imports them itself
datas = [(os.path.join(_PACKAGE, "contracts", "*.h"), "hardpoint/contracts")]
# Beside the modules: a binary, so that one-file applications unpack it with the mode bit, but not a module of Python.
binaries = [
    (file, "hardpoint/isolation")
    for suffix in EXTENSION_SUFFIXES
    if os.path.exists(file := os.path.join(_PACKAGE, "isolation", f"_channel{suffix}"))
]
