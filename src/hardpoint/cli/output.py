"""What commands print, and the exit status that an error means."""

from __future__ import annotations

import base64
import json
import os
import sys
from typing import Any

from ..errors import HardpointError, IncompatibleError, LoadError, NotAPluginError, PluginNotFoundError, StaleError

_STATUS: tuple[tuple[type[HardpointError], int], ...] = (
    (PluginNotFoundError, 3),
    (NotAPluginError, 4),
    (IncompatibleError, 4),
    (StaleError, 4),
    (LoadError, 4),
)


def status_of(error: HardpointError) -> int:
    """The exit status for an error."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 1)


def warn(message: str) -> None:
    """A message for a person, on stderr."""
    print(f"hardpoint: {message}", file=sys.stderr)


def print_json(value: Any) -> None:
    """A result for a program, on stdout. Bytes travel as {"base64": ...}."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=_as_json))


def _as_json(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray)):
        return {"base64": base64.b64encode(value).decode()}
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def coloured(text: str, colour: int) -> str:
    """The text in one of the terminal's colours (31 red, 32 green, 33 yellow), if a person is there to see it."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not sys.stdout.isatty():
        return text
    return f"\x1b[{colour}m{text}\x1b[0m"
