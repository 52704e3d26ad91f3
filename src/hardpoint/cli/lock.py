"""Write a lock file with the SHA-256 of each plugin, for hosts that load no other files.

Such a host says Registry.discover(allow="hardpoint.lock"). Without FOLDER, the usual places are searched, as by
`hardpoint list`. With --check, nothing is written: the plugins are compared with the lock file, and each that changed,
is missing or is new is listed, with exit status 1. A plugin that needs libraries beside it ($ORIGIN in its RUNPATH)
cannot be loaded under a lock; this is reported on stderr, with exit status 1 as well.

examples:
  hardpoint lock build/plugins
  hardpoint lock --check build/plugins
  hardpoint lock -o production.lock /srv/plugins
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import NotAPluginError, PluginNotFoundError, one_line
from ..registry.lockfile import lock_entry, read_lock, write_lock
from ..table import counted
from .list import search
from .options import cannot_write
from .output import warn

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from ..registry.registry import Registry

_KEY = ("contract", "plugin", "file")


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("folders", nargs="*", metavar="FOLDER", help="search here instead of in the usual places")
    parser.add_argument(
        "-o", "--output", default="hardpoint.lock", metavar="FILE", help="the lock file (hardpoint.lock)"
    )
    parser.add_argument("--check", action="store_true", help="compare with the lock file and write nothing")


def run(arguments: Namespace) -> int:
    """Write the lock file, or compare with it."""
    registry = search(arguments.folders)
    entries = _entries(registry)
    if arguments.check:
        status = _compare(read_lock(arguments.output), entries, arguments.output)
        return max(status, _warn_of_origin(arguments))
    if not entries:
        searched = "".join(f"\n  searched {one_line(place.folder)}: {what}" for place, what in registry.places)
        raise PluginNotFoundError(f"no plugin found; {arguments.output} was not changed{searched}")
    try:
        write_lock(arguments.output, entries)
    except OSError as error:
        raise cannot_write(arguments.output, error.strerror) from error
    print(one_line(f"{arguments.output}: {counted(len(entries), 'plugin')}"))
    return _warn_of_origin(arguments)


def _warn_of_origin(arguments: Namespace) -> int:
    """Report the plugins that the lock cannot cover because they need libraries beside them; return 1 if there are any.

    They stay in the lock file, so that a host that tries one gets this reason and not advice to write the lock again.
    """
    uncovered = [
        (found, problem)
        for found in search(arguments.folders, arguments.output)
        for problem in found.problems
        if problem.code == "pinned-origin"
    ]
    for found, problem in uncovered:
        warn(one_line(f"{found.path} cannot be loaded under a lock: {problem}"))
    return 1 if uncovered else 0


def _entries(registry: Registry) -> list[dict[str, str]]:
    """The entries of a lock file, sorted, so that the same files give the same lock."""
    for found in registry:
        if found.status == "broken":
            warn(f"{found.error}; left out of the lock")
    entries: set[tuple[tuple[str, str], ...]] = set()
    for found in registry:
        if found.manifest is not None:
            with found.open() as file:
                try:
                    entries.add(tuple(lock_entry(file, found.manifest).items()))
                except NotAPluginError as error:
                    warn(f"{error}; left out of the lock")
    return [dict(entry) for entry in sorted(entries)]


def _compare(locked: list[dict[str, str]], found: list[dict[str, str]], lock: str) -> int:
    """Print each entry that changed, is missing or is new; return 1 if there are any."""
    old = {(*(entry[key] for key in _KEY), entry["sha256"]): entry for entry in locked}
    new = {(*(entry[key] for key in _KEY), entry["sha256"]): entry for entry in found}
    gone, added = old.keys() - new.keys(), new.keys() - old.keys()
    lines: list[str] = []
    for key in sorted(gone | added):
        changed = any(key[:-1] == other[:-1] for other in (added if key in gone else gone))
        if key in gone and changed:  # its new entry is reported
            continue
        word = "missing" if key in gone else "changed" if changed else "new"
        entry = old.get(key) or new[key]
        lines.append(
            f"{word:<7}  {entry['contract']} {entry['plugin']} {entry['release']}  {entry['file']}  {entry['sha256']}"
        )
    for line in lines:
        print(one_line(line))
    if not lines:
        print(one_line(f"{lock}: {counted(len(new), 'plugin')}, all as locked"))
    return 1 if lines else 0
