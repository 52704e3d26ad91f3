"""The contracts that manifests describe, with the bundled definition where hardpoint has one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import contracts as bundled
from ..definition.canonical_text import contract_from_texts
from ..definition.decorators import contract_of
from ..errors import Problem
from ..preflight.platform import dotted

if TYPE_CHECKING:
    from ..definition.model import Contract
    from ..preflight.manifest import Manifest


def prefer_bundled(contracts: list[Contract]) -> list[Contract]:
    """Replace contracts that hardpoint bundles by its own definition, which says more than a manifest (@quick, say)."""
    ours = {(own.name, own.major): own for own in (contract_of(getattr(bundled, name)) for name in bundled.__all__)}
    return [ours.get((contract.name, contract.major), contract) for contract in contracts]


def contracts_from_manifests(manifests: list[Manifest | Problem]) -> tuple[list[Contract], list[Problem]]:
    """Return the contracts that the manifests describe, and the problems of those that describe none."""
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
