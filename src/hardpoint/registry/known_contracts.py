"""Manifests -> the contracts that they describe; where hardpoint brings one of that name itself, its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import contracts as brought
from ..definition.canonical_text import contract_from_texts
from ..definition.decorators import contract_of
from ..errors import Problem
from ..preflight.platform import dotted

if TYPE_CHECKING:
    from ..definition.model import Contract
    from ..preflight.manifest import Manifest


def known(contracts: list[Contract]) -> list[Contract]:
    """The same contracts; of those that hardpoint brings its own, which say more than a manifest does (@quick, say)."""
    ours = {(own.name, own.major): own for own in (contract_of(getattr(brought, name)) for name in brought.__all__)}
    return [ours.get((contract.name, contract.major), contract) for contract in contracts]


def described(manifests: list[Manifest | Problem]) -> tuple[list[Contract], list[Problem]]:
    """The contracts that the manifests describe, and what is wrong with those that describe none."""
    contracts: list[Contract] = []
    problems: list[Problem] = []
    for manifest in manifests:
        if isinstance(manifest, Problem):
            problems.append(manifest)
            continue
        try:
            contracts.append(contract_from_texts(manifest.contract, dotted(manifest.version), manifest.methods))
        except ValueError as error:
            needs = "a manifest that describes its methods"
            problems.append(Problem.of("manifest-malformed", error, needs=needs))
    return contracts, problems
