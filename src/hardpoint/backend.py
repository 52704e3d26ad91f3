"""The plugin behind an object, and the backend that its calls go to: a library in this process, or workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .fields import Fields

if TYPE_CHECKING:
    from typing import Protocol

    from .definition.model import Contract
    from .errors import Problem
    from .isolation.options import Isolation, IsolationStatus
    from .preflight.manifest import Manifest

    class Backend(Protocol):
        """A plugin that is open, in this process (`InProcess`) or in workers (`Isolated`)."""

        @property
        def plugin(self) -> Plugin:
            """The plugin, with its path as the caller named it."""
            ...

        @property
        def request(self) -> Request:
            """How it was loaded."""
            ...

        @property
        def warnings(self) -> tuple[Problem, ...]:
            """Problems of the library that are no reason to refuse it."""
            ...

        @property
        def binding(self) -> str:
            """The binding in use: `native`, `cffi` or `ctypes`."""
            ...

        @property
        def library_path(self) -> str:
            """The argument of dlopen: an absolute path, or a pinned copy's descriptor; isolated, the file's path."""
            ...

        def sha256(self) -> str | None:
            """The digest of the file that was loaded; None if that file is gone."""
            ...

        def status(self) -> IsolationStatus | None:
            """The workers and their limits; None in this process."""
            ...

        def object_class(self) -> type:
            """The class of the plugin's objects, with the contract's methods."""
            ...

        def create(self) -> Any:
            """Create an instance; an Instance holds the result until it is closed. Raises CreateError."""
            ...

        def end_calls_later(self, why: str) -> None:
            """End calls in workers that do not return soon; `why` is for their errors. The instance is closed."""

        def reload(self) -> Backend:
            """Open the file that is at the path now. Raises TypeError in this process, where libraries stay."""
            ...


class Slots(Fields):
    """The functions of one live vtable, as addresses; 0 for an empty slot."""

    create: int
    destroy: int
    methods: dict[str, int]


class Plugin(Fields):
    """A plugin in a library, ready to be bound."""

    path: str
    contract: Contract
    manifest: Manifest
    slots: Slots
    serial: bool

    def about(self, method: str | None) -> dict[str, Any]:
        """The arguments of an error that concerns it, and one of its methods."""
        return {"path": self.path, "plugin": self.manifest.plugin, "method": method}

    def __str__(self) -> str:
        return f"<{self.manifest.plugin} {self.manifest.release}, a plugin for {self.contract} from {self.path}>"


class Request(Fields):
    """The arguments of load, checked: enough to load the same plugin again, in this process or another."""

    path: str
    """Absolute."""
    contract: Contract
    config: bytes | None = None
    binding: str | None = None
    isolation: Isolation | None = None
    """With absolute paths; None to load in this process."""
    sha256: str | None = None
    """The digest that the file needs to have, if it is to be pinned."""
