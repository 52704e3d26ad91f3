"""Registry: plugins by contract and name, which one shadows which, and errors that help to find them."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from ..definition.decorators import contract_of
from ..errors import HardpointError, HardpointWarning, PluginNotFoundError, one_line
from ..file import tilde_hint
from ..table import counted
from .discovery import NAMED, PATH, given_places, read_places, usual_places
from .found import FoundPlugin, version_of
from .policy import policy

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Self

    from packaging.specifiers import SpecifierSet

    from ..definition.model import Contract
    from ..isolation.options import Isolation
    from ..loading import Binding
    from .discovery import Place
    from .policy import Allow

T = TypeVar("T")


class Plugins(dict[str, T], Generic[T]):
    """Plugin objects by name: the result of `load_all`."""

    def __init__(self) -> None:
        super().__init__()
        self.failed: dict[str, HardpointError] = {}
        """The errors of plugins that could not be loaded: by name, or by path for files without a valid manifest."""


class Registry:
    """The plugins in some folders, found without running any of their code; and Python plugins that are added.

    `folders` are searched in order; `discover` searches the usual places as well. A plugin is identified by its
    contract, the contract's major version and its name. Of several, the first place wins; within one place the newest
    release, then the first file name. The others are shadowed: they stay in the list, and `load(release=...)` can
    select them.

    `allow` is the policy: an Allow, or the path of a lock file. A plugin that it refuses is not replaced by one that it
    shadows: loading it by name raises the refusal.

    Iterating gives every FoundPlugin: first those that were added, then those of each place, sorted by file name.
    Raises HardpointError for a missing or malformed lock file, and nothing for the contents of a folder. Warns
    (HardpointWarning) of each of `folders` and of $HARDPOINT_PATH that is missing or cannot be read; `places` has all.
    """

    def __init__(
        self, folders: Iterable[str | os.PathLike[str]] = (), *, allow: Allow | str | os.PathLike[str] | None = None
    ) -> None:
        self._allow = policy(allow)
        self._added: list[FoundPlugin] = []
        self._searched: list[tuple[Place, list[FoundPlugin]]] = []
        self._known: dict[tuple[str, str, str], list[FoundPlugin]] = {}
        """The plugins of each key; the first is the one that is loaded."""
        self._search(given_places(folders))

    @classmethod
    def discover(
        cls, folders: Iterable[str | os.PathLike[str]] = (), *, allow: Allow | str | os.PathLike[str] | None = None
    ) -> Self:
        """Search the given folders, then $HARDPOINT_PATH, installed packages, the user's folder and the system's."""
        registry = cls(allow=allow)
        registry._search([*given_places(folders), *usual_places()])
        return registry

    def _search(self, places: list[Place]) -> None:
        for place, candidates in read_places(places):
            plugins = [
                FoundPlugin(each, manifest, place, self._allow)
                for each in candidates
                for manifest in (*each.manifests, *([None] if each.error else []))
            ]
            self._searched.append((place, plugins))
            if place.origin in NAMED and not place.is_read:
                _warn(place)
            groups: dict[tuple[str, str, str], list[FoundPlugin]] = {}
            for found in plugins:
                if found.name is not None:
                    groups.setdefault(found.key, []).append(found)
            for key, group in groups.items():
                self._known.setdefault(key, []).extend(_newest_first(group))
        for key in self._known:
            self._shadow(key)

    def _shadow(self, key: tuple[str, str, str]) -> None:
        first, *others = self._known[key]
        first.shadowed_by, first.shadows = None, tuple(others)
        for other in others:
            other.shadowed_by, other.shadows = first, ()

    def __iter__(self) -> Iterator[FoundPlugin]:
        yield from self._added
        for _, plugins in self._searched:
            yield from plugins

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"<registry of {_count(list(self))} in {counted(len(self._searched), 'place')}>"

    @property
    def places(self) -> tuple[tuple[Place, str], ...]:
        """Every place that was searched, with a description of what was found there."""
        return tuple(
            (place, _count(plugins) if place.state == "ok" else place.state) for place, plugins in self._searched
        )

    def load(
        self,
        name: str,
        contract: Callable[..., T],
        *,
        release: str | None = None,
        config: str | Mapping[str, Any] | None = None,
        binding: Binding | None = None,
        isolated: bool | Isolation = False,
    ) -> T:
        """Load the plugin of that name for `contract`; the other arguments and errors are those of hardpoint.load.

        `release` is a specifier such as `>=1.2,<2` (PEP 440): the first plugin in order whose release satisfies it is
        loaded. A pre-release counts if the specifier names one, or if nothing else satisfies it. A release that is not
        a valid version satisfies no specifier. A `reload` loads only a file that satisfies it, too.

        Raises PluginNotFoundError if there is no plugin of that name (the message lists similar names and every place
        that was searched) or no release that satisfies (it lists those that are available); ValueError for an invalid
        specifier; StaleError if the file changed since it was found; and the file's own error if the name is that of a
        file without a valid manifest.
        """
        wanted = contract_of(contract)
        releases = _specifier(release)
        return cast("T", self._choose(name, wanted, releases).load(wanted, config, binding, isolated, releases))

    def load_all(
        self,
        contract: Callable[..., T],
        *,
        binding: Binding | None = None,
        isolated: bool | Isolation = False,
    ) -> Plugins[T]:
        """Load every plugin for `contract` that is not shadowed, by name. The result's `failed` has the errors."""
        wanted = contract_of(contract)
        plugins: Plugins[T] = Plugins()
        for found in self:
            own = found.key[:2] == _key(wanted, "")[:2] and found.shadowed_by is None
            if own or (found.name is None and found.status == "broken"):
                try:
                    plugins[found.name or ""] = found.load(wanted, None, binding, isolated)
                except HardpointError as error:
                    plugins.failed[found.name or found.path or ""] = error
        return plugins

    def add(self, name: str, contract: Callable[..., T], plugin: T | Callable[[], T]) -> None:
        """Add a Python plugin: an object, or a class that each load instantiates (with `config=` if there is one).

        It comes before every file. `load` returns the object itself: `info` and `close` are for native plugins, and
        `binding` has no effect. Raises IncompatibleError, with every problem, if its methods are not the contract's,
        and ValueError for a name that is invalid or was added already.
        """
        from .python_plugin import PythonPlugin  # 10 ms, inspect above all

        wanted = contract_of(contract)
        _check_name(name)
        found = PythonPlugin(name, wanted, plugin)
        same = self._known.setdefault(found.key, [])
        if same and same[0].path is None:
            raise ValueError(f"{name} for {wanted.name} {wanted.major} was added already: {same[0]!r}")
        self._added.append(found)
        same.insert(0, found)
        self._shadow(found.key)

    def _choose(self, name: str, contract: Contract, releases: SpecifierSet | None) -> FoundPlugin:
        _check_name(name)
        candidates = self._known.get(_key(contract, name), [])
        if not candidates:
            raise not_found(self, name, contract)
        if releases is None:
            return candidates[0]
        versions = {found: version_of(found.release) for found in candidates}
        fitting = set(releases.filter([version for version in versions.values() if version is not None]))
        for found, version in versions.items():
            if version in fitting:
                return found
        available = "".join(
            f"\n  {found.release or 'without a release'}: {one_line(found.path or repr(found))}" for found in candidates
        )
        raise PluginNotFoundError(
            f"no release of {name} for {contract} satisfies {str(releases)!r}; available:{available}", plugin=name
        )


def _specifier(release: str | None) -> SpecifierSet | None:
    """Parse `release`. Raises TypeError or ValueError."""
    if release is None:
        return None
    from packaging.specifiers import InvalidSpecifier, SpecifierSet  # 15 ms, for hosts that ask for a release

    if not isinstance(release, str):
        raise TypeError(f"release is a specifier such as '>=1.2,<2', not {release!r}")
    try:
        return SpecifierSet(release)
    except InvalidSpecifier:
        raise ValueError(f"release is a specifier such as '>=1.2,<2', not {release!r}") from None


def _warn(place: Place) -> None:
    """Say that a folder which somebody named was not read; the usual ones need not exist."""
    origin = " of $HARDPOINT_PATH" if place.origin == PATH else ""
    message = f"{one_line(place.folder)}{origin} was not searched for plugins: {place.state}; check the path{tilde_hint(place.folder)}"
    warnings.warn(HardpointWarning(message, path=place.folder), stacklevel=4)


def _check_name(name: object) -> None:
    if not isinstance(name, str):
        raise TypeError(f"name is a plugin's name such as 'english', not {name!r}")


def _key(contract: Contract, name: str) -> tuple[str, str, str]:
    return contract.name, str(contract.major), name


def _newest_first(group: list[FoundPlugin]) -> list[FoundPlugin]:
    """Sort by release (PEP 440), invalid versions last, then by file name."""
    if len(group) == 1:  # nearly always; importing packaging takes 7 ms
        return group
    versions = {found: version_of(found.release) for found in group}
    newest = [found for found in group if versions[found] is not None]
    newest.sort(key=versions.__getitem__, reverse=True)  # a stable sort: equal ones stay sorted by file name
    return newest + [found for found in group if versions[found] is None]


def _count(found: list[FoundPlugin]) -> str:
    plugins = sum(each.name is not None for each in found)
    rest = len(found) - plugins
    return counted(plugins, "plugin") + (f", {counted(rest, 'other file')}" if rest else "")


def not_found(registry: Registry, name: str, contract: Contract | None = None) -> HardpointError:
    """Make the error for a name that is not found: that of a file NAME.so, or else a list of the names."""
    for found in registry:
        if found.is_called(name) and found.error is not None:
            return found.error.with_traceback(None)
    from difflib import get_close_matches  # 2 ms, for the error alone

    unshadowed = [found for found in registry if found.name is not None and found.shadowed_by is None]
    names = [
        found.name
        for found in unshadowed
        if found.name and (contract is None or found.key[:2] == _key(contract, "")[:2])
    ]
    close = get_close_matches(name, names, cutoff=0.5)
    lines = [f"no plugin named {name!r}{f' for {contract}' if contract else ''} found"]
    if close:
        lines[0] += f"; did you mean {' or '.join(close)}?"
    lines += [
        f"  {name} for {each.contract} {each.version}: {one_line(each.path or repr(each))}"
        for each in unshadowed
        if each.name == name
    ]
    if names:
        lines.append(f"  available: {', '.join(sorted(set(names)))}")
    lines += [one_line(f"  searched {place.folder}: {what}") for place, what in registry.places]
    return PluginNotFoundError("\n".join(lines), plugin=name)
