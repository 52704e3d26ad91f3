"""Write down the SHA-256 of each plugin, for hosts that load no other files: Registry.discover(allow="hardpoint.lock").

Without FOLDER, the usual places are searched, as `hardpoint list` does. With --check nothing is written: what is there is
held against the lock file, and what changed, is missing or is new is listed, with exit status 1. A plugin that needs libraries
beside it ($ORIGIN in its RUNPATH) cannot be loaded under a lock: that is said on stderr, with exit status 1 too.

examples:
  hardpoint lock build/plugins
  hardpoint lock --check build/plugins
  hardpoint lock -o production.lock /srv/plugins
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..table import counted
from .list import search
from .options import cannot_write
from .output import printable, warn

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from ..registry.registry import Registry

_KEY = ("contract", "plugin", "file")


def configure(parser: ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("folders", nargs="*", metavar="FOLDER", help="look here instead of in the usual places")
    parser.add_argument(
        "-o", "--output", default="hardpoint.lock", metavar="FILE", help="the lock file (hardpoint.lock)"
    )
    parser.add_argument("--check", action="store_true", help="compare with the lock file, and write nothing")


def run(arguments: Namespace) -> int:
    """Write the lock file, or compare with it."""
    from ..registry.policy import read_lock, write_lock  # commands are imported together, and most need none

    registry = search(arguments.folders)
    entries = _entries(registry)
    if arguments.check:
        status = _compare(read_lock(arguments.output), entries, arguments.output)
        return max(status, _warn_of_needy(arguments))
    if not entries:
        from ..errors import PluginNotFoundError

        searched = "".join(f"\n  searched {place.folder}: {what}" for place, what in registry.places)
        raise PluginNotFoundError(f"no plugin was found, and {arguments.output} is left as it is{searched}")
    try:
        write_lock(arguments.output, entries)
    except OSError as error:
        raise cannot_write(arguments.output, error.strerror) from error
    print(printable(f"{arguments.output}: {counted(len(entries), 'plugin')}"))
    return _warn_of_needy(arguments)


def _warn_of_needy(arguments: Namespace) -> int:
    """Say which plugins do not fit under the lock because they need what it does not cover; 1 if there are any.

    They stay in it: a host that meets one is then told this reason, and not to write the lock anew.
    """
    needy = [
        (found, problem)
        for found in search(arguments.folders, arguments.output)
        for problem in found.problems
        if problem.code == "pinned-origin"
    ]
    for found, problem in needy:
        warn(f"{found.path} cannot be loaded under a lock: {problem}")
    return 1 if needy else 0


def _entries(registry: Registry) -> list[dict[str, str]]:
    """What stands in a lock file for what was found, in an order of its own; the same files give the same."""
    from ..registry.policy import entry_of

    for found in registry:
        if found.status == "broken":
            warn(f"{found.error}; it is left out")
    entries: set[tuple[tuple[str, str], ...]] = set()
    for found in registry:
        if found.manifest is not None:
            with found.open() as file:
                entries.add(tuple(entry_of(file, found.manifest).items()))
    return [dict(entry) for entry in sorted(entries)]


def _compare(locked: list[dict[str, str]], there: list[dict[str, str]], lock: str) -> int:
    old = {(*(entry[key] for key in _KEY), entry["sha256"]): entry for entry in locked}
    new = {(*(entry[key] for key in _KEY), entry["sha256"]): entry for entry in there}
    gone, come = old.keys() - new.keys(), new.keys() - old.keys()
    lines: list[str] = []
    for key in sorted(gone | come):
        changed = any(key[:-1] == other[:-1] for other in (come if key in gone else gone))
        if key in gone and changed:  # told of the new one
            continue
        word = "missing" if key in gone else "changed" if changed else "new"
        entry = old.get(key) or new[key]
        lines.append(
            f"{word:<7}  {entry['contract']} {entry['plugin']} {entry['release']}  {entry['file']}  {entry['sha256']}"
        )
    for line in lines:
        print(printable(line).replace("\n", "\\n"))
    if not lines:
        print(printable(f"{lock}: {counted(len(new), 'plugin')}, all as locked"))
    return 1 if lines else 0
