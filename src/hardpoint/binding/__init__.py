"""Slots of a vtable -> Python methods: one behaviour, in several bindings."""

from __future__ import annotations

from typing import Any

from ..errors import LoadError


def module_of(name: str) -> Any:
    """The module of a binding. ImportError if it cannot be had here."""
    return __import__(f"{__name__}.{name}", fromlist=["method"])  # importlib would cost every host 0.2 ms


def why_not_native() -> str | None:
    """Why the native binding cannot be used here, and what to do; None if it can."""
    try:
        module_of("native")
    except ImportError as error:
        if error.name != "hardpoint.binding._native":
            return str(error)
        return (
            "it was not built when hardpoint was installed, which takes a C compiler and Python.h; install them "
            "(apt-get install gcc python3-dev), and then hardpoint anew"
        )
    return None


def default() -> str:
    """The name of the fastest binding that can be used here. LoadError if none can, in a subinterpreter."""
    why = why_not_native()
    if why is not None and "main interpreter" in why:  # cffi would do, and two bindings of a library can deadlock
        raise LoadError(f"{why}, and this is another; load them there, or in a process of its own")
    return "cffi" if why else "native"
