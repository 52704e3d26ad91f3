"""A file that was found -> what is known of each plugin in it: shallow until somebody asks whether it fits."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

from ..backend import Request
from ..errors import (
    HardpointError,
    IncompatibleError,
    NotAPluginError,
    PluginNotFoundError,
    Problem,
    StaleError,
    reasons,
)
from ..file import open_library, pin
from ..inprocess.plugin import check_binding
from ..isolation.options import checked
from ..loading import encode, load_file
from ..preflight.checks import preflight
from ..preflight.platform import dotted
from .known_contracts import described, known

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..definition.model import Contract
    from ..file import LibraryFile
    from ..isolation.options import Isolation
    from ..preflight.manifest import Manifest
    from .discovery import Candidate, Place
    from .policy import Allow

Status = Literal["fits", "does not fit", "refused", "shadowed", "broken", "not a plugin"]


class FoundPlugin:
    """A plugin that a registry found; or a file that has none, with the reason.

    It is read no further than its manifest until somebody asks for `status` or `problems`, which run none of its code either.
    """

    __slots__ = ("_absolute", "_allow", "_checked", "_identity", "contract", "error", "manifest", "name", "path",
                 "place", "release", "shadowed_by", "shadows", "version")  # fmt: skip

    def __init__(self, candidate: Candidate, manifest: Manifest | None, place: Place, allow: Allow | None) -> None:
        self.manifest = manifest
        """What it says of itself; None if it says nothing that can be read."""
        self.name = manifest.plugin if manifest else None
        """The plugin's name; None if there is no manifest that can be read."""
        self.contract = manifest.contract if manifest else None
        """The contract's name."""
        self.version = dotted(manifest.version) if manifest else None
        """The contract's version that it was written against."""
        self.release = manifest.release if manifest else None
        """The plugin's own version."""
        self.path: str | None = candidate.path
        """The file, relative if its place was given so; None for a Python plugin that was added."""
        self.error = None if manifest else candidate.error
        """Why nothing of the file can be loaded, if it says no name; what load raises."""
        self.place = place
        """Where it was found."""
        self.shadowed_by: FoundPlugin | None = None
        """The plugin that is loaded under this name, if it is another."""
        self.shadows: tuple[FoundPlugin, ...] = ()
        """Those that this one is loaded instead of."""
        self._absolute, self._identity, self._allow = candidate.absolute, candidate.identity, allow
        self._checked: tuple[Problem, ...] | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is known by: contract, its major, and name; each "" if there is no manifest that can be read."""
        return self.contract or "", (self.version or "").partition(".")[0], self.name or ""

    def is_called(self, name: str) -> bool:
        """Whether it is a file without a name of its own that somebody may mean by this one."""
        return self.name is None and os.path.basename(self.path or "") == f"{name}.so"

    @property
    def status(self) -> Status:
        """How it is, in a word.

        `fits`; `does not fit`; `refused`, by the policy; `shadowed`, another is loaded under this name; `broken`, a file or
        a manifest that cannot be read; `not a plugin`, a library that says nothing of hardpoint, such as one that plugins need.
        """
        if self.error is not None:
            # One that lost its manifest and kept its vtable was meant to be a plugin.
            missing = [each for each in self.error.problems if each.code == "manifest-missing"]
            return "not a plugin" if missing and "hardpoint_" not in missing[0].found else "broken"
        if self.shadowed_by is not None:
            return "shadowed"
        fatal = [problem for problem in self.problems if problem.fatal]
        if any(problem.code.startswith("trust-") for problem in fatal):
            return "refused"
        return "does not fit" if fatal else "fits"

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Everything that speaks against loading it, warnings too; looked for once, at the first ask."""
        if self._checked is None:
            self._checked = self.error.problems if self.error else tuple(self._check())
        return self._checked

    def _check(self) -> list[Problem]:
        """Held against the contract that hardpoint brings under that name, or else against what its own manifest says."""
        assert self.manifest is not None  # noqa: S101 - there is no error
        contracts, problems = described([self.manifest])
        try:
            with self.open() as file:
                sha256, refused = self._examine(file)
                if refused:
                    return [*refused, *problems]
                if sha256 is None:
                    return problems + [each for one in known(contracts) for each in preflight(file, one).problems]
                with pin(file, sha256) as pinned:
                    return problems + [each for one in known(contracts) for each in preflight(pinned, one).problems]
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

    def _vouch(self, file: LibraryFile) -> str | None:
        """What load asks of the open file, and reload of the next one."""
        sha256, problems = self._examine(file)
        if problems:
            raise IncompatibleError(f"{file.path} is not allowed{reasons(problems)}", path=file.path, problems=problems)
        return sha256

    def load(
        self,
        contract: Contract,
        config: str | Mapping[str, Any] | None,
        binding: str | None,
        isolated: bool | Isolation,  # noqa: FBT001 - as load's argument
    ) -> Any:
        """A plugin object of the very file that was found. StaleError if that is another by now; else as hardpoint.load."""
        if self.error is not None:
            raise self.error.with_traceback(None)
        check_binding(self.path or "", binding)
        request = Request(self._absolute, contract, encode(config), binding, checked(isolated))
        return load_file(self.open(), request, self._vouch if self._allow else None)

    def open(self) -> LibraryFile:
        """The very file that was found. StaleError if that is another by now; else as `open_library`."""
        path = self.path or self._absolute
        try:
            file = open_library(self._absolute, path)
        except PluginNotFoundError as error:
            raise PluginNotFoundError(f"{path} is gone since it was found; make a new registry", path=path) from error
        if file.identity != self._identity:
            with file:
                raise StaleError(f"{path} was replaced or rewritten since it was found; make a new registry", path=path)
        return file

    def __repr__(self) -> str:
        return f"<{self.name or 'no plugin'} {self.release or ''} of {self.path}>"
