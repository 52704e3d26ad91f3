"""Misuses that type checkers reject. Nothing here runs; both find an error on each marked line and on no other."""

from pathlib import Path
from typing import Protocol

import hardpoint
from hardpoint import Buffer, WritableBuffer
from hardpoint.contracts import Greeter, Transformer


class Digester(Protocol):
    def digest(self, data: Buffer) -> bytes: ...

    def clear(self, data: WritableBuffer) -> None: ...


def loading(path: Path) -> None:
    hardpoint.load(path)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    hardpoint.load(5, Greeter)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    hardpoint.load(b"english.so", Greeter)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    hardpoint.load(path, "greeter")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    hardpoint.load(path, Greeter, "config")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    hardpoint.load(path, Greeter, config=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    hardpoint.load(path, Greeter, config={5: 5})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
    hardpoint.load(path, Greeter, binding="swig")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    hardpoint.load(path, Greeter, sha256=b"0")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    hardpoint.load(path, Greeter, mode=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    other: Transformer = hardpoint.load(path, Greeter)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    del other


def loading_for_a_while(path: str) -> None:
    with hardpoint.loaded(path, Greeter) as english:
        english.shout("x")  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    with hardpoint.loaded(path, Greeter, binding="swig"):  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        pass


def calling(english: Greeter) -> None:
    english.greet()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    english.greet(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    english.greet(b"x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    english.greet("x", "y")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    english.greet(person="x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    english.close()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    length: int = english.lang()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    del length


async def awaiting(english: Greeter) -> None:
    await hardpoint.awaitable(english.greet)(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await hardpoint.awaitable(english.greet)()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    length: int = await hardpoint.awaitable(english.lang)()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    text: str = hardpoint.awaitable(english.lang)()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    greeting: str = hardpoint.awaitable(english).greet("x")  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    hardpoint.awaitable(english)("x")  # type: ignore[operator]  # pyright: ignore[reportCallIssue]
    hardpoint.awaitable()  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    del length, text, greeting


def buffers(digester: Digester) -> None:
    digester.digest("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    digester.digest([1])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    digester.clear("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    digester.clear(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def what_is_known(english: Greeter) -> None:
    about = hardpoint.info(english)
    number: int = about.sha256  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    about.path = "x"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    del number


def defining() -> None:
    hardpoint.contract("greeter")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    hardpoint.contract("greeter", "1.0")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    hardpoint.contract("greeter", version=1.0)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    hardpoint.since(1.1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    hardpoint.quick(5)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
