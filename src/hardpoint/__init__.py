"""A native plugin host: C shared libraries as typed Python objects, refused before they run if they do not fit."""

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

__all__ = [
    "Buffer",
    "CallError",
    "ClosedError",
    "ContractBrokenError",
    "CrashedError",
    "CreateError",
    "DefinitionError",
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
