"""Show everything about a library that can be read without running it.

Use `hardpoint check` to see whether it fits. The exit status is 4 for a file that is not a library.

examples:
  hardpoint inspect build/plugins/english.so
  hardpoint inspect english.so --json
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..elf.constants import DT_RPATH, DT_RUNPATH, DT_SONAME, MACHINES, STT_FUNC, STT_OBJECT
from ..elf.reader import ElfError
from ..errors import NotAPluginError, one_line
from ..file import digest, open_library
from ..preflight.checks import read_elf
from ..preflight.manifest import Manifest, read_manifests
from ..preflight.platform import dotted, has_executable_stack, has_static_tls, is_for_musl, oldest_glibc
from .output import print_fact, print_folded, print_json, warn

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from ..elf.reader import ElfFile
    from ..errors import Problem
    from ..file import LibraryFile

_TYPES = {STT_OBJECT: "object", STT_FUNC: "function"}


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("file", metavar="FILE", help="the library")
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def run(arguments: Namespace) -> int:
    """Show one file."""
    with open_library(arguments.file) as file:
        elf = read_elf(file)
        try:
            facts = _facts(file, elf)
        except ElfError as error:
            raise NotAPluginError(
                f"{file.path} cannot be read: it has {error}; copy or build it again", path=file.path
            ) from error
    if arguments.json:
        print_json(facts)
    else:
        _show(facts)
    return 0


def _facts(file: LibraryFile, elf: ElfFile) -> dict[str, Any]:
    glibc, musl = oldest_glibc(elf), is_for_musl(elf)
    return {
        "file": file.path,
        "size": elf.size,
        "sha256": _digest(file),
        "plugins": [_plugin(manifest) for manifest in read_manifests(elf)],
        "symbols": [
            {"name": symbol.name, "type": _TYPES.get(symbol.type, f"type {symbol.type}"), "size": symbol.size,
             "defined": bool(symbol.section)}
            for symbol in elf.symbols("hardpoint_")
        ],
        "machine": MACHINES.get(elf.machine, f"machine {elf.machine}"),
        "libc": f"musl ({musl})" if musl else "glibc",
        "oldest_glibc": dotted(glibc) if glibc else None,
        "needed": elf.needed,
        "versions": sorted({f"{need.version} of {need.file}" for need in elf.versions_needed()}),
        "soname": elf.text(DT_SONAME),
        "runpath": elf.text(DT_RUNPATH) or elf.text(DT_RPATH),
        "executable_stack": has_executable_stack(elf),
        "static_tls": has_static_tls(elf),
    }  # fmt: skip


def _digest(file: LibraryFile) -> str | None:
    """The digest; None, with the reason on stderr, of a file that is too large to be a library."""
    try:
        return digest(file)
    except NotAPluginError as error:
        warn(str(error))
        return None


def _plugin(manifest: Manifest | Problem) -> dict[str, Any]:
    if not isinstance(manifest, Manifest):
        return {"problem": manifest._asdict()}
    return {
        "plugin": manifest.plugin,
        "release": manifest.release,
        "contract": manifest.contract,
        "version": dotted(manifest.version),
        "abi": dotted(manifest.abi),
        "methods": list(manifest.methods),
    }


def _show(facts: dict[str, Any]) -> None:
    print_folded("", one_line(facts["file"]))
    for plugin in facts["plugins"] or [{}]:
        _show_plugin(plugin)
    print_fact("symbols", *(_symbol(symbol) for symbol in facts["symbols"]))
    print_fact("machine", facts["machine"])
    oldest = facts["oldest_glibc"]
    print_fact("libc", facts["libc"] + (f" {oldest} or newer" if oldest else ""))
    print_fact("needs", *facts["needed"])
    print_fact("versions", *facts["versions"])
    print_fact("soname", *filter(None, [facts["soname"]]))
    print_fact("runpath", *filter(None, [facts["runpath"]]))
    print_fact("flags", *(name.replace("_", " ") for name in ("executable_stack", "static_tls") if facts[name]))
    print_fact("size", f"{facts['size']} bytes")
    print_fact("sha256", *filter(None, [facts["sha256"]]))


def _show_plugin(plugin: dict[str, Any]) -> None:
    if "problem" in plugin:
        problem = plugin["problem"]
        print_fact("plugin", f"malformed manifest: needs {problem['needs']}, found {problem['found']}")
    elif plugin:
        print_fact("plugin", f"{plugin['plugin']} {plugin['release']}")
        print_fact("contract", f"{plugin['contract']} {plugin['version']}, ABI {plugin['abi']}")
        print_fact("methods", *plugin["methods"])
    else:
        print_fact("plugin")


def _symbol(symbol: dict[str, Any]) -> str:
    return f"{symbol['name']} ({symbol['type']}, {symbol['size']} bytes{'' if symbol['defined'] else ', undefined'})"
