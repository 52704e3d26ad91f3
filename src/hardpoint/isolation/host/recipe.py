"""The recipe of a worker: what it gives up, opens and compares, as bytes that C applies; and lines about it.

The format is little-endian without padding; `_recipe.h` reads it in the same order.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

from ...errors import LoadError
from ...fields import Fields
from ...inprocess.loader_name import needs_place
from ...version import __version__
from . import landlock, sandbox, seccomp
from .protocol import APPLIED_CAPABILITIES, APPLIED_LANDLOCK, APPLIED_SECCOMP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...definition.model import Method
    from ...file import LibraryFile
    from ...preflight.checks import Fit
    from ..options import Isolation

_MAGIC = 0x31525048  # "HPR1"
_SANDBOX, _REQUIRED, _BY_DESCRIPTOR, _HAS_CONFIG, _PINNED = 1, 2, 4, 8, 16
_KEPT_CAPABILITIES = 0b110
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: root may keep plugins in another's home. Landlock bounds their reach."""
_FIRST_METHOD = 3  # among the slots, after create, destroy and query
_ABSENT, _ANY = 0xFFFFFFFF, (1 << 64) - 1


class Recipe(Fields):
    """The recipe of one plugin's workers."""

    data: bytes
    path: str
    """The library's path as the caller of `load` named it."""
    options: Isolation
    limits: tuple[str, ...]
    """The lines about limits."""
    landlock: int
    """The version of Landlock's ABI; 0 if there is none."""

    def lines(self, applied: tuple[int, int, int]) -> list[str]:
        """The lines of `IsolationStatus.sandbox`, from a worker's Applied message: its bits, and errno of two steps."""
        if not self.options.sandbox:
            return [*self.limits, "lacking: sandbox=False leaves files, network and processes to the plugin"]
        made = [*self.limits, "no new privileges"]
        bits = applied[0]
        if bits & APPLIED_LANDLOCK:
            made.append(sandbox.line_of_files(self.options, self.landlock))
        if bits & APPLIED_CAPABILITIES:
            made.append("no capabilities, except those over files")
        if bits & APPLIED_SECCOMP:
            made += sandbox.lines_of_calls(self.options)
        return [*made, *(f"lacking: {each}" for each in self.lacking(applied))]

    def lacking(self, applied: tuple[int, int, int]) -> list[str]:
        """The parts of the sandbox that are not in force, and why."""
        bits, landlock_errno, seccomp_errno = applied
        made = []
        if not bits & APPLIED_LANDLOCK:
            why = "the kernel has no Landlock (Linux 5.13 has it, if it is turned on)"
            if self.landlock:
                why = f"the kernel refuses a Landlock ruleset here ({os.strerror(landlock_errno)})"
            made.append(f"files are not confined: {why}")
        if not bits & APPLIED_SECCOMP:
            why = f"the kernel refuses a seccomp filter here ({os.strerror(seccomp_errno)})"
            made.append(f"system calls are not confined: {why}")
        return made

    def refusal(self, applied: tuple[int, int, int]) -> LoadError:
        """The error where all of the sandbox is required, and a part is lacking."""
        return LoadError(
            f"{self.path} is not loaded: needs the whole sandbox for Isolation(sandbox={self.options.sandbox!r}), found: "
            f"{'; '.join(self.lacking(applied))}; "
            "use another kernel or container, or Isolation(sandbox=True) for a partial sandbox",
            path=self.path,
        )


def make_recipe(file: LibraryFile, fit: Fit, isolation: Isolation, config: bytes | None) -> Recipe:
    """Make the recipe for a file that fits."""
    limits = sandbox.limits(isolation)
    ruleset, program = landlock.Ruleset(), b""
    if isolation.sandbox:
        ruleset = sandbox.files(isolation, file, fit.elf)
        program = seccomp.filter_of(isolation)
    data = b"".join((
        struct.pack("<II", _MAGIC, _flags(file, fit, isolation, config)),
        _text(f"hardpoint: {fit.manifest.plugin}"), _text(file.absolute), _text(fit.contract.symbol),
        struct.pack("<QQQq", *file.identity),
        _rows("<IQQ", limits.rows),
        _ruleset(ruleset),
        struct.pack("<II", _KEPT_CAPABILITIES, seccomp.PLACEHOLDER), _text(program),
        _expected(fit),
        _methods(fit),
        b"" if config is None else _text(config),
        _text(__version__),
    ))  # fmt: skip
    return Recipe(data, file.path, isolation, tuple(limits.lines), ruleset.abi)


def _flags(file: LibraryFile, fit: Fit, isolation: Isolation, config: bytes | None) -> int:
    given = {
        _SANDBOX: bool(isolation.sandbox),
        _REQUIRED: isolation.sandbox in {"required", "strict"},
        _BY_DESCRIPTOR: bool(file.pinned) or not needs_place(fit.elf),
        _HAS_CONFIG: config is not None,
        _PINNED: bool(file.pinned),
    }
    return sum(flag for flag, is_set in given.items() if is_set)


def _ruleset(made: landlock.Ruleset) -> bytes:
    rules = (struct.pack("<Q", rights) + _text(path) for rights, path in made.rules)
    head = struct.pack("<IQQQI", made.abi, made.handled, made.tcp, made.scopes, len(made.rules))
    return head + b"".join(rules)


def _expected(fit: Fit) -> bytes:
    """What the vtable in memory has to be: its place, its numbers, its manifest and its slots."""
    vtable = fit.vtable
    head = vtable.size | vtable.abi[0] << 32 | vtable.abi[1] << 48
    return b"".join((
        struct.pack("<QQQ", vtable.address, head, vtable.flags), _text(fit.manifest.text),
        _rows("<QQ", [(start, end) for start, end, _ in fit.elf.mapped]),
        _rows("<Q", [(_ANY if slot is None else slot,) for slot in vtable.slots]),
    ))  # fmt: skip


def _methods(fit: Fit) -> bytes:
    """How to call each method of the contract: its slot, and the letters of its kinds."""
    made = []
    for index, method in enumerate(fit.contract.methods, _FIRST_METHOD):
        has = index < len(fit.vtable.slots) and fit.vtable.slots[index] != 0
        made.append(struct.pack("<IBBc8s", index if has else _ABSENT, not method.since, *_plan(method)))
    return struct.pack("<I", len(made)) + b"".join(made)


def _plan(method: Method) -> tuple[int, bytes, bytes]:
    kinds = "".join(each.kind.letter for each in method.parameters)
    return len(kinds), method.result.letter.encode(), kinds.encode()


def _rows(form: str, rows: Sequence[tuple[int, ...]]) -> bytes:
    return struct.pack("<I", len(rows)) + b"".join(struct.pack(form, *row) for row in rows)


def _text(text: str | bytes) -> bytes:
    data = text if isinstance(text, bytes) else os.fsencode(text)
    return struct.pack("<I", len(data)) + data
