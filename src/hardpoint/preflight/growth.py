"""The advice for contracts that grew: methods that a plugin lacks, leaves out or has in another place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import Problem
from ..ffi.abi import HEAD_SIZE

if TYPE_CHECKING:
    from ..definition.model import Contract, Method
    from .manifest import Manifest


def missing(contract: Contract, method: Method, manifest: Manifest) -> Problem:
    """The problem of a method that the plugin lacks. Perhaps it came later, and `@since` was forgotten."""
    found = f"a list that ends after method {len(manifest.methods)}"
    problem: Problem = Problem.of("method-missing", found, method=method.text)
    if method.since or method.function is None or contract.source.startswith("hardpoint.contracts"):
        return problem
    advice = _mark(contract, manifest)
    return problem._replace(fix=f"{problem.fix}; or, if the contract got it after the plugin was built, {advice}")


def _mark(contract: Contract, manifest: Manifest) -> str:
    """The advice for a method that came after the plugin was built."""
    version = f"{contract.major}.{max(contract.minor, manifest.version[1] + 1)}"
    grown = "" if version == contract.version else ", and make that its version"
    return f"mark it with @since({version!r}){grown}"


def inserted(contract: Contract, manifest: Manifest) -> Problem | None:
    """One problem for methods in the middle of one list that the other lacks, in place of one for each slot behind.

    None if the lists differ in another way.
    """
    wanted, found = [method.text for method in contract.methods], [*manifest.methods]
    few, many = sorted((wanted, found), key=len)
    rest = iter(many)
    if len(few) == len(many) or few == many[: len(few)] or not all(text in rest for text in few):
        return None
    more = [text for text in many[: len(many) - len([*rest])] if text not in few]
    where, advice = "the plugin's contract", "mark it with @since"
    if many is wanted:
        where, advice = "the contract", _mark(contract, manifest)
    fix = f"a contract grows by appending: move {', '.join(more)} to the end of {where}, and {advice}"
    problem: Problem = Problem.of("method-order", ", ".join(found), methods=", ".join(wanted))
    return problem._replace(fix=f"{fix}; or {problem.fix}")


def empty_slot(found: str, text: str, offset: int, contract: Contract) -> Problem:
    """The problem of a method that the plugin leaves out. Perhaps it came later, and `@since` was forgotten."""
    problem: Problem = Problem.of("slot-empty", found, method=text)
    if offset == HEAD_SIZE or not contract.minor or contract.methods[(offset - HEAD_SIZE) // 8].function is None:
        return problem
    advice = f"or, if the contract got it in {contract.version}, mark it with @since({contract.version!r})"
    return problem._replace(fix=f"{problem.fix}; {advice}")
