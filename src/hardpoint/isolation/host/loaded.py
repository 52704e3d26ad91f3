"""A worker's answer to a request to load -> what is in force, or the error. See isolation/channel/_channel.h."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ...binding.result import text_of
from ...errors import CreateError, HardpointError, LoadError
from .answer import Returned
from .lost import MalformedError
from .same_file import stale

if TYPE_CHECKING:
    from ...backend import Plugin
    from ...preflight.checks import Fit
    from .connection import Answer
    from .process import Loading
    from .recipe import Recipe

_LOADED, _STALE, _REFUSED, _BROKEN, _LACKING, _FAILED, _CLOSED = range(7)
_CHANGED = (
    "the floating-point mode", "the handlers of signals", "the signal mask", "the locale", "the working directory",
    "the umask", "timers", "limits", "the environment",
)  # fmt: skip
"""By the bits of CHANGED_*."""
_BY_GO = 1 << 1 | 1 << 7
"""What Go's runtime changes in every plugin: handlers, and RLIMIT_NOFILE."""
_TOO_LONG = 8
_MOST_SLOT = 1 << 16


def check_loaded(loading: Loading, plugin: Plugin, fit: Fit, recipe: Recipe) -> int:
    """Return the CHANGED_* bits of a plugin that was loaded. Raises why one was not, or MalformedError."""
    answer = loading.answer
    stage, changed = answer.scalar & 0xFF, answer.scalar >> 8
    if answer.flags & _TOO_LONG:
        stage, changed = _LOADED, 0
    if stage > _CLOSED or changed >> len(_CHANGED) or (stage != _LOADED and answer.flags):
        raise MalformedError("an unknown stage of loading")
    if stage == _LOADED:
        returned = Returned(answer.flags, answer.length, answer.scalar, answer.text)
        text_of(plugin, "create", answer.status, returned, CreateError)
        return changed
    if stage == _LACKING:
        raise recipe.refusal(loading.applied)
    raise _refusal(stage, answer, plugin, fit)


def _refusal(stage: int, answer: Answer, plugin: Plugin, fit: Fit) -> HardpointError:
    from ...inprocess import library  # 1 ms, for an error

    path, text = plugin.path, os.fsdecode(answer.text)
    if stage == _STALE:
        return stale(path)
    if stage == _REFUSED:
        return library.refused(path, text)
    if stage == _BROKEN:
        return library.broken_vtable(path, plugin.manifest.plugin, _difference(answer, fit))
    if stage == _CLOSED:
        return LoadError(
            f"{path} cannot be used: code that ran while it was loaded closed descriptors of its process; report it to the "
            f"author of {plugin.manifest.plugin}",
            path=path,
        )
    if not text.isprintable() or len(text) > 64:
        raise MalformedError("an unknown stage of loading")
    return LoadError(
        f"{path} cannot be loaded: {text or 'a system call'} failed in the worker ({os.strerror(answer.status)}); "
        "free some memory, or allow it where a container forbids it",
        path=path,
    )


def _difference(answer: Answer, fit: Fit) -> str:
    """What the worker's live vtable has that the file's has not, as inprocess/library.py says it."""
    symbol = fit.contract.symbol
    methods = [method.name for method in fit.contract.methods]
    slots = ["create", "destroy", "query", *methods]
    at = answer.length
    slot = slots[at] if at < len(slots) else f"method {at - 3}"
    texts = {
        1: f"{symbol} was not found",
        2: f"{symbol} is another library's symbol",
        3: "the vtable's size, ABI or flags changed",
        4: "the vtable's manifest is not the note's",
        5: f"the method {slot} is an empty slot",
        6: f"the slot of {slot} changed",
    }
    if answer.status not in texts or at > _MOST_SLOT:
        raise MalformedError("an unknown stage of loading")
    return texts[answer.status]


def warn_changed(path: str, changed: int, fit: Fit) -> None:
    """Warn of the process state that loading changed in the worker, where it was put back."""
    if changed:
        from ...inprocess import library  # 1 ms, for a warning

        names = [name for bit, name in enumerate(_CHANGED) if changed >> bit & 1]
        library.warn_changed(
            path, names, fit.elf, by_go=not changed & ~_BY_GO, is_floating=bool(changed & 1), stacklevel=8
        )
