"""Show on stderr what plugins log and what isolated plugins write."""

from __future__ import annotations

import logging
import sys

from ..errors import printable

_PLUGINS = "hardpoint.plugin"


def show_logs(*, verbose: bool) -> None:
    """Show warnings and the lines that isolated plugins write; with `verbose`, everything that is logged."""
    if verbose:
        logging.basicConfig(level=logging.DEBUG, format="%(name)s: %(levelname)s: %(message)s")
        return
    logger = logging.getLogger(_PLUGINS)
    logger.addHandler(_Lines())
    logger.setLevel(logging.INFO)


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        name, _, kind = record.name.removeprefix(f"{_PLUGINS}.").partition(".")
        if kind == "output":
            print(printable(f"{name} | {record.getMessage()}"), file=sys.stderr, flush=True)
        elif record.levelno >= logging.WARNING:  # as logging does by default
            print(printable(record.getMessage()), file=sys.stderr, flush=True)
