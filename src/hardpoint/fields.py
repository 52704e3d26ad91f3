"""Fields: small immutable values with named fields, like typing.NamedTuple at a tenth of its cost.

NamedTuple compiles every annotation that is a string, and a function for each class: 0.1 to 0.2 ms a class in a fresh
process. The first compile() of a process also makes the classes of the syntax tree, which takes 2 ms (measured).
Together that was a third of what hardpoint adds to a host's start-up. Nothing is compiled here.
"""

from __future__ import annotations

from collections import _tuplegetter  # type: ignore[attr-defined]  # namedtuple's own
from typing import TYPE_CHECKING, Any

__all__ = ["Fields"]


class _FieldsType(type):
    """Turns the annotations of a class into fields, and their values into defaults."""

    _fields: tuple[str, ...]
    _field_defaults: dict[str, Any]

    def __new__(cls, name: str, bases: tuple[type, ...], members: dict[str, Any]) -> _FieldsType:
        fields = tuple(members.get("__annotations__", ()))
        base = bases[0] if isinstance(bases[0], _FieldsType) else None
        if base is not None and not fields:
            # Python 3.14 has a function here in place of annotations, without the future import.
            if not base._fields or "__annotate_func__" in members:
                fix = "annotate them, and begin its module with `from __future__ import annotations`"
                raise TypeError(f"{name} needs fields: {fix}")
            return super().__new__(cls, name, bases, {"__slots__": (), **members})  # the fields are the base's
        defaults = {field: members[field] for field in fields if field in members}
        members |= {field: _tuplegetter(index, field) for index, field in enumerate(fields)}
        members |= {"__slots__": (), "__match_args__": fields, "_fields": fields, "_field_defaults": defaults}
        return super().__new__(cls, name, bases, members)

    @property
    def __signature__(cls) -> Any:
        """The fields and their defaults, for `help` and editors."""
        from inspect import Parameter, Signature  # imported already by whoever asks; 9 ms

        parameters = [
            Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=cls._field_defaults.get(name, Parameter.empty))
            for name in cls._fields
        ]
        return Signature(parameters)

    def complete(cls, values: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
        """Return the values of all fields: those given by position, then by name, then the defaults."""
        rest = cls._fields[len(values) :]
        given = cls._field_defaults | named
        if len(values) > len(cls._fields) or not named.keys() <= set(rest) <= given.keys():
            found = ", ".join([*("_" for _ in values), *(f"{name}=" for name in named)])
            raise TypeError(f"{cls.__name__} is made of {', '.join(cls._fields)}, not of ({found})")
        return (*values, *(given[field] for field in rest))


class _Fields(tuple[Any, ...], metaclass=_FieldsType):
    __slots__ = ()

    def __new__(cls, *values: Any, **named: Any) -> Any:
        if named or len(values) != len(cls._fields):
            values = cls.complete(values, named)
        return tuple.__new__(cls, values)

    _make = classmethod(tuple.__new__)  # type: ignore[var-annotated]

    def _asdict(self) -> dict[str, Any]:
        return dict(zip(type(self)._fields, self, strict=True))

    def _replace(self, **named: Any) -> Any:
        return type(self)(**self._asdict() | named)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._asdict().items())})"

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self)


if TYPE_CHECKING:
    from typing import NamedTuple as Fields
else:
    Fields = _Fields
