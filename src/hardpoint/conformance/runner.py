"""Run checks in processes of their own, and collect the outcomes."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

from .. import launcher
from ..errors import HardpointError
from .check import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .check import Check, Job


def run_apart(job: Job, checks: Sequence[Check], jobs: int) -> Iterator[Outcome]:
    """Run each check in a process of its own, `jobs` of them at once; yield the outcomes as they arrive."""
    request = os.memfd_create("hardpoint-test", os.MFD_CLOEXEC)
    reads, writes = os.pipe()
    try:
        os.write(request, json.dumps([job.to_json(), [check.name for check in checks], jobs]).encode())
        nursery = subprocess.Popen(
            launcher.command("hardpoint.conformance.nursery", request, writes),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[request, writes],
        )  # fmt: skip
    except BaseException:
        os.close(reads)
        raise
    finally:
        os.close(request)
        os.close(writes)
    with open(reads, encoding="ascii") as answers, nursery:
        try:
            for line in answers:
                yield Outcome(**json.loads(line))
            nursery.wait()
        finally:
            nursery.kill()
    if nursery.returncode:
        raise HardpointError(f"the process that runs the checks ended with status {nursery.returncode}", path=job.path)
