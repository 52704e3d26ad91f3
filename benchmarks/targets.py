"""The targets: limits for ratios of times that were measured in one run."""

from __future__ import annotations

from typing import NamedTuple

Times = list[tuple[str, str]]
"""Which times to add up: the phase of a run, and the key in it."""


class Target(NamedTuple):
    """A ratio of two times, and its limit."""

    text: str
    above: Times
    below: Times
    wanted: float
    at_most: bool = True
    """True if `wanted` is an upper limit, False if it is a lower one."""
    control: tuple[Times, Times] | None = None
    """A ratio that shows whether the machine had two cores free."""


def _calls(name: str, method: str) -> Times:
    return [("calls", f"{name}.{method}")]


def _call_targets(method: str) -> list[Target]:
    native = _calls("hardpoint_native", method)
    return [
        Target(f"{method}: native / extension by hand", native, _calls("handwritten", method), 1.10),
        Target(
            f"{method}: native / the same by hand, its methods of a type of their own",
            native,
            _calls("handwritten_descriptors", method),
            1.10,
        ),
        Target(f"{method}: native / nanobind", native, _calls("nanobind", method), 1.0),
        Target(f"{method}: native / pybind11", native, _calls("pybind11", method), 1.0),
        Target(f"{method}: cffi compiled / native", _calls("cffi_compiled", method), native, 6, at_most=False),
        Target(f"{method}: ctypes / native", _calls("ctypes", method), native, 20, at_most=False),
    ]


TARGETS = [
    *_call_targets("greet"),
    Target("greet: native / plain Python", _calls("hardpoint_native", "greet"), _calls("python", "greet"), 1.2),
    Target(
        "greet: hashicorp/go-plugin over net/rpc / isolated",
        _calls("hashicorp_netrpc", "greet"),
        _calls("hardpoint_isolated", "greet"),
        50,
        at_most=False,
    ),
    *_call_targets("lang"),
    Target(
        "64 KiB transform: rate of two threads / of one",
        [("threads", "one")],
        [("threads", "two")],
        1.8,
        at_most=False,
        control=([("threads", "hash_one")], [("threads", "hash_two")]),
    ),
    Target(
        "64 MiB transform: native / (C loop + one decode)",
        [("large", "transform")],
        [("large", "c"), ("large", "decode")],
        1.5,
    ),
]
