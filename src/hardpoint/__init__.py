"""A native plugin host: C shared libraries as typed Python objects, refused before they run if they do not fit."""

from typing import TYPE_CHECKING

from . import pickling as pickling
from .aio import awaitable
from .definition.decorators import contract, quick, since
from .definition.kinds import Buffer, WritableBuffer
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
from .isolation.options import Isolation, IsolationStatus
from .loading import Info, close, info, load, loaded, reload
from .version import __version__

if TYPE_CHECKING:
    from .registry.found import FoundPlugin
    from .registry.policy import Allow
    from .registry.registry import Registry
else:
    _LATE = {"Allow": "registry.policy", "FoundPlugin": "registry.found", "Registry": "registry.registry"}

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
    "FoundPlugin",
    "HardpointError",
    "HardpointWarning",
    "IncompatibleError",
    "Info",
    "Isolation",
    "IsolationStatus",
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
