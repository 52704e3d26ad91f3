"""Mutations of a source file: one small fault each, of a kind that people make. tests/mutate.py runs them."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


class Mutation(NamedTuple):
    """A replacement of one part of a file; positions count bytes."""

    path: str
    kind: str
    start: int
    end: int
    text: str

    def apply(self, source: bytes) -> bytes:
        """Return the file with the fault in it."""
        return source[: self.start] + self.text.encode() + source[self.end :]

    def lines(self, source: bytes) -> tuple[int, str, str]:
        """Return the number of the first line that changes, and the lines before and after, on one line each."""
        first = source.rfind(b"\n", 0, self.start) + 1
        last = source.find(b"\n", self.end)
        changed = source[first : self.start] + self.text.encode() + source[self.end : last]
        number = source.count(b"\n", 0, self.start) + 1
        return number, _one_line(source[first:last]), _one_line(changed)


def _one_line(code: bytes) -> str:
    return " ".join(code.decode().split())


def mutations(path: str, source: bytes) -> list[Mutation]:
    """Return every mutation of a Python or C file."""
    return list(_of_c(path, source) if path.endswith((".c", ".h")) else _Python(path, source).find())


# -- Python ------------------------------------------------------------------------------------------------------------

_SWAPPED: dict[type[ast.AST], tuple[str, str]] = {
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"), ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="), ast.Is: ("is", "is not"), ast.IsNot: ("is not", "is"), ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"), ast.And: ("and", "or"), ast.Or: ("or", "and"), ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"), ast.Mult: ("*", "+"), ast.FloorDiv: ("//", "*"), ast.BitAnd: ("&", "|"),
    ast.LShift: ("<<", ">>"), ast.RShift: (">>", "<<"),
}  # fmt: skip
_SKIPPED = (ast.JoinedStr, ast.Raise, ast.Import, ast.ImportFrom, ast.Assert)
"""Texts, messages and imports; Python 3.11 does not know the places of the parts of an f-string."""
_TYPED = {"isinstance", "issubclass", "getattr", "setattr", "hasattr", "zip"}
"""Functions whose first two arguments nobody could confuse."""


class _Python:
    def __init__(self, path: str, source: bytes) -> None:
        self.path = path
        self.source = source
        self.starts = [0]
        for line in source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))
        self.tree = ast.parse(source)
        names = (node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name))
        self.unpacked = {id(node.value) for node in ast.walk(self.tree)
                         if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple)}  # fmt: skip
        self.unpacked |= {id(node) for node in ast.walk(self.tree) if isinstance(getattr(node, "ctx", None), ast.Store)}
        self.constants = sorted(
            {name for name in names if name.isupper() and len(name.strip("_")) > 1} - {"TYPE_CHECKING"}
        )

    def find(self) -> Iterator[Mutation]:
        yield from self._walk(self.tree)

    def _walk(self, node: ast.AST) -> Iterator[Mutation]:
        if isinstance(node, _SKIPPED):
            return
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        yield from self._mutate(node)
        for name, value in ast.iter_fields(node):
            if name in {"annotation", "returns", "type_comment", "decorator_list"}:
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from self._walk(child)

    def _mutate(self, node: ast.AST) -> Iterator[Mutation]:
        match node:
            case ast.Compare(ops=[operator], comparators=[right]):
                yield from self._swap("comparison", operator, node.left, right)
            case ast.BoolOp():
                yield from self._swap("and-or", node.op, *node.values[:2])
            case ast.BinOp(op=ast.BitOr()):
                yield self._replace("flag", node, self._text(node.left))
                yield self._replace("flag", node, self._text(node.right))
            case ast.BinOp():
                yield from self._swap("arithmetic", node.op, node.left, node.right)
            case ast.UnaryOp(op=ast.Not()):
                yield self._replace("not", node, self._text(node.operand))
            case ast.stmt():
                yield from self._statement(node)
            case _:
                yield from self._value(node)

    def _value(self, node: ast.AST) -> Iterator[Mutation]:
        match node:
            case ast.Constant(value=bool() as value):
                yield self._replace("boolean", node, str(not value))
            case ast.Constant(value=int() | float() as value):
                yield self._replace("number", node, f"({self._text(node)} + 1)")
                if value > 1:
                    yield self._replace("number", node, f"({self._text(node)} - 1)")
            case ast.Name(ctx=ast.Load()) if node.id in self.constants[:-1]:
                yield self._replace("constant", node, self.constants[self.constants.index(node.id) + 1])
            case ast.Set(elts=[_, *_]) | ast.List(elts=[_, *_]) | ast.Tuple(elts=[_, _, *_]) if (
                id(node) not in self.unpacked
            ):
                for first, second in zip(node.elts, node.elts[1:], strict=False):
                    yield Mutation(self.path, "element", self._start(first), self._start(second), "")
            case ast.Call(func=function, args=[first, second, *_]) if not (
                {type(first), type(second)} & {ast.Starred, ast.Constant}
                or (isinstance(function, ast.Name) and function.id in _TYPED)
            ):
                middle = self.source[self._end(first) : self._start(second)].decode()
                swapped = self._text(second) + middle + self._text(first)
                yield Mutation(self.path, "arguments", self._start(first), self._end(second), swapped)
            case ast.IfExp():
                yield self._replace("check", node.test, "False")
                yield self._replace("check", node.test, "True")

    def _statement(self, node: ast.stmt) -> Iterator[Mutation]:
        match node:
            case ast.If() | ast.While():
                yield self._replace("check", node.test, "False")
                if isinstance(node, ast.If):
                    yield self._replace("check", node.test, "True")
            case ast.Expr(value=ast.Call()):
                yield self._replace("call", node, "pass")
            case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]) | ast.AugAssign() | ast.Delete():
                yield self._replace("assignment", node, "pass")
            case ast.With(items=[ast.withitem(context_expr=(ast.Name() | ast.Attribute()) as lock), *_]):
                yield self._replace("lock", lock, '__import__("contextlib").nullcontext()')
            case ast.Try(finalbody=[first, *_]):
                yield self._between("finally", first, node.finalbody[-1], "pass")
            case ast.FunctionDef(body=[_, second, *_]):
                if not any(isinstance(each, (ast.Return, ast.Yield)) for each in ast.walk(node)):
                    yield self._replace("early return", second, "return")
                elif not isinstance(second, ast.Return) and not isinstance(second, ast.FunctionDef):
                    yield self._replace("early return", second, "return None")

    def _swap(self, kind: str, operator: ast.AST, left: ast.AST, right: ast.AST) -> Iterator[Mutation]:
        if type(operator) not in _SWAPPED:
            return
        before, after = _SWAPPED[type(operator)]
        start = self._end(left)
        middle = self.source[start : self._start(right)].decode()
        if found := re.search(re.escape(before) if not before.isalpha() else rf"\b{before}\b", middle):
            yield Mutation(self.path, kind, start + found.start(), start + found.end(), after)

    def _replace(self, kind: str, node: ast.AST, text: str) -> Mutation:
        return self._between(kind, node, node, text)

    def _between(self, kind: str, first: ast.AST, last: ast.AST, text: str) -> Mutation:
        return Mutation(self.path, kind, self._start(first), self._end(last), text)

    def _start(self, node: ast.AST) -> int:
        place: Any = node
        return int(self.starts[place.lineno - 1] + place.col_offset)

    def _end(self, node: ast.AST) -> int:
        place: Any = node
        return int(self.starts[place.end_lineno - 1] + place.end_col_offset)

    def _text(self, node: ast.AST) -> str:
        return f"({self.source[self._start(node) : self._end(node)].decode()})"


# -- C -----------------------------------------------------------------------------------------------------------------

_C_RULES: tuple[tuple[str, str, str], ...] = (
    ("comparison", r" < ", " <= "), ("comparison", r" <= ", " < "), ("comparison", r" > ", " >= "),
    ("comparison", r" >= ", " > "), ("comparison", r" == ", " != "), ("comparison", r" != ", " == "),
    ("and-or", r" && ", " || "), ("and-or", r" \|\| ", " && "), ("flag", r" \| \w+", ""),
    ("arithmetic", r" \+ ", " - "), ("arithmetic", r" - ", " + "), ("arithmetic", r" \* (?=\w)", " + "),
    ("not", r"!(?=[\w(])", ""), ("boolean", r"\btrue\b", "false"), ("boolean", r"\bfalse\b", "true"),
    ("boolean", r"\bPy_True\b", "Py_False"), ("boolean", r"\bPy_False\b", "Py_True"),
    ("number", r"(?<![\w.\"'])(0x[0-9a-fA-F]+|\d+)u?(?![\w.])", r"(\g<0> + 1)"),
    ("reference", r"\bPy_NewRef\((?=\w+\))", "("), ("call", r"(?<=    )(?!return\b|Py_(BEGIN|END|RETURN)_)\w+\([^;{}]*\);", ";"),
    ("assignment", r"(?<=    )[\w>\-.*\[\]]+ = [^;{}]+;", ";"), ("check", r"(?<=\bif )\((?=[^\n]*\) \{)", "(0 && "),
    ("early return", r"\breturn (?!NULL\b|0;)[^;]+;", "return 0;"), ("increment", r"(?<=    )[\w.>-]+(?:\+\+|--);", ";"),
    ("lock", r"Py_BEGIN_ALLOW_THREADS(?:.|\n)*?Py_END_ALLOW_THREADS", ""),
)  # fmt: skip
_NOT_CODE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|^#(?:[^\n]*\\\n)*[^\n]*', re.DOTALL | re.MULTILINE)


def _of_c(path: str, source: bytes) -> Iterator[Mutation]:
    """Find mutations by patterns, outside of comments, texts and directives; the code is as clang-format writes it."""
    code = source.decode("latin-1")  # a character a byte
    masked = _NOT_CODE.sub(lambda found: re.sub(r"[^\n]", "\0", found[0]), code)
    for kind, pattern, text in _C_RULES:
        for found in re.finditer(pattern, masked):
            after = found.expand(text)
            if kind == "lock":  # what stands between the two macros
                after = code[found.start() : found.end()].removeprefix("Py_BEGIN_ALLOW_THREADS")
                after = after.removesuffix("Py_END_ALLOW_THREADS")
            yield Mutation(path, kind, found.start(), found.end(), after)
