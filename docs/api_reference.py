"""The API as Markdown, from the source of its functions and classes: signatures, attributes and docstrings."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prose import escaped, fenced, item, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator

    Function = ast.FunctionDef | ast.AsyncFunctionDef

PAGE = Path(__file__).parent / "api.md"
_CONSTRUCTED = {"Allow", "Registry"}
"""Classes with constructors for users. One with fields is made of these; all others are made by hardpoint alone."""
_PUBLIC_MODULES = ("conformance", "contracts")
_NAME = re.compile(r"\b(?:hardpoint\.)?([A-Z]\w+(?:Error|Warning))\b|\bhardpoint\.([a-z]\w+)\b")


def render(*names: str) -> str:
    """Render these names of hardpoint, in order. Of `NAME:MEMBER,MEMBER`, these members alone."""
    return "\n\n".join(part for each in names for part in _entry(*each.split(":")))


@cache
def names() -> frozenset[str]:
    """Return every name that has a heading on the page."""
    parts = re.findall(r"^<!-- generated: api ([^<>]*) -->$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return frozenset(_heading(each.partition(":")[0]) for part in parts for each in part.split())


def _heading(name: str) -> str:
    return name if name.startswith(_PUBLIC_MODULES) else name.rpartition(".")[2]


def _entry(name: str, members: str = "") -> Iterator[str]:
    module, _, last = f"hardpoint.{name}".rpartition(".")
    value = getattr(import_module(module), last)
    heading = _heading(name)
    yield f"### {heading}"
    source, definition = _source(value)
    if isinstance(definition, ast.ClassDef):
        yield from _class(name, heading, value, source, definition, members.split(",") if members else [])
    else:
        yield fenced(f"hardpoint.{name}{_signature(source, definition)}", "python")
        yield wrapped(_linked(inspect.getdoc(value), {heading, *_parameters(definition)}))


def _source(value: Any) -> tuple[str, ast.ClassDef | Function]:
    """Return the source of a class or function and its syntax tree; an empty class if __module__ names another file."""
    try:
        source = textwrap.dedent(inspect.getsource(inspect.unwrap(value)))
        [definition] = ast.parse(source).body
    except (OSError, SyntaxError, ValueError):  # from Python 3.13 on, lines of the other file
        source = f"class {value.__name__}: ..."
        [definition] = ast.parse(source).body
    assert isinstance(definition, (ast.ClassDef, ast.FunctionDef))  # noqa: S101 - the API has nothing else
    return source, definition


def _class(
    name: str, heading: str, value: type, source: str, definition: ast.ClassDef, chosen: list[str]
) -> Iterator[str]:
    functions = [node for node in definition.body if isinstance(node, ast.FunctionDef)]
    constructor = [node for node in functions if node.name == "__init__" and name in _CONSTRUCTED]
    after = _signature(source, constructor[0]) if constructor else _bases(value)
    yield fenced(f"class hardpoint.{name}{after}", "python")
    yield wrapped(_linked(inspect.getdoc(value), {heading}))
    attributes = [(each, doc) for each, doc in _attributes(source, definition) if _is_shown(each, chosen)]
    if attributes:
        yield "\n".join(_item(each, doc, heading) for each, doc in attributes)
    for node in functions:
        if _is_shown(node.name, chosen) and not _is_property(node) and ast.get_docstring(node):
            yield f"#### {heading}.{node.name}"
            yield fenced(node.name + _signature(source, node), "python")
            yield wrapped(_linked(ast.get_docstring(node), {heading, *_parameters(node)}))


def _item(attribute: str, doc: str | None, heading: str) -> str:
    return item(f"`{attribute}`", _linked(doc, {heading})) if doc else f"- `{attribute}`"


def _is_shown(name: str, chosen: list[str]) -> bool:
    word = re.split(r"\W", name)[0]
    return not word.startswith("_") and (not chosen or word in chosen)


def _is_property(node: Function) -> bool:
    return any(isinstance(each, ast.Name) and each.id == "property" for each in node.decorator_list)


def _bases(value: type) -> str:
    """Render a class's public bases; those of a private one in its place."""
    found: list[str] = []
    for base in value.__bases__:
        if base.__name__.startswith("_"):
            found += filter(None, _bases(base).strip("()").split(", "))
        elif base not in {object, tuple} and base.__module__ not in {"typing", "hardpoint.fields"}:
            found.append(base.__name__)
    return f"({', '.join(found)})" if found else ""


def _signature(source: str, node: ast.ClassDef | Function) -> str:
    """Cut a function's parameters and result out of its source, without `self` and comments."""
    lines = source.splitlines()[node.lineno - 1 : node.body[0].lineno - 1]
    text = textwrap.dedent("\n".join(re.sub(r" +#.*", "", line) for line in lines)).removesuffix(":")
    text = re.sub(r"^[^(]*\(", "(", text, count=1)
    text = re.sub(r"\((\s*)(?:self|cls)(?:,\s*|(?=\)))", r"(\1", text, count=1)
    return text.removesuffix(" -> None") if isinstance(node, ast.FunctionDef) and node.name == "__init__" else text


def _attributes(source: str, definition: ast.ClassDef) -> Iterator[tuple[str, str | None]]:
    """Yield fields, attributes that __init__ documents, and properties: `name: type = default`, docstring."""
    for node, after in _with_next(definition.body):
        if isinstance(node, ast.AnnAssign):
            yield _one_line(ast.get_source_segment(source, node)), _text(after)
        elif isinstance(node, ast.FunctionDef) and node.name == "__init__":
            for statement, text in _with_next(node.body):
                target = (
                    statement.targets[0] if isinstance(statement, ast.Assign) else getattr(statement, "target", None)
                )
                if isinstance(target, ast.Attribute) and _text(text):
                    annotation = getattr(statement, "annotation", None)
                    yield (
                        target.attr + (f": {ast.get_source_segment(source, annotation)}" if annotation else ""),
                        _text(text),
                    )
        elif isinstance(node, ast.FunctionDef) and _is_property(node):
            result = ast.get_source_segment(source, node.returns) if node.returns else ""
            yield f"{node.name}: {result}", ast.get_docstring(node)


def _with_next(body: list[ast.stmt]) -> Iterator[tuple[ast.stmt, ast.stmt | None]]:
    return zip(body, [*body[1:], None], strict=True)


def _text(node: ast.stmt | None) -> str | None:
    """Return the text of a statement that is a string: an attribute's docstring stands behind it."""
    match node:
        case ast.Expr(ast.Constant(str(text))):
            return inspect.cleandoc(text)
    return None


def _one_line(text: str | None) -> str:
    return re.sub(r"\s+", " ", text or "")


def _parameters(node: Function) -> set[str]:
    return {each.arg for each in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]}


def _linked(doc: str | None, own: set[str]) -> str:
    """Escape a docstring, with names of the API as links to their headings, but for its own."""
    linked = names() - own
    parts = escaped(doc or "").split("`")
    for index, part in enumerate(parts):
        if index % 2:
            target = part.removeprefix("hardpoint.")
            parts[index] = f"[`{part}`]({_anchor(target)})" if target in linked else f"`{part}`"
        else:
            parts[index] = _NAME.sub(lambda match: _link(match, linked), part)
    return "".join(parts)


def _link(match: re.Match[str], linked: frozenset[str]) -> str:
    target = match[1] or match[2]
    return f"[{match[0]}]({_anchor(target)})" if target in linked else match[0]


def _anchor(heading: str) -> str:
    return f"#{heading.lower().replace('.', '')}"
