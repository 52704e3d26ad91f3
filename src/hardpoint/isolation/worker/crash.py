"""A worker's report when it dies of a signal: with the plugin's functions where the C extension was built."""

from __future__ import annotations

try:
    from ._crash import guard, install

    KNOWS_PLUGINS = True
except ImportError:  # it was built without a compiler; faulthandler tells the signal, and where Python was
    import faulthandler
    import sys

    KNOWS_PLUGINS = False

    def install() -> None:
        """Have fatal signals told on stderr, also in processes that are forked from this one."""
        if sys.version_info >= (3, 14):  # its C stack takes the loader's lock, which the dying thread may wait for
            faulthandler.enable(file=2, all_threads=False, c_stack=False)
        else:
            faulthandler.enable(file=2, all_threads=False)

    def guard() -> None:
        """Do nothing: only the thread that called `install` has a stack for the handler."""


__all__ = ["KNOWS_PLUGINS", "guard", "install"]
