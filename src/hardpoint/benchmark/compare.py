"""Compare two results of the same calls, and tell changes from noise.

The same work takes longer while the machine is slower. So each value is divided by the control that was measured next
to it, which is the same work in every run, and these ratios are compared.
"""

from __future__ import annotations

import json
import math
from typing import Any

from ..errors import HardpointError
from ..file import read_small
from ..table import Table
from .measure import FORMAT
from .numbers import NOISY, ratio, summarize
from .report import duration, flat
from .workload import ROWS

_LEAST = 0.05
"""A smaller change is not reported: the processes of one run differ by as much."""
_LARGEST = 64 << 20
"""Bytes of the largest file of results."""
_ERRORS = 5
"""A change has to be this many times the error of the median. In 75 comparisons of an unchanged plugin, on a machine
whose cores were all busy with other programs, it was never 4 times as much, though the times were up to 58 % apart."""


def read_result(path: str) -> dict[str, Any]:
    """Read the result that `hardpoint bench --json` wrote to a file. HardpointError if it is not one."""
    try:
        result = json.loads(read_small(path, _LARGEST))
    except (OSError, ValueError) as error:
        raise HardpointError(
            f"{path} cannot be read as a result of hardpoint bench --json: {error}", path=path
        ) from error
    if not isinstance(result, dict) or result.get("format") != FORMAT:
        found = result.get("format", "none") if isinstance(result, dict) else "none"
        raise HardpointError(
            f"{path} cannot be compared: needs a result of the format {FORMAT}, found {found}; "
            "measure again with hardpoint bench --json",
            path=path,
        )
    return result


def compare(old: dict[str, Any], new: dict[str, Any]) -> list[Table]:
    """A table for each call that both results have: before, now, and the change where it is more than noise."""
    return [_compare_case(before, now) for before, now in _pairs(old, new)]


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Remarks on two results: another Python, processor or libc, no calls in common, a slower machine."""
    then, now = old["machine"], new["machine"]
    made = [
        f"measured with {then[name]} before, and with {now[name]} now"
        for name in ("python", "processor", "libc")
        if then[name] != now[name]
    ]
    speeds = [_slowed(before, case) for before, case in _pairs(old, new)]
    if not speeds:
        made.append("the results have no call in common: nothing can be compared")
    elif abs(speed := summarize(speeds).median - 1) >= 0.01:
        how = "slower" if speed > 0 else "faster"
        made.append(
            f"the machine itself is {abs(speed):.0%} {how} now, by work that is the same in both; "
            "the changes are relative to that"
        )
    return made


def _pairs(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    before = {(case["text"], case["call"]): case for case in old["cases"]}
    return [(before[key], case) for case in new["cases"] if (key := (case["text"], case["call"])) in before]


def _slowed(before: dict[str, Any], now: dict[str, Any]) -> float:
    """The ratio of the control now to the control before: above 1, the machine is slower now."""
    return summarize(flat(now["control"])).median / summarize(flat(before["control"])).median


def _compare_case(before: dict[str, Any], now: dict[str, Any]) -> Table:
    lines: list[tuple[str, ...]] = []
    for name in (row.name for row in ROWS):
        old, new = before["rows"].get(name), now["rows"].get(name)
        if old and new:
            lines.append((name, _median(old), _median(new), *_verdict(before, now, name)))
        elif old or new:
            lines.append(
                (name, _median(old) if old else "", _median(new) if new else "", "", "only now" if new else "gone")
            )
    return Table(f"{now['call']}, compared", ("", "before", "now", "change", ""), lines)


def _median(values: list[list[float]]) -> str:
    return duration(summarize(flat(values)).median)


def _verdict(before: dict[str, Any], now: dict[str, Any], name: str) -> tuple[str, str]:
    """The change relative to the control, and a verdict on it."""
    old, new = (ratio(flat(case["rows"][name]), flat(case["control"])) for case in (before, now))
    change = new.median / old.median - 1
    counts = [len(flat(case["control"])) for case in (before, now)]
    noise = max(_LEAST, _ERRORS * math.hypot(old.spread / counts[0] ** 0.5, new.spread / counts[1] ** 0.5))
    if abs(change) > noise:
        verdict = "slower" if change > 0 else "faster"
    else:
        verdict = "too noisy to tell" if noise > 2 * NOISY else "as before"
    return f"{change:+.1%}", verdict
