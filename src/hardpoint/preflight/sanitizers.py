"""The runtimes of sanitizers, which a host has to be started with."""

from __future__ import annotations

import os
import re

_NAME = r"lib[atl]san\.so.*|libhwasan\.so.*|libclang_rt\..*san.*"
"""A text: to compile it would cost every host with an isolated plugin 0.4 ms."""


def is_sanitizer(name: str) -> bool:
    """True for the name of a sanitizer's runtime."""
    return re.fullmatch(_NAME, name) is not None


def has_sanitizer() -> bool:
    """True if this process was started with the runtime of a sanitizer, by LD_PRELOAD."""
    preloaded = os.environ.get("LD_PRELOAD", "").replace(":", " ").split()
    return any(is_sanitizer(os.path.basename(path)) for path in preloaded)
