"""Execute the code blocks of a page: write files, compile C, run commands and compare their output.

The language of a block and the words after it select the action:

    file=NAME       written to that file; C with a plugin's macro is written to a file with the plugin's name by default
    from=FILE       compared with that file of the project, which has to contain it
    by=FILE         executed by that file of the project, which contains each line or reads the block: it names the page
    c               compiled, if it is not written to a file
    console         bash runs each command after a $, and the output is compared; ... stands for any text; cd persists
    pycon           a Python session, as a doctest; all of a page's blocks are one session
    python          run, if it is not written to a file
    json, toml      parsed
"""

from __future__ import annotations

import doctest
import json
import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from conftest import Compiler

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(
    r"^(?P<fence>`{3,})(?P<language>\w+)(?P<rest>[^\n`]*)\n(?P<text>.*?)^(?P=fence)$", re.MULTILINE | re.DOTALL
)
_GENERATED = re.compile(r"^<!-- generated: .*?^<!-- end -->$", re.MULTILINE | re.DOTALL)
_OPTIONS = doctest.REPORT_NDIFF | doctest.ELLIPSIS


class Block(NamedTuple):
    """One code block of a page."""

    language: str
    text: str
    file: str | None
    """The file to write it to."""
    source: str | None
    """The file of the project that contains it."""
    by: str | None
    """The file of the project that executes it, if `follow` does not."""
    line: int


def blocks(page: str) -> list[Block]:
    """Return the code blocks of a page in order; `page` is a path relative to the project."""
    whole = written(page)
    return [_block(match, whole) for match in _FENCE.finditer(whole)]


def written(page: str) -> str:
    """The text of a page, its generated parts left blank: tests/test_docs.py holds these against the code."""
    return _GENERATED.sub(lambda match: "\n" * match[0].count("\n"), (ROOT / page).read_text())


def _block(match: re.Match[str], whole: str) -> Block:
    said = dict(re.findall(r"(file|from|by)=(\S+)", match["rest"]))
    plugin = re.search(r'_PLUGIN\("(\w+)"', match["text"]) if match["language"] == "c" else None
    file = said.get("file", f"{plugin[1]}.c" if plugin else None)
    line = whole[: match.start()].count("\n") + 1
    return Block(match["language"], match["text"], file, said.get("from"), said.get("by"), line)


def commands(text: str) -> list[tuple[str, str]]:
    """Return each command of a console block with its output."""
    parts = re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]
    return [(command, printed) for command, _, printed in (part.partition("\n") for part in parts)]


def follow(page: str, folder: Path, compiler: Compiler) -> None:
    """Execute all blocks of a page in `folder`, which has to be the working directory."""
    session: dict[str, object] = {}
    here = folder
    for block in blocks(page):
        where = f"{page}:{block.line}"
        if block.by or block.source:
            _look_up(page, block, where)
        elif block.file is not None:
            (folder / block.file).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.file).write_text(block.text)
        elif block.language == "console":
            for command, printed in commands(block.text):
                if command.startswith("cd "):
                    here /= command.removeprefix("cd ")
                else:
                    _run(where, command, printed, here)
        elif block.language == "pycon":
            _converse(where, block.text, session)
        elif block.language == "python":
            exec(compile(block.text, where, "exec"), {"__name__": "page"})
        elif block.language == "c":
            (folder / "block.c").write_text(block.text)
            compiler.run(
                "-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", str(folder / "block.c")
            )
        elif block.language in {"json", "toml"}:
            {"json": json.loads, "toml": tomllib.loads}[block.language](block.text)
        else:
            raise AssertionError(f"{where}: nothing does {block.language}")


def _look_up(page: str, block: Block, where: str) -> None:
    if block.by is not None:
        lines, doer = block.text.splitlines(), (ROOT / block.by).read_text()
        assert page in doer or set(lines) <= set(doer.splitlines()), f"{where}: {block.by} does not do this"
    if block.source is not None:
        assert block.text in (ROOT / block.source).read_text(), f"{where}: {block.source} has other words"


def _run(where: str, command: str, printed: str, folder: Path) -> None:
    own = command.startswith("./build.sh")  # it reports its progress on stderr
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT if own else folder, capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    found = done.stdout if own else done.stdout + done.stderr
    if not _agrees(found, printed):
        raise AssertionError(f"{where}: {command}\nprints\n{found}\nand not\n{printed}")


def _agrees(found: str, printed: str) -> bool:
    """True if the output matches, with any text for `...`; a regular expression took 15 s for a dump full of dots."""
    first, *others = printed.split("...")
    if not others:
        return found == printed
    *middle, last = others
    place = len(first)
    for part in middle:
        place = found.find(part, place)
        if place < 0:
            return False
        place += len(part)
    return found.startswith(first) and found.endswith(last) and place + len(last) <= len(found)


def _converse(where: str, text: str, session: dict[str, object]) -> None:
    test = doctest.DocTestParser().get_doctest(text, session, where, None, None)
    report: list[str] = []
    doctest.DocTestRunner(optionflags=_OPTIONS).run(test, out=report.append, clear_globs=False)
    session.update(test.globs)
    assert not report, "".join(report)
