"""Reports as JUnit XML, which Jenkins, GitLab and GitHub Actions read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, ElementTree, SubElement

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import IO

    from . import Outcome, Report

# Characters that XML 1.0 forbids, even escaped (section 2.2, "Characters").
_NO_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ELEMENTS = {"failed": "failure", "crashed": "error", "timed out": "error", "skipped": "skipped"}


def write(file: IO[bytes], reports: Sequence[Report]) -> None:
    """Write a test suite for each report. OSError if the file cannot be written."""
    root = Element("testsuites", name="hardpoint test")
    for report in reports:
        root.append(_suite(report))
    ElementTree(root).write(file, encoding="utf-8", xml_declaration=True)


def _suite(report: Report) -> Element:
    kinds = [_ELEMENTS.get(outcome.status, "") for outcome in report.outcomes]
    suite = Element(
        "testsuite",
        name=_clean(f"{report.path} {report.contract}"),
        tests=str(len(kinds)),
        failures=str(kinds.count("failure")),
        errors=str(kinds.count("error")),
        skipped=str(kinds.count("skipped")),
        time=f"{sum(outcome.seconds for outcome in report.outcomes):.3f}",
    )
    properties = SubElement(suite, "properties")
    SubElement(properties, "property", name="seed", value=str(report.seed))
    for outcome in report.outcomes:
        suite.append(_case(outcome))
    return suite


def _case(outcome: Outcome) -> Element:
    case = Element("testcase", classname=outcome.contract, name=outcome.name, time=f"{outcome.seconds:.3f}")
    kind = _ELEMENTS.get(outcome.status)
    if kind:
        message = _clean(f"{outcome.status}: {outcome.detail}" if kind != "skipped" else outcome.detail)
        element = SubElement(case, kind, message=message)
        if kind != "skipped":
            element.text = _clean("\n".join(filter(None, (outcome.about, outcome.detail, outcome.output))))
    elif outcome.detail:
        SubElement(case, "system-out").text = _clean(f"{outcome.status}: {outcome.detail}")
    return case


def _clean(text: str) -> str:
    r"""Replace characters that XML forbids with \uXXXX."""
    return _NO_XML.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
