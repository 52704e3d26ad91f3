"""Python objects and classes as plugins: their methods checked against a contract, and added to a registry."""

from __future__ import annotations

import inspect
import typing
from types import UnionType
from typing import TYPE_CHECKING, Any

from ..definition.kinds import PARAMETERS
from ..errors import CreateError, IncompatibleError, LoadError, Problem, reasons
from ..preflight.manifest import is_plugin_name
from .discovery import Candidate, Place
from .found import FoundPlugin

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from packaging.specifiers import SpecifierSet

    from ..definition.kinds import Kind
    from ..definition.model import Contract, Method
    from ..isolation.options import Isolation

_ADDED = Place("registry.add", "added")


class PythonPlugin(FoundPlugin):
    """A Python object that was added to a registry, or a class, which each load makes an object of."""

    __slots__ = ("_plugin",)

    def __init__(self, name: str, contract: Contract, plugin: object) -> None:
        if not is_plugin_name(name):
            raise ValueError(f"a plugin's name is like 'english' ([a-z][a-z0-9_-]{{0,63}}), not {name!r}")
        problems = [problem for method in contract.methods for problem in _check_method(plugin, method)]
        if problems:
            raise IncompatibleError(f"{name} does not fit {contract}{reasons(problems)}", problems=problems)
        super().__init__(Candidate("", "", None, (), None), None, _ADDED, None)
        self.name, self.contract, self.version, self.path = name, contract.name, contract.version, None
        self._checked = ()
        self._plugin = plugin

    def load(
        self,
        contract: Contract,  # noqa: ARG002 - checked when it was added
        config: str | Mapping[str, Any] | None,
        binding: str | None,  # noqa: ARG002 - native plugins only
        isolated: bool | Isolation,  # noqa: FBT001 - as load's argument
        releases: SpecifierSet | None = None,  # noqa: ARG002 - of reloads
    ) -> Any:
        """Return the object that was added, or a new one of the class. Raises CreateError if the class raises."""
        if isolated:
            raise LoadError(f"{self.name} is a Python plugin, which cannot be isolated; leave isolated out")
        if not isinstance(self._plugin, type):
            if config is not None:
                raise CreateError(f"{self.name} takes no config, since it was added as an object; add its class")
            return self._plugin
        try:
            return self._plugin() if config is None else self._plugin(config=config)
        except Exception as error:
            words = f"{self._plugin.__qualname__}() raised {type(error).__name__}: {error}"
            raise CreateError(f"{self.name} cannot be created: {words}", text=str(error)) from error

    def __repr__(self) -> str:
        return f"<{self.name} of Python: {self._plugin!r}>"


def _check_method(plugin: Any, method: Method) -> Iterator[Problem]:
    found = getattr(plugin, method.name, None)
    inherited = method.function is not None and getattr(found, "__func__", found) is method.function
    if found is None or (inherited and not method.has_body):
        yield Problem.of("method-missing", "none", fix="write it", method=method.text)
        return
    if not callable(found):
        shown = f"{found!r}, which is not callable"
        yield Problem.of("method-missing", shown, fix="make it a method", method=method.text)
        return
    inner = inspect.unwrap(found)
    if any(
        is_one(inner)
        for is_one in (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    ):
        found = "a generator method" if inspect.isgeneratorfunction(inner) else "an async method"
        yield Problem.of("method-kind", found, method=method.text)
        return
    raw = inspect.getattr_static(plugin, method.name, None)
    if isinstance(plugin, type) and hasattr(raw, "__get__") and not isinstance(raw, (staticmethod, classmethod)):
        found = raw.__get__(object(), plugin)  # bound, so that the signature is without self
    signature = _signature(found)
    if signature and (why := _check_call(signature, method) or _check_annotations(signature, method)):
        needs, fix = f"the method {method.text}", "give it the contract's parameters and result"
        yield Problem.of("method-differs", f"{method.name}{signature}, {why}", needs=needs, fix=fix)


def _signature(function: Any) -> inspect.Signature | None:
    """Its signature, with annotations evaluated if possible; None if it has none, as some functions in C."""
    try:
        return inspect.signature(function, eval_str=True)
    except Exception:  # noqa: BLE001 - e.g. names that are imported under TYPE_CHECKING
        try:
            return inspect.signature(function)
        except (TypeError, ValueError):
            return None


def _check_call(signature: inspect.Signature, method: Method) -> str:
    """Return why the method does not accept the contract's calls, by position or by keyword; "" if it does."""
    names = [parameter.name for parameter in method.parameters]
    only = sum(parameter.positional_only for parameter in method.parameters)
    try:
        by_position = signature.bind(*names).arguments
        signature.bind(*names[:only], **{name: name for name in names[only:]})
    except TypeError as error:
        return f"which does not accept these calls: {error}"
    for name, given in by_position.items():
        if given in names[only:] and name != given:
            return f"where {name} has the position of {given}"
    return ""


def _check_annotations(signature: inspect.Signature, method: Method) -> str:
    """Return which annotation differs from the contract's, by a type checker's rules; "" if none is known to."""
    for wanted, parameter in zip(method.parameters, signature.parameters.values(), strict=False):
        if parameter.annotation is not parameter.empty and not _takes(parameter.annotation, wanted.kind):
            return f"where {parameter.name} does not take {wanted.kind}"
    if signature.return_annotation is not signature.empty and not _gives(signature.return_annotation, method.result):
        return f"whose result is not {method.result}"
    return ""


def _takes(annotation: object, kind: Kind) -> bool:
    """True if a parameter with this annotation accepts the contract's type."""
    try:
        own = PARAMETERS.get(annotation)
    except TypeError:  # unhashable
        return True
    return kind == own or (annotation, kind.python) == (float, int) or _is_subclass(kind.python, annotation)


def _gives(annotation: object, kind: Kind) -> bool:
    """True if a result with this annotation is of the contract's type."""
    return (annotation, kind.python) == (int, float) or _is_subclass(annotation, kind.python)


def _is_subclass(one: object, other: object) -> bool:
    """issubclass, for generics and unions too. True for anything else, of which nothing is known."""
    unions = {UnionType, typing.Union}
    if typing.get_origin(other) in unions:
        return any(_is_subclass(one, each) for each in typing.get_args(other))
    if typing.get_origin(one) in unions:
        return all(_is_subclass(each, other) for each in typing.get_args(one))
    one, other = (type(None) if each is None else typing.get_origin(each) or each for each in (one, other))
    if not isinstance(one, type) or not isinstance(other, type) or typing.Any in {one, other}:
        return True
    try:
        return issubclass(one, other)
    except TypeError:  # a Protocol without @runtime_checkable
        return True
