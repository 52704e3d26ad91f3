"""The command `hardpoint`, beside the package, so that Ctrl-C while the package is imported prints no traceback."""

# PYTHON_ARGCOMPLETE_OK: argcomplete's global completion looks for this marker.

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; 130 for Ctrl-C at any time."""
    try:
        from hardpoint.cli import main as command

        return command()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
