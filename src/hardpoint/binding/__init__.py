"""Slots of a vtable -> Python methods: one behaviour, in several bindings."""

from __future__ import annotations

from importlib import import_module


def why_not_native() -> str | None:
    """Why the native binding cannot be used here, and what to do; None if it can."""
    try:
        import_module("hardpoint.binding.native")
    except ImportError as error:
        if error.name != "hardpoint.binding._native":
            return str(error)
        return (
            "it was not built when hardpoint was installed, which takes a C compiler and Python.h; install them "
            "(apt-get install gcc python3-dev), and then hardpoint anew"
        )
    return None


def default() -> str:
    """The name of the fastest binding that can be used here."""
    return "cffi" if why_not_native() else "native"
