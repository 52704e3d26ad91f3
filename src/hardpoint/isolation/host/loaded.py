"""A worker's answer to a request to load -> what is in force, or the error. See isolation/channel/_channel.h."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ...binding.result import text_of
from ...errors import CreateError, HardpointError, LoadError
from .answer import AnsweredOut
from .lost import MalformedError
from .protocol import (
    BROKEN_EMPTY_SLOT,
    BROKEN_HEAD,
    BROKEN_MANIFEST,
    BROKEN_NO_SYMBOL,
    BROKEN_OTHER_LIBRARY,
    BROKEN_SLOT,
    CHANGED_ENVIRONMENT,
    CHANGED_FLOATING,
    CHANGED_FOLDER,
    CHANGED_HANDLERS,
    CHANGED_LIMITS,
    CHANGED_LOCALE,
    CHANGED_MASK,
    CHANGED_TIMERS,
    CHANGED_UMASK,
    REPLY_NO_THREAD,
    REPLY_TOO_LONG,
    STAGE_BROKEN,
    STAGE_CLOSED,
    STAGE_LACKING,
    STAGE_LOADED,
    STAGE_REFUSED,
    STAGE_STALE,
)
from .same_file import stale

if TYPE_CHECKING:
    from ...backend import Plugin
    from ...preflight.checks import Fit
    from .answer import Answer
    from .process import Loading
    from .recipe import Recipe

_CHANGED = {
    CHANGED_FLOATING: "the floating-point mode",
    CHANGED_HANDLERS: "the handlers of signals",
    CHANGED_MASK: "the signal mask",
    CHANGED_LOCALE: "the locale",
    CHANGED_FOLDER: "the working directory",
    CHANGED_UMASK: "the umask",
    CHANGED_TIMERS: "timers",
    CHANGED_LIMITS: "limits",
    CHANGED_ENVIRONMENT: "the environment",
}
_BY_GO = CHANGED_HANDLERS | CHANGED_LIMITS
"""What Go's runtime changes in every plugin: handlers, and RLIMIT_NOFILE."""
_MOST_SLOT = 1 << 16


def check_loaded(loading: Loading, plugin: Plugin, fit: Fit, recipe: Recipe, *, is_first: bool) -> int:
    """Return the CHANGED_* bits of a plugin that was loaded. Raises why one was not, or MalformedError."""
    answer = loading.answer
    stage, changed = answer.scalar & 0xFF, answer.scalar >> 8
    if answer.flags & REPLY_TOO_LONG:
        stage, changed = STAGE_LOADED, 0
    forbidden = REPLY_NO_THREAD if stage == STAGE_LOADED else ~0
    if stage > STAGE_CLOSED or changed & ~sum(_CHANGED) or answer.flags & forbidden:
        raise MalformedError("an unknown stage of loading")
    if stage == STAGE_LOADED:
        returned = AnsweredOut(answer.flags, answer.length, answer.scalar, answer.text)
        text_of(plugin, "create", answer.status, returned, CreateError)
        return changed
    if stage == STAGE_LACKING:
        raise recipe.refusal(loading.applied)
    raise stale(plugin.path, is_first=is_first) if stage == STAGE_STALE else _refusal(stage, answer, plugin, fit)


def _refusal(stage: int, answer: Answer, plugin: Plugin, fit: Fit) -> HardpointError:
    from ...inprocess import library  # 1 ms, for an error

    path, text = plugin.path, os.fsdecode(answer.text)
    if stage == STAGE_REFUSED:
        return library.refused(path, text)
    if stage == STAGE_BROKEN:
        return library.broken_vtable(path, plugin.manifest.plugin, _difference(answer, fit))
    if stage == STAGE_CLOSED:
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
        BROKEN_NO_SYMBOL: f"{symbol} was not found",
        BROKEN_OTHER_LIBRARY: f"{symbol} is another library's symbol",
        BROKEN_HEAD: "the vtable's size, ABI or flags changed",
        BROKEN_MANIFEST: "the vtable's manifest is not the note's",
        BROKEN_EMPTY_SLOT: f"the method {slot} is an empty slot",
        BROKEN_SLOT: f"the slot of {slot} changed",
    }
    if answer.status not in texts or at > _MOST_SLOT:
        raise MalformedError("an unknown stage of loading")
    return texts[answer.status]


def warn_changed(path: str, changed: int, fit: Fit) -> None:
    """Warn of the process state that loading changed in the worker, where it was put back."""
    if changed:
        from ...inprocess import library  # 1 ms, for a warning

        names = [name for bit, name in _CHANGED.items() if changed & bit]
        library.warn_changed(
            path,
            names,
            fit.elf,
            by_go=not changed & ~_BY_GO,
            is_floating=bool(changed & CHANGED_FLOATING),
            stacklevel=8,
        )
