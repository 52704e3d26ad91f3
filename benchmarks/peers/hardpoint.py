"""hardpoint's three bindings. A library has one binding in a process, so each gets a copy of the file."""

from __future__ import annotations

import shutil
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import hardpoint
from benchmarks.peer import Greets, Peer, Sampler
from benchmarks.workshop import MissingError
from hardpoint.contracts import Greeter
from hardpoint.definition.decorators import contract_of

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.workshop import Workshop


def load(library: Path, contract: Any, binding: str, folder: Path) -> Any:
    """Load a plugin through this binding; MissingError if the binding is not available."""
    copy = folder / f"{library.stem}-{binding}.so"
    if not copy.exists() or copy.read_bytes() != library.read_bytes():
        shutil.copy(library, copy.with_suffix(".new"))
        copy.with_suffix(".new").rename(copy)
    try:
        return hardpoint.load(copy, contract, binding=cast("Any", binding))
    except (ValueError, ImportError, hardpoint.HardpointError) as error:
        raise MissingError(str(error)) from error


def build(binding: str, workshop: Workshop) -> str:
    """Return the version if the binding works; nothing is built."""
    load(workshop.greeter, Greeter, binding, workshop.folder)
    return hardpoint.__version__


def open_(binding: str, workshop: Workshop) -> Greets:
    """Load the greeter."""
    return cast("Greets", load(workshop.greeter, Greeter, binding, workshop.folder))


def open_isolated(workshop: Workshop) -> Greets:
    """Load the greeter in a worker."""
    return cast("Greets", hardpoint.load(workshop.greeter, Greeter, isolated=True))


def open_floor(workshop: Workshop) -> dict[str, Sampler]:
    """Loops in C over the greeter's vtable."""
    from hardpoint.benchmark.floor import Floor

    plugin, (greet, lang) = open_("native", workshop), contract_of(Greeter).methods
    return {"greet": Floor(plugin, greet, ("World",)), "lang": Floor(plugin, lang, ())}


PEERS = {
    f"hardpoint_{binding}": Peer(
        f"hardpoint, {binding} binding",
        "checks the file before it runs, and on each call the instance, status, length and text; keywords; any "
        "contract",
        partial(build, binding),
        partial(open_, binding),
    )
    for binding in ("native", "cffi", "ctypes")
}
PEERS["hardpoint_isolated"] = Peer(
    "hardpoint, isolated",
    "the same in a process of its own, sandboxed: a crash leaves the host alive, as with hashicorp/go-plugin",
    partial(build, "native"),
    open_isolated,
)
PEERS["floor"] = Peer(
    "C loop over the vtable (the floor)",
    "no Python in the loop: the argument is converted once, and no result is made",
    partial(build, "native"),
    open_floor,
)
