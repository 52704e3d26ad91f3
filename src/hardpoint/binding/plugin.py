"""What a binding binds: the functions of a live vtable, and whose they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..fields import Fields

if TYPE_CHECKING:
    from ..definition.model import Contract
    from ..preflight.manifest import Manifest


class Slots(Fields):
    """The functions of one live vtable, as addresses; 0 for an empty slot."""

    create: int
    destroy: int
    methods: dict[str, int]


class Plugin(Fields):
    """A plugin in a library, ready to be bound."""

    path: str
    contract: Contract
    manifest: Manifest
    slots: Slots
    serial: bool
