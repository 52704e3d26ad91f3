"""The numbers of the protocol between host and workers: those of isolation/channel/_channel.h and _host.h, by name."""

from __future__ import annotations

CHANNEL_MAPPED = 1 << 21
"""Bytes that both sides map of each half of a channel."""
CHANNEL_LOAD, CHANNEL_HELLO = 0xFFFFFFFF, 0xFFFFFFFD
"""Requests in the place of a method's number."""

REPLY_GROW_REFUSED, REPLY_TAMPERED, REPLY_TOO_LONG, REPLY_NO_THREAD = 1, 2, 8, 16
"""Flags of an answer."""

HP_ANSWERED, HP_INTERRUPTED, HP_TIMED_OUT, HP_GONE, HP_MALFORMED = range(5)
"""Results of hp_channel_wait."""
NOT_SENT = 5
"""A request that was not sent, or an answer that could not be read; SEND_FAILED of binding/_remote_call.c."""

MALFORMED_WORD, MALFORMED_FLAGS, MALFORMED_STATUS, MALFORMED_LENGTH, MALFORMED_HOLES, MALFORMED_WAKES = range(1, 7)
"""Results of hp_channel_answer and hp_channel_why."""

CONTROL_LOAD, CONTROL_CONNECT, CONTROL_END = 1, 2, 3
APPLIED_LANDLOCK, APPLIED_SECCOMP, APPLIED_CAPABILITIES = 1, 2, 4

STAGE_LOADED, STAGE_STALE, STAGE_REFUSED, STAGE_BROKEN, STAGE_LACKING, STAGE_FAILED, STAGE_CLOSED = range(7)
BROKEN_NO_SYMBOL, BROKEN_OTHER_LIBRARY, BROKEN_HEAD, BROKEN_MANIFEST, BROKEN_EMPTY_SLOT, BROKEN_SLOT = range(1, 7)
CHANGED_FLOATING, CHANGED_HANDLERS, CHANGED_MASK, CHANGED_LOCALE, CHANGED_FOLDER = 1, 2, 4, 8, 16
CHANGED_UMASK, CHANGED_TIMERS, CHANGED_LIMITS, CHANGED_ENVIRONMENT = 32, 64, 128, 256

EXIT_NO_MEMORY = 71
"""Exit status of a worker that had no memory for its own work; it wrote OUT_OF_MEMORY before."""
OUT_OF_MEMORY = "hardpoint: out of memory"

ZYGOTE_FORK, ZYGOTE_FORKED, ZYGOTE_ENDED = 1, 2, 3
FAILED_PIDFD = 2
