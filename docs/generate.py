"""Write the generated parts of the pages: `python docs/generate.py`. tests/test_docs.py holds them against the code.

A generated part stands between `<!-- generated: NAME WORDS -->` and `<!-- end -->`: the function of that name in
`WRITERS` is called with the words, and returns Markdown.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import api_reference
import problems
from prose import escaped, fenced, item, wrapped

from hardpoint import cli, errors
from hardpoint.cli.commands import COMMANDS

if TYPE_CHECKING:
    from argparse import Action, ArgumentParser
    from collections.abc import Callable

DOCS = Path(__file__).parent
PAGES = ("api.md", "command-line.md", "errors.md")
PART = re.compile(r"^(<!-- generated: (\w+)([^<>]*) -->)\n.*?^<!-- end -->$", re.MULTILINE | re.DOTALL)


# -- the commands ------------------------------------------------------------------------------------------------------


def commands() -> str:
    """Render each command's help. argparse's own layout differs between versions of Python."""
    parser = cli._parser()  # noqa: SLF001 - the one that main uses
    [choices] = [action.choices for action in parser._actions if isinstance(action.choices, dict)]  # noqa: SLF001
    listed = "\n".join(item(f"[`{each.name}`](#hardpoint-{each.name})", escaped(each.help)) for each in COMMANDS)
    parts = [_usage("hardpoint COMMAND ..."), parser.description or "", listed, _help_text(parser.epilog or "")]
    for name, command in choices.items():
        parts += [f"## hardpoint {name}", _command(name, command)]
    return "\n\n".join(parts)


def _command(name: str, parser: ArgumentParser) -> str:
    actions = [action for action in parser._actions if action.dest != "help"]  # noqa: SLF001
    words = " ".join(_usage_of(action) for action in actions if not action.option_strings)
    usage = (parser.usage or f"hardpoint {name} [options] {words}") % {"prog": f"hardpoint {name}"}
    listed = "\n".join(item(_spelling(action), escaped(action.help or "")) for action in actions)
    before, _, examples = (parser.epilog or "").rpartition("examples:\n")
    parts = [_usage(usage), _help_text(parser.description or ""), _help_text(before), listed, fenced(_dedent(examples))]
    return "\n\n".join(part for part in parts if part)


def _usage(text: str) -> str:
    return fenced(text.rstrip())


def _usage_of(action: Action) -> str:
    name = str(action.metavar or action.dest)
    return {"*": f"[{name} ...]", "+": f"{name} ...", "?": f"[{name}]"}.get(str(action.nargs), name)


def _spelling(action: Action) -> str:
    """An argument as it is written: `-o FILE`, `--output FILE`."""
    value = "" if action.nargs == 0 else f" {action.metavar or '{' + ','.join(action.choices or ()) + '}'}"
    return ", ".join(f"`{option}{value}`" for option in action.option_strings) or f"`{action.metavar or action.dest}`"


def _help_text(text: str) -> str:
    """Render the paragraphs of a help text: columns as they are, prose as prose."""
    parts = [part for part in text.strip().split("\n\n") if part]
    return "\n\n".join(_columns(part) if "\n  " in part else wrapped(escaped(part)) for part in parts)


def _columns(part: str) -> str:
    title, _, lines = part.partition("\n")
    return f"{title[0].upper()}{title[1:]}\n\n{fenced(_dedent(lines))}"


def _dedent(text: str) -> str:
    return "\n".join(line.removeprefix("  ") for line in text.splitlines())


# -- the errors --------------------------------------------------------------------------------------------------------


def tree() -> str:
    """Render the tree of exceptions, as errors.py draws it."""
    drawn = (errors.__doc__ or "").split("\n\n")[1]
    return fenced("\n".join(line[4:] for line in drawn.splitlines()))


# -- the pages ---------------------------------------------------------------------------------------------------------

WRITERS: dict[str, Callable[..., str]] = {
    "api": api_reference.render,
    "commands": commands,
    "problems": problems.render,
    "tree": tree,
}


def generated(page: str) -> str:
    """Return a page with its generated parts made again."""
    return PART.sub(_part, (DOCS / page).read_text(encoding="utf-8"))


def _part(match: re.Match[str]) -> str:
    return f"{match[1]}\n\n{WRITERS[match[2]](*match[3].split())}\n\n<!-- end -->"


if __name__ == "__main__":
    for name in PAGES:
        (DOCS / name).write_text(generated(name), encoding="utf-8")
