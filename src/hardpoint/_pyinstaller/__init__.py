"""PyInstaller's hook for applications that use hardpoint; the entry point `pyinstaller40` leads here."""

from __future__ import annotations

import os


def get_hook_dirs() -> list[str]:
    """The folder of the hook, as PyInstaller asks for it."""
    return [os.path.dirname(__file__)]
