"""Slots of a vtable -> Python methods: the same behaviour in three bindings."""

from __future__ import annotations

from typing import Any

from ..errors import LoadError


def module_of(name: str) -> Any:
    """Import the module of a binding. ImportError if it is not available here."""
    return __import__(f"{__name__}.{name}", fromlist=["method"])  # importlib would cost every host 0.2 ms


def why_not_native() -> str | None:
    """The reason why the native binding is not available, and the remedy; None if it is available."""
    try:
        module_of("native")
    except ImportError as error:
        if error.name != "hardpoint.binding._native":
            return str(error)
        return (
            "it was not built when hardpoint was installed, which takes a C compiler and Python.h; install them "
            "(apt-get install gcc python3-dev), and then reinstall hardpoint"
        )
    return None


def default() -> str:
    """The name of the fastest binding that is available. LoadError in a subinterpreter, where none is."""
    why = why_not_native()
    if why is not None and "main interpreter" in why:  # cffi would work, but two bindings of one library can deadlock
        raise LoadError(f"{why}, and this is another; load them there, or in a process of its own")
    return "cffi" if why else "native"
