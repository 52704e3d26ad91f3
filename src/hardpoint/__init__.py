"""A native plugin host: C shared libraries as typed Python objects, refused before they run if they do not fit."""

from .definition import contract, quick, since
from .errors import (
    CallError,
    ClosedError,
    ContractBrokenError,
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
)
from .loading import Info, close, info, load, loaded
from .signature import Buffer, WritableBuffer
from .version import __version__

__all__ = [
    "Buffer",
    "CallError",
    "ClosedError",
    "ContractBrokenError",
    "CreateError",
    "DefinitionError",
    "HardpointError",
    "HardpointWarning",
    "IncompatibleError",
    "Info",
    "LoadError",
    "NotAPluginError",
    "PluginError",
    "PluginNotFoundError",
    "Problem",
    "StaleError",
    "WritableBuffer",
    "__version__",
    "close",
    "contract",
    "info",
    "load",
    "loaded",
    "quick",
    "since",
]
