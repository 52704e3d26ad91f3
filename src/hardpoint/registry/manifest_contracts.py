"""The contracts that manifests describe, with the bundled definition where hardpoint has one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import contracts as bundled
from ..definition.decorators import contract_of
from ..errors import Problem
from ..preflight.checks import check_abi
from ..preflight.describe import describe

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
        described = describe(manifest)
        if isinstance(described, Problem):
            problems += check_abi(manifest) or [described]  # a newer ABI may have other types
        else:
            contracts.append(described)
    return contracts, problems
