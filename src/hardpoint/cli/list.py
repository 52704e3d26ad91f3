"""List the plugins found, with the reason for each that cannot be loaded.

None of their code runs. Without FOLDER, the usual places are searched, in this order: the folders of $HARDPOINT_PATH,
installed packages, the user's folder (~/.local/share/hardpoint/plugins) and the system's. The exit status is 1 if a
plugin does not fit, is refused or is broken, and 3 if a FOLDER cannot be read. Shadowed plugins and libraries that are
not plugins are not failures.

examples:
  hardpoint list
  hardpoint list build/plugins --contract greeter
  hardpoint list --json
  hardpoint list --allow hardpoint.lock
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import one_line
from ..registry.registry import Registry
from ..table import Table
from .output import print_folded, print_json, print_problem, print_table

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from ..registry.found import FoundPlugin

_FAILED = {"does not fit", "refused", "broken"}


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("folders", nargs="*", metavar="FOLDER", help="search here instead of in the usual places")
    parser.add_argument("--contract", metavar="NAME", help="only plugins for this contract, such as greeter")
    parser.add_argument("--allow", metavar="LOCK", help="refuse plugins that are not in this lock file")
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def search(folders: list[str], allow: str | None = None) -> Registry:
    """Make the registry of the folders, or of the usual places if there are none."""
    return Registry(folders, allow=allow) if folders else Registry.discover(allow=allow)


def run(arguments: Namespace) -> int:
    """Show the plugins found."""
    registry = search(arguments.folders, arguments.allow)
    # A file without a valid manifest may be for any contract.
    plugins = [found for found in registry if arguments.contract in {None, found.contract} or found.status == "broken"]
    if arguments.json:
        print_json({"plugins": [_as_dict(found) for found in plugins], "places": _places(registry)})
    elif plugins:
        _show(plugins)
    else:
        print(f"no plugin{f' for {arguments.contract}' if arguments.contract else ''} found")
        for place, what in registry.places:
            print_folded("  ", one_line(f"searched {place.folder}: {what}"))
    unread = [place for place, _ in registry.places if place.origin == "given" and not place.is_read]
    if unread:  # the registry has warned of them
        return 3
    return 1 if any(found.status in _FAILED for found in plugins) else 0


def _as_dict(found: FoundPlugin) -> dict[str, Any]:
    return {
        "plugin": found.name,
        "contract": found.contract,
        "version": found.version,
        "release": found.release,
        "status": found.status,
        "file": found.path,
        "place": found.place.folder,
        "origin": found.place.origin,
        "shadowed_by": found.shadowed_by.path if found.shadowed_by else None,
        "problems": [problem._asdict() for problem in found.problems],
    }


def _places(registry: Registry) -> list[dict[str, str]]:
    return [{"folder": place.folder, "origin": place.origin, "found": what} for place, what in registry.places]


def _show(plugins: list[FoundPlugin]) -> None:
    """Print a table; then the reasons of plugins that are shadowed or cannot be loaded."""
    rows = [
        tuple(one_line(word or "-") for word in (each.name, _contract(each), each.release, each.status, each.path))
        for each in plugins
    ]
    print_table(Table("", ("plugin", "contract", "release", "status", "file"), rows, text_columns=5))
    print()
    for found in plugins:
        if found.shadowed_by is not None:
            first = found.shadowed_by
            print_folded("", one_line(f"{found.path}: shadowed by {first.name} {first.release} in {first.path}"))
        elif found.problems and found.status != "not a plugin":
            print_folded("", one_line(f"{found.path}: {found.status}"))
            for problem in found.problems:
                print_problem(problem)


def _contract(found: FoundPlugin) -> str:
    return f"{found.contract} {found.version}" if found.contract else ""
