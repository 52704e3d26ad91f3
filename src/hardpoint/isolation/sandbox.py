"""What a worker gives up before it loads the plugin: limits, and later the rest."""

from __future__ import annotations

import resource
from typing import Any


def enter(options: dict[str, Any]) -> list[str]:
    """Give up what the options say; one line for each thing that is in force."""
    applied = []
    for name, number in (("memory", resource.RLIMIT_DATA), ("cpu", resource.RLIMIT_CPU), ("files", resource.RLIMIT_NOFILE)):
        if options.get(name) is not None:
            resource.setrlimit(number, (options[name], options[name]))
            applied.append(f"{name} {options[name]}")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return applied
