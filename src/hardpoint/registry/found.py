"""FoundPlugin: a plugin that a registry found. Only its manifest is read until its status is asked for."""

from __future__ import annotations

import os
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from ..backend import Request
from ..errors import (
    HardpointError,
    IncompatibleError,
    NotAPluginError,
    PluginNotFoundError,
    Problem,
    StaleError,
    one_line,
    reasons,
)
from ..file import open_library, pin
from ..inprocess.plugin import check_binding
from ..isolation.options import checked
from ..loading import encode, load_file
from ..preflight.checks import check, read_library
from ..preflight.platform import dotted
from .manifest_contracts import contracts_from_manifests, prefer_bundled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from packaging.specifiers import SpecifierSet

    from ..definition.model import Contract
    from ..file import LibraryFile
    from ..isolation.options import Isolation
    from ..preflight.manifest import Manifest
    from .discovery import Candidate, Place
    from .policy import Allow

Status = Literal["fits", "does not fit", "refused", "shadowed", "broken", "not a plugin"]


def version_of(release: str | None) -> Any:
    """The release as a Version (PEP 440); None if it is not a valid one."""
    from packaging.version import InvalidVersion, Version  # 7 ms, where releases are compared

    try:
        return Version(release or "")
    except InvalidVersion:
        return None


class FoundPlugin:
    """A plugin that a registry found, or a file without one and the reason.

    Nothing but its manifest is read until `status` or `problems` is asked for. Those run none of its code either; they
    ask the dynamic linker in a process of its own, which takes some milliseconds.
    """

    __slots__ = ("_absolute", "_allow", "_checked", "_identity", "contract", "error", "manifest", "name", "path",
                 "place", "release", "shadowed_by", "shadows", "version")  # fmt: skip

    def __init__(self, candidate: Candidate, manifest: Manifest | None, place: Place, allow: Allow | None) -> None:
        self.manifest: Manifest | None = manifest
        """Its manifest; None if the file has no valid one."""
        self.name: str | None = manifest.plugin if manifest else None
        """The plugin's name; None without a valid manifest."""
        self.contract: str | None = manifest.contract if manifest else None
        """The contract's name."""
        self.version: str | None = dotted(manifest.version) if manifest else None
        """The version of the contract that it was written against."""
        self.release: str | None = manifest.release if manifest else None
        """The plugin's own version."""
        self.path: str | None = candidate.path
        """The file, relative if its place is; None for a Python plugin that was added."""
        self.error: NotAPluginError | IncompatibleError | None = None if manifest else candidate.error
        """Why the file cannot be loaded, if it has no valid manifest: the error that load raises."""
        self.place: Place = place
        """The place where it was found."""
        self.shadowed_by: FoundPlugin | None = None
        """The plugin that is loaded under this name instead, if there is one."""
        self.shadows: tuple[FoundPlugin, ...] = ()
        """The plugins that this one is loaded instead of."""
        self._absolute, self._identity, self._allow = candidate.absolute, candidate.identity, allow
        self._checked: tuple[Problem, ...] | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """Contract, its major version, and name: what identifies a plugin. Each is "" without a valid manifest."""
        return self.contract or "", (self.version or "").partition(".")[0], self.name or ""

    def is_called(self, name: str) -> bool:
        """True if it is a file `NAME.so` without a valid manifest."""
        return self.name is None and os.path.basename(self.path or "") == f"{name}.so"

    @property
    def status(self) -> Status:
        """Its state, in a word or two.

        `fits`; `does not fit`; `refused`: by the policy; `shadowed`: another plugin is loaded under this name;
        `broken`: the file or its manifest is malformed; `not a plugin`: a library without any sign of hardpoint, such
        as one that plugins need.
        """
        if self.error is not None:
            # A library that exports a vtable was meant to be a plugin, with or without its manifest.
            missing = [each for each in self.error.problems if each.code == "manifest-missing"]
            if any(each.code == "elf-no-code" for each in self.error.problems):  # data alone, which plugins may need
                return "not a plugin"
            return "not a plugin" if missing and "hardpoint_" not in missing[0].found else "broken"
        if self.shadowed_by is not None:
            return "shadowed"
        fatal = [problem for problem in self.problems if problem.fatal]
        if any(problem.code.startswith("trust-") for problem in fatal):
            return "refused"
        return "does not fit" if fatal else "fits"

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Every reason not to load it, and every warning. Determined once, at the first access."""
        if self._checked is None:
            self._checked = self.error.problems if self.error else tuple(self._check())
        return self._checked

    def _check(self) -> list[Problem]:
        """Check it against the bundled contract of that name, or else against its own manifest."""
        assert self.manifest is not None  # noqa: S101 - it is None only where error is set
        contracts, problems = contracts_from_manifests([self.manifest])
        try:
            with self.open() as file:
                sha256, refused = self._examine(file)
                if refused:
                    return [*refused, *problems]
                with pin(file, sha256) if sha256 else nullcontext(file) as checked:
                    fits = check(checked, prefer_bundled(contracts))
                return problems + [problem for fit in fits for problem in fit.problems]
        except (NotAPluginError, IncompatibleError) as error:
            return [*error.problems]
        except StaleError:
            return [Problem.of("file-changed", "one that was replaced or rewritten since")]
        except PluginNotFoundError:
            return [Problem.of("file-changed", "none any more")]
        except HardpointError as error:
            return [Problem.of("file-unreadable", error, fix="search again")]

    def _examine(self, file: LibraryFile) -> tuple[str | None, list[Problem]]:
        manifest = self.manifest
        if self._allow is None or manifest is None:
            return None, []
        return self._allow.examine(file, manifest.contract, manifest.plugin)

    def _vouch(self, file: LibraryFile, *, releases: SpecifierSet | None) -> str | None:
        """Apply the policy to the open file, at load and at each reload. Raises IncompatibleError."""
        sha256, problems = self._examine(file)
        if releases is not None and file.identity != self._identity:
            problems = [*problems, *self._check_release(file, releases)]
        if problems:
            raise IncompatibleError(f"{file.path} is not allowed{reasons(problems)}", path=file.path, problems=problems)
        return sha256

    def _check_release(self, file: LibraryFile, releases: SpecifierSet) -> list[Problem]:
        """The problem of a file whose plugin has another release than those wanted."""
        _, manifests = read_library(file)
        for manifest in manifests:
            if isinstance(manifest, Problem) or (manifest.contract, manifest.plugin) != (self.contract, self.name):
                continue  # the checks to come say what is wrong with it
            version = version_of(manifest.release)
            if version is None or not [*releases.filter([version])]:
                found = manifest.release or "none"
                return [Problem.of("release", found, plugin=manifest.plugin, release=releases)]
        return []

    def load(
        self,
        contract: Contract,
        config: str | Mapping[str, Any] | None,
        binding: str | None,
        isolated: bool | Isolation,  # noqa: FBT001 - as load's argument
        releases: SpecifierSet | None = None,
    ) -> Any:
        """Load the file that was found. Raises StaleError if it changed since, else what hardpoint.load raises.

        A later reload takes a file of these releases only.
        """
        if self.error is not None:
            raise self.error.with_traceback(None)
        check_binding(self.path or "", binding)
        request = Request(self._absolute, contract, encode(config), binding, checked(isolated))
        vouch = partial(self._vouch, releases=releases) if self._allow or releases is not None else None
        return load_file(self.open(), request, vouch)

    def open(self) -> LibraryFile:
        """Open the file that was found. Raises StaleError if it changed since, else what `open_library` raises."""
        path = self.path or self._absolute
        try:
            file = open_library(self._absolute, path)
        except PluginNotFoundError as error:
            raise PluginNotFoundError(
                f"{path} was removed after it was found; make a new registry", path=path
            ) from error
        if file.identity != self._identity:
            with file:
                raise StaleError(f"{path} was replaced or rewritten after it was found; make a new registry", path=path)
        return file

    def __repr__(self) -> str:
        return f"<{self.name or 'no plugin'} {self.release or ''} of {one_line(self.path or '')}>"
