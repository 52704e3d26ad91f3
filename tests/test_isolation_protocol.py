"""The numbers of host/protocol.py are those of the C headers."""

from __future__ import annotations

import re
from pathlib import Path

from hardpoint.isolation import host
from hardpoint.isolation.host import protocol

CHANNEL = Path(host.__file__).parents[1] / "channel"
HERE = {"NOT_SENT": "SEND_FAILED"}
"""Numbers that have another name in C."""


def numbers_of(*files: Path) -> dict[str, int]:
    """The members of all enums, and the macros that are numbers."""
    found: dict[str, int] = {}
    for file in files:
        source = re.sub(r"/\*.*?\*/", "", file.read_text(), flags=re.DOTALL)
        for name, digits in re.findall(r"#define (\w+) (0x[0-9A-F]+)u\b", source):
            found[name] = int(digits, 16)
        for body in re.findall(r"\benum \{(.*?)\}", source, flags=re.DOTALL):
            for name, value in re.findall(r"(\w+)\s*=\s*([^,]+)", body):
                if re.fullmatch(r"[\d\s<()]+", value):
                    found[name] = eval(value)
    return found


def test_the_numbers_of_the_protocol() -> None:
    native = CHANNEL.parents[1] / "binding" / "_remote_call.c"
    numbers = numbers_of(CHANNEL / "_channel.h", CHANNEL / "_host.h", native)
    ours = {HERE.get(name, name): value for name, value in vars(protocol).items() if isinstance(value, int)}
    assert len(ours) > 40
    assert ours == {name: numbers[name] for name in ours}


def test_each_of_a_group_has_its_number() -> None:
    numbers = numbers_of(CHANNEL / "_channel.h")
    groups = ("STAGE_", "BROKEN_", "CHANGED_", "MALFORMED_", "APPLIED_", "CONTROL_", "ZYGOTE_")
    assert {name for name in numbers if name.startswith(groups)} <= set(vars(protocol))


def test_the_line_of_a_worker_without_memory() -> None:
    assert f'"{protocol.OUT_OF_MEMORY}\\n"' in (CHANNEL / "_worker.c").read_text()
