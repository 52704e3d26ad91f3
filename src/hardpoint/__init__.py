"""A native plugin host: C shared libraries as typed Python objects, refused before they run if they do not fit."""

from typing import TYPE_CHECKING

from .definition import contract, quick, since
from .errors import (
    CallError,
    ClosedError,
    ContractBrokenError,
    CrashedError,
    CreateError,
    DefinitionError,
    HardpointError,
    HardpointWarning,
    IncompatibleError,
    LoadError,
    NotAPluginError,
    PluginError,
    PluginNotFoundError,
    Problem,
    StaleError,
    TimedOutError,
)
from .isolation.options import InForce, Isolation
from .loading import Info, close, info, load, loaded, reload
from .signature import Buffer, WritableBuffer
from .version import __version__
from .waiting import awaitable

if TYPE_CHECKING:
    from .found import Found
    from .registry import Registry
    from .trust import Allow
else:
    _LATE = {"Allow": "trust", "Found": "found", "Registry": "registry"}

    def __getattr__(name: str) -> object:
        """A host that names its plugins' files needs none of these: 2 ms."""
        if name not in _LATE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = __import__(f"{__name__}.{_LATE[name]}", fromlist=[name])
        return globals().setdefault(name, getattr(module, name))


__all__ = [
    "Allow",
    "Buffer",
    "CallError",
    "ClosedError",
    "ContractBrokenError",
    "CrashedError",
    "CreateError",
    "DefinitionError",
    "Found",
    "HardpointError",
    "HardpointWarning",
    "InForce",
    "IncompatibleError",
    "Info",
    "Isolation",
    "LoadError",
    "NotAPluginError",
    "PluginError",
    "PluginNotFoundError",
    "Problem",
    "Registry",
    "StaleError",
    "TimedOutError",
    "WritableBuffer",
    "__version__",
    "awaitable",
    "close",
    "contract",
    "info",
    "load",
    "loaded",
    "quick",
    "reload",
    "since",
]
