"""Fields behave like a NamedTuple: each class is compared with a NamedTuple of the same fields."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import hardpoint
from hardpoint import Isolation
from hardpoint.fields import Fields
from hardpoint.file import Identity

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import RunPython


class Point(Fields):
    """Fields with a default, a property and a method."""

    x: int
    y: int = 7

    @property
    def total(self) -> int:
        """Both together."""
        return self.x + self.y

    def __str__(self) -> str:
        return f"{self.x}|{self.y}"


class Model(NamedTuple):
    x: int
    y: int = 7

    @property
    def total(self) -> int:
        return self.x + self.y

    def __str__(self) -> str:
        return f"{self.x}|{self.y}"


def spread(point: Any) -> list[int]:
    x, y = point
    return [x, y]


def match(point: Any) -> list[int]:
    match point:
        case Point(x, y) | Model(x, y):
            return [x, y]
    return []


ASKED: dict[str, Callable[[Any], object]] = {
    "by position": lambda made: made(1, 2),
    "by name": lambda made: made(y=2, x=1),
    "by default": lambda made: made(1),
    "by all three": lambda made: made(1, y=3),
    "make": lambda made: made._make([1, 2]),
    "replace": lambda made: made(1)._replace(x=5),
    "as a dict": lambda made: made(1)._asdict(),
    "fields": lambda made: (made._fields, made._field_defaults),
    "one field": lambda made: (made(1).x, made(1).y, made(1)[0]),
    "a property": lambda made: made(1).total,
    "a method": lambda made: str(made(1)),
    "unpacked": lambda made: spread(made(1)),
    "matched": lambda made: match(made(1)),
    "shown": lambda made: repr(made(1)).partition("(")[2],
    "equal": lambda made: (made(1) == made(1, 7), made(1) == (1, 7), made(1) != made(2)),
    "hashed": lambda made: hash(made(1)),
    "copied": lambda made: (copy.copy(made(1)), type(copy.deepcopy(made(1))) is made),
    "pickled": lambda made: (pickle.loads(pickle.dumps(made(1))), type(pickle.loads(pickle.dumps(made(1)))) is made),
}


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_it_behaves_like_a_named_tuple(ask: Callable[[Any], object]) -> None:
    assert ask(Point) == ask(Model)


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda made: made(), "()"),
        (lambda made: made(1, 2, 3), "(_, _, _)"),
        (lambda made: made(1, z=3), "(_, z=)"),
        (lambda made: made(1, x=3), "(_, x=)"),
        (lambda made: made(1, 2)._replace(z=1), "(x=, y=, z=)"),
    ],
    ids=["too few", "too many", "unknown", "twice", "replace"],
)
def test_wrong_arguments(make: Callable[[Any], object], found: str) -> None:
    with pytest.raises((TypeError, ValueError)):
        make(Model)
    with pytest.raises(TypeError) as caught:
        make(Point)
    assert str(caught.value) == f"Point is made of x, y, not of {found}"


def test_a_class_without_fields_is_refused() -> None:
    message = "Nothing needs fields: annotate them, and begin its module with `from __future__ import annotations`"
    with pytest.raises(TypeError, match=message):

        class Nothing(Fields):
            x = 1  # type: ignore[misc]


def test_annotations_that_python_3_14_defers_are_refused() -> None:
    """It keeps them in a function unless the module has the future import."""
    kind: Any = type(Fields)
    with pytest.raises(TypeError, match="Deferred needs fields"):
        kind("Deferred", (Point,), {"__annotate_func__": None})
    assert kind("Same", (Point,), {})(1) == (1, 7)


def test_it_cannot_change() -> None:
    point: Any = Point(1)
    for name in ("x", "z"):
        with pytest.raises(AttributeError):
            setattr(point, name, 2)


def test_public_classes_are_named_tuples_to_their_users() -> None:
    problem = hardpoint.Problem("code", "this", "that", fix="mend it")
    assert problem == ("code", "this", "that", "mend it", True)
    assert repr(problem) == "Problem(code='code', needs='this', found='that', fix='mend it', fatal=True)"


def test_loading_and_calling_does_not_call_compile(run_python: RunPython, english: Path) -> None:
    """The first compile() of a process creates all classes of the syntax tree, which takes 2 ms."""
    code = (
        "import sys, typing, json\n"
        "sys.addaudithook(lambda event, args: event == 'compile' and args[1] == '<string>' and print(args))\n"
        "import hardpoint, hardpoint.contracts as c\n"
        f"print(hardpoint.load({str(english)!r}, c.Greeter).lang())"
    )
    assert run_python(code).stdout == "English\n"


def test_the_signature_has_the_fields_and_their_defaults() -> None:
    signature = inspect.signature(Isolation)
    assert [*signature.parameters] == [*Isolation._fields]
    assert str(signature).startswith("(timeout=None, restart='on-call', workers=1, memory='1GiB', ")
    assert str(inspect.signature(Identity)) == "(device, inode, size, modified)"
