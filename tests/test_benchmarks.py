"""The runner of the benchmarks, with peers that need few tools: results, missing peers, verdicts."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks import isolation_docs
from benchmarks.docs import FIGURES, PAGE, README, between
from benchmarks.isolation_report import judged, significant, tables
from benchmarks.report import markdown, summary
from benchmarks.summary import Figure, interval, judge, summarize
from benchmarks.targets import Target

if TYPE_CHECKING:
    from conftest import Compiler

ROOT = Path(__file__).parent.parent
HAS_PYTHON_H = (Path(sysconfig.get_path("include")) / "Python.h").exists()


@pytest.fixture
def bench(compiler: Compiler, english: Path, tmp_path: Path) -> Any:
    """Run it with the shortest measurements; return its output and its results."""

    def run(*words: str, greeter: Path = english, env: dict[str, str] | None = None) -> tuple[str, dict[str, Any]]:
        figures = tmp_path / "results.json"
        done = subprocess.run(
            [
                sys.executable, "-m", "benchmarks.run", "--plain", "--processes=2", "--rounds=3", "--sample-us=20",
                f"--greeter={greeter}", f"--transformer={compiler.library('uppercase/uppercase.c')}",
                f"--folder={tmp_path / 'peers'}", f"--json={figures}", *words,
            ],
            cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout, json.loads(figures.read_text())

    return run


@pytest.mark.skipif(not HAS_PYTHON_H, reason="Python.h is missing: apt-get install python3-dev")
def test_the_peers_are_in_one_table(bench: Any) -> None:
    table, results = bench(
        "--peers=handwritten,handwritten_descriptors,python,ctypes,cffi_abi,hardpoint_cffi,hardpoint_ctypes"
    )
    assert results["missing"] == {}
    assert results["base"] == "handwritten"
    for name in (
        "handwritten",
        "handwritten_descriptors",
        "python",
        "ctypes",
        "cffi_abi",
        "hardpoint_cffi",
        "hardpoint_ctypes",
    ):
        assert results["calls"][name]["greet"]["ns"] > 0
        assert results["calls"][name]["lang"]["ratio"][0] > 0
        assert f"| {results['peers'][name]['title']} |" in table
    assert results["calls"]["handwritten"]["greet"]["ratio"] == [1, 1, 1]


def test_a_peer_that_cannot_be_built_is_named_and_left_out(bench: Any) -> None:
    table, results = bench("--peers=handwritten,python", env={"CC": "/nowhere/cc"})
    assert list(results["calls"]) == ["python"]
    assert "Without handwritten: " in table
    assert "/nowhere/cc" in results["missing"]["handwritten"] or not HAS_PYTHON_H


def test_a_peer_that_answers_wrongly_is_not_measured(bench: Any, compiler: Compiler) -> None:
    table, results = bench("--peers=ctypes,python", greeter=compiler.library("spanish/spanish.c"))
    assert list(results["calls"]) == ["python"]
    assert "Without ctypes: AssertionError: ctypes says '¡Hola, World! Mucho gusto.'" in table


def test_targets_of_peers_that_are_missing_are_not_claimed(bench: Any) -> None:
    table, results = bench("--peers=python")
    assert {target["verdict"] for target in results["targets"]} == {"not measured"}
    assert (
        "| greet: native / nanobind |  | at most 1 | not measured: hardpoint_native.greet, nanobind.greet could "
        in table
    )


def test_a_peer_that_does_not_exist() -> None:
    words = [sys.executable, "-m", "benchmarks.run", "--peers=python,ruby"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("no such peer: ruby; there are hardpoint_native, ")


@pytest.mark.parametrize(
    ("low", "high", "at_most", "verdict"),
    [
        (1.0, 1.1, True, "met"),
        (1.0, 1.2, True, "too noisy to tell"),
        (1.11, 1.2, True, "missed"),
        (1.1, 1.2, False, "met"),
        (1.0, 1.2, False, "too noisy to tell"),
        (1.0, 1.09, False, "missed"),
    ],
)
def test_a_target_is_met_or_missed_only_beyond_the_noise(low: float, high: float, at_most: bool, verdict: str) -> None:
    assert judge(Figure((low + high) / 2, low, high), Target("", [], [], 1.1, at_most)) == verdict


@pytest.mark.parametrize(
    ("count", "left_out"),
    [(1, 0), (5, 0), (6, 0), (8, 0), (9, 1), (10, 1), (12, 2), (20, 5)],  # from a table of the sign test, at 95 %
)
def test_the_interval_leaves_out_what_the_sign_test_allows(count: int, left_out: int) -> None:
    assert interval([float(value) for value in range(count)]) == (left_out, count - 1 - left_out)


def test_a_slow_moment_of_both_is_not_a_difference() -> None:
    runs = [{"calls": {f"{name}.{method}": [10.0, 70.0, 20.0] for name in ("handwritten", "python") for method in ("greet", "lang")}}] * 3  # fmt: skip
    assert summarize(runs)["calls"]["python"]["greet"]["ratio"] == (1, 1, 1)


def test_two_threads_are_not_judged_on_a_single_core() -> None:
    calls = {"calls": {f"python.{method}": [1.0] for method in ("greet", "lang")}}
    busy = {"threads": {"one": [10.0], "two": [8.0], "hash_one": [10.0], "hash_two": [7.0]}}
    free = {"threads": {"one": [10.0], "two": [8.0], "hash_one": [10.0], "hash_two": [5.0]}}
    for threads, verdict in ((busy, "too noisy to tell"), (free, "missed")):
        [target] = [
            target for target in summarize([{**calls, **threads}] * 6)["targets"] if "two threads" in target["text"]
        ]
        assert target["verdict"] == verdict


def test_the_page_shows_the_committed_figures() -> None:
    """`python -m benchmarks.docs` updates it."""
    figures = json.loads(FIGURES.read_text())
    for path, text in ((PAGE, markdown(figures)), (README, summary(figures))):
        page = path.read_text()
        assert between(page, "results", text) == page


def test_the_readme_has_rough_figures_of_the_measured_peers() -> None:
    figures = json.loads(FIGURES.read_text())
    del figures["calls"]["cython"]
    figures["calls"]["ctypes"]["greet"] |= {"ns": 123_456.7, "ratio": [3127.4, 3100.0, 3200.0]}
    figures["calls"]["nanobind"]["greet"] |= {"ns": 1.6, "ratio": [0.0432, 0.04, 0.05]}
    lines = summary(figures).splitlines()
    assert "| ctypes | 123 µs | 3,100 |" in lines
    assert lines[4] == "| nanobind | 2 ns | 0.043 |"
    assert not any("Cython" in line for line in lines)


def short(script: str, english: Path, figures: Path, *words: str) -> tuple[str, dict[str, Any]]:
    """Run one of the scripts that measure isolation; return its output and its figures."""
    command: list[str | Path] = [
        sys.executable,
        "-m",
        f"benchmarks.{script}",
        english,
        "--rounds=1",
        "--json",
        figures,
        *words,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(figures.read_text())


def test_isolation_is_measured_beside_c(english: Path, tmp_path: Path) -> None:
    printed, measured = short("isolation", english, tmp_path / "figures.json", "--processes=1")
    assert {"one core", "unpinned"} <= set(measured["calls"])
    for rows in measured["calls"].values():
        for row in ("greet", "64 B", "4 KiB", "64 KiB", "1 MiB", "after a rest"):
            assert {"hardpoint", "ring", "futex", "socket"} <= set(rows[row])
            assert min(rows[row].values()) > 0
    assert 0 < measured["memory"]["pss"] < measured["memory"]["rss"]
    for line in ("Host and worker on one core: microseconds:", "Start, memory and company:", "Targets:"):
        assert f"\n{line}\n" in f"\n{printed}"
    assert "| greet, one core: hardpoint / C, futex | " in printed


def test_a_flood_is_measured_beside_a_plugin_that_computes(english: Path, tmp_path: Path) -> None:
    printed, measured = short("flood", english, tmp_path / "figures.json", "--seconds=0.1")
    assert measured["calls"]["unpinned"]["ratios"]["compute"] == 1
    assert measured["seen"] > 0
    assert "\n  logs records " in printed


def test_a_target_of_isolation_without_its_figures_is_left_out() -> None:
    figures = {"memory": {"pss": 0.25, "idle": 150.0}, "start": {"first": 0.01}}
    assert [(target.text, ratio, met) for target, ratio, met in judged(figures)] == [
        ("processor time of an idle worker", 150.0, False),
        ("PSS of a worker, ten running", 0.25, True),
    ]


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(173.9, 2, "170"), (245.1, 3, "245"), (1234.0, 3, "1,230"), (7.8, 3, "7.8"), (0.2789, 2, "0.28"), (9.96, 2, "10")],
)
def test_significant_digits(value: float, digits: int, text: str) -> None:
    assert significant(value, digits) == text


@pytest.mark.parametrize(("hashing", "verdict"), [(1.02, "no second core was free"), (1.95, "missed")])
def test_a_flood_is_not_judged_on_a_single_core(hashing: float, verdict: str) -> None:
    figures = json.loads(isolation_docs.FIGURES.read_text())
    figures["threads"] = {"hashing": hashing, "workers": 1.03}
    assert tables(figures)[-1].rows[-2][-1] == verdict


def test_the_pages_show_the_committed_figures_of_isolation() -> None:
    """`python -m benchmarks.isolation_docs` updates them."""
    figures = json.loads(isolation_docs.FIGURES.read_text())
    for path, text in isolation_docs.texts(figures).items():
        page = path.read_text()
        assert between(page, isolation_docs.MARKER, text) == page
