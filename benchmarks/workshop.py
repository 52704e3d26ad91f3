"""The compilers that build peers, and the folder for their output."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import NamedTuple

PEERS = Path(__file__).parent / "peers"
CONTRACT = Path(__file__).parent.parent / "contract"
FLAGS = ("-O3", "-DNDEBUG", "-fPIC", "-fvisibility=hidden", "-shared", f"-I{CONTRACT}", f"-I{PEERS}")


class MissingError(Exception):
    """A peer cannot be built or run here; the message names the missing part and how to install it."""


class Workshop(NamedTuple):
    """The folder in which peers are built, and the plugins that they call."""

    folder: Path
    greeter: Path
    """english.so."""
    transformer: Path
    """uppercase.so."""

    def extension(self, source: Path, *flags: str) -> None:
        """Compile an extension module for this Python, named as its source."""
        include = Path(sysconfig.get_path("include"))
        if not (include / "Python.h").exists():
            raise MissingError(f"Python.h is missing in {include}: apt-get install python3-dev, or your Python's own")
        target = self.folder / f"{source.stem}{sysconfig.get_config_var('EXT_SUFFIX')}"
        self.make(target, [*compiler(source), *FLAGS, f"-I{include}", source, *flags, "-o", target])

    def make(self, target: Path, words: list[str | Path], env: dict[str, str] | None = None) -> None:
        """Run a compiler, unless the same words made `target` after its sources, the Paths among them, last changed."""
        sources = [word for word in words if isinstance(word, Path) and word != target]
        newest = max(path.stat().st_mtime for path in [*sources, *PEERS.glob("vtable.*"), *CONTRACT.glob("*.h")])
        command = target.with_name(f"{target.name}.command")
        text = shlex.join(map(str, words))
        if target.exists() and command.exists() and command.read_text() == text and target.stat().st_mtime > newest:
            return
        try:
            done = subprocess.run(
                [str(word) for word in words],
                env={**os.environ, **(env or {})},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
        except OSError as error:
            raise MissingError(f"{words[0]} cannot be run: {error}") from error
        if done.returncode:
            raise MissingError(f"{shlex.join(map(str, words[:3]))} ... failed: {done.stdout.strip()[-1000:]}")
        command.write_text(text)


def compiler(source: Path) -> list[str]:
    """The command of CC or CXX, or else of the first compiler found, for a file with this suffix."""
    if source.suffix == ".c":
        return _first(os.environ.get("CC"), "cc", "gcc", "clang", hint="a C compiler is missing: apt-get install gcc")
    hint = "a C++ compiler is missing: apt-get install g++"
    return [*_first(os.environ.get("CXX"), "c++", "g++", "clang++", hint=hint), "-std=c++17"]


def _first(named: str | None, *candidates: str, hint: str) -> list[str]:
    if named:
        return shlex.split(named)
    for candidate in candidates:
        if shutil.which(candidate):
            return [candidate]
    raise MissingError(hint)
