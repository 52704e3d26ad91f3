"""A manifest -> the contract that it describes, for tools without the contract's class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..definition.canonical_text import contract_from_texts
from ..errors import Problem
from .platform import dotted

if TYPE_CHECKING:
    from ..definition.model import Contract
    from .manifest import Manifest


def describe(manifest: Manifest) -> Contract | Problem:
    """Return the contract, or the problem of a manifest that describes none."""
    try:
        return contract_from_texts(manifest.contract, dotted(manifest.version), manifest.methods)
    except ValueError as error:
        return Problem.of("manifest-malformed", error, needs="a manifest that describes its methods")
