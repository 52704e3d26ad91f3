"""How a plugin object travels, by pickle or copy: as the arguments of load and the digest of the file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .binding.methods import PluginObject
from .errors import StaleError
from .file import check_digest, open_library
from .inprocess.plugin import check_binding
from .loading import load_file

if TYPE_CHECKING:
    from .backend import Request


def reopen(request: Request, sha256: str) -> Any:
    """Load the plugin again where it is unpickled: the same file, checked again, with a new instance.

    Raises what load raises, and IncompatibleError if the file has other bytes than the one that was pickled.
    """
    check_binding(request.path, request.binding)
    file = open_library(request.path)
    if request.sha256 is None:
        try:
            check_digest(file, sha256)
        except BaseException:
            os.close(file.fd)
            raise
    return load_file(file, request)


def _reduce(plugin: PluginObject, _: object) -> tuple[Any, ...]:
    """Reduce to a call of `reopen` (object.__reduce_ex__). Raises ClosedError, and StaleError if the file is gone."""
    instance = plugin._instance  # noqa: SLF001 - the one slot of every plugin object
    instance.check_open()
    backend = instance.backend
    sha256 = backend.sha256()
    if sha256 is None:
        path = backend.plugin.path
        raise StaleError(
            f"{path} cannot be sent elsewhere: the file that was loaded is no longer there; put it back, or "
            "load the new one in a new process",
            path=path,
        )
    return reopen, (backend.request, sha256)


PluginObject.__reduce_ex__ = _reduce  # type: ignore[assignment,method-assign]  # loading stands above the bindings
