"""The codes of all problems: found in the source, and described in problems.toml, which may lack none and have none too many.

Nothing of hardpoint is run for it: the source is read as a syntax tree. What a problem needs, found and says to do stands
there as literals and f-strings, and the examples of problems.toml have to be what these can make.
"""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

DOCS = Path(__file__).parent
SOURCE = DOCS.parent / "src/hardpoint"
ANYTHING = ".+"


class Group(NamedTuple):
    """Problems that belong together."""

    title: str
    about: str
    codes: dict[str, dict[str, Any]]
    """Of each: its cause, an example (needs, found, do), what else helps (more), and whether it is a warning."""


class Made(NamedTuple):
    """One place in the source where a problem is made; all of it as patterns."""

    where: str
    code: str
    words: tuple[str, ...]
    """What is needed, what was found, what to do."""


def described() -> list[Group]:
    """What problems.toml says."""
    return [Group(**group) for group in tomllib.loads((DOCS / "problems.toml").read_text())["group"]]


def made() -> list[Made]:
    """Every place where the source makes a problem."""
    trees = {path: ast.parse(path.read_text()) for path in sorted(SOURCE.rglob("*.py"))}
    constants = {name: value for tree in trees.values() for name, value in _assigned(tree).items()}
    of_elf = {code: tuple(map(re.escape, words)) for code, words in ast.literal_eval(constants["_ELF"][0]).items()}
    makers, found = {"Problem", "ElfError"}, list[Made]()
    for tree in trees.values():  # functions that pass a code on: who calls them names it
        makers |= {function.name for call, function in _calls(tree, {"Problem"}) if function and _is_passed_on(call)}
    for path, tree in trees.items():
        for call, function in _calls(tree, makers):
            if not _is_passed_on(call):
                where = f"{path.relative_to(SOURCE)}:{call.lineno}"
                known = constants | (_assigned(function) if function else {})
                code, *words = (_pattern(argument, known) for argument in call.args[:4])
                if _name(call) == "ElfError":  # raised with what was found; preflight.py has the rest
                    needs, fix = of_elf[_plain(code)]
                    words = [needs, *words, fix]
                found.append(Made(where, code, tuple(words)))
    return found


def _name(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _is_passed_on(call: ast.Call) -> bool:
    """Whether the code is a parameter, or that of an ElfError."""
    return isinstance(call.args[0], (ast.Name, ast.Attribute))


def _calls(
    tree: ast.AST, names: set[str], function: ast.FunctionDef | None = None
) -> list[tuple[ast.Call, ast.FunctionDef | None]]:
    """The calls of these functions, each with the function that it stands in."""
    calls: list[tuple[ast.Call, ast.FunctionDef | None]] = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Call) and _name(node) in names and node.args:
            calls.append((node, function))
        calls += _calls(node, names, node if isinstance(node, ast.FunctionDef) else function)
    return calls


def _assigned(tree: ast.Module | ast.FunctionDef) -> dict[str, list[ast.expr]]:
    """What is assigned to each name: in a function anywhere, in a module at its top."""
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree) if isinstance(tree, ast.FunctionDef) else tree.body:
        if isinstance(node, ast.Assign):
            target, value = node.targets[0], node.value
            several = isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
            for name, each in zip(target.elts, value.elts, strict=True) if several else [(target, value)]:  # type: ignore[attr-defined]
                if isinstance(name, ast.Name):
                    found.setdefault(name.id, []).append(each)
    return found


def _pattern(value: ast.expr, known: dict[str, list[ast.expr]]) -> str:
    """What an expression can be as a text; ANYTHING where the source does not say."""
    match value:
        case ast.Constant(str(text)):
            return re.escape(text)
        case ast.JoinedStr(parts):
            return "".join(_pattern(part, known) for part in parts)
        case ast.IfExp(body=one, orelse=other):
            return f"(?:{_pattern(one, known)}|{_pattern(other, known)})"
        case ast.Name(name) if name in known:
            return f"(?:{'|'.join(_pattern(each, known) for each in known[name])})"
    return ANYTHING


def _plain(pattern: str) -> str:
    """The text that re.escape made a pattern of."""
    return re.sub(r"\\(.)", r"\1", pattern)


def faults() -> list[str]:
    """What is wrong with problems.toml: codes that it lacks, ones that no source has, examples that no source can make."""
    there, groups = made(), described()
    examples = {code: entry for group in groups for code, entry in group.codes.items()}
    wrong = [
        f"{each.where}: {_plain(each.code)} is not in docs/problems.toml"
        for each in there
        if _plain(each.code) not in examples  # nor is a code that is put together: nobody could look for it
    ]
    for code, entry in examples.items():
        places = [each for each in there if _plain(each.code) == code]
        words = [entry[key] for key in ("needs", "found", "do")]
        if not places:
            wrong.append(f"docs/problems.toml: {code} is in no source")
        elif not any(all(map(re.fullmatch, each.words, words)) for each in places):
            wrong.append(f"docs/problems.toml: {code} has an example that is not what the source says")
    return wrong


def render() -> str:
    """All of it in Markdown. ValueError if there are faults."""
    if wrong := faults():
        raise ValueError("; ".join(wrong))
    return "\n\n".join(_group(group) for group in described())


def _group(group: Group) -> str:
    return "\n\n".join(
        [f"### {group.title}", group.about, *(_code(name, entry) for name, entry in group.codes.items())]
    )


def _code(name: str, entry: dict[str, Any]) -> str:
    warning = " This is a warning: the file is loaded all the same." if entry.get("warning") else ""
    example = "\n".join(f"{word:<6} {entry[word]}" for word in ("needs", "found", "do"))
    parts = [
        f"#### {name}",
        f"{entry['cause']}{warning}",
        f"{{.wrapped}}\n```text\n{example}\n```",
        entry.get("more", ""),
    ]
    return "\n\n".join(part for part in parts if part)
