"""Pickling plugin objects: the pickle says how to open the file, and the receiver checks the same file again."""

from __future__ import annotations

import copy
import hashlib
import json
import multiprocessing
import os
import pickle
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from conftest import IMPORTABLE, ROOT, how
from probe import Probe

import hardpoint
from hardpoint.contracts import Greeter, Transformer
from hardpoint.definition.canonical_text import contract_from_texts
from hardpoint.loading import load_contract

if TYPE_CHECKING:
    from conftest import Compiler, Fresh, Way


def shout(transformer: Transformer, text: str) -> str:
    return transformer.transform(text)


def elsewhere(plugin: object, expression: str) -> str:
    """Evaluate an expression over `plugin` in a new process, and return its output."""
    code = "import pickle, sys, hardpoint; plugin = pickle.load(sys.stdin.buffer); print({})"
    return subprocess.run(
        [sys.executable, "-c", code.format(expression)],
        input=pickle.dumps(plugin), capture_output=True, check=True, timeout=60, cwd="/",
        env=os.environ | {"PYTHONPATH": os.pathsep.join(IMPORTABLE)},
    ).stdout.decode().strip()  # fmt: skip


def test_in_another_process(probe_library: Path, fresh: Fresh, way: Way) -> None:
    plugin = hardpoint.load(fresh(probe_library), Probe, config="the config", **how(way))
    assert elsewhere(plugin, "plugin.config()") == plugin.config() == "the config"
    assert elsewhere(plugin, "hardpoint.info(plugin).isolation is not None") == str(way == "isolated")
    assert elsewhere(plugin, "hardpoint.info(plugin).sha256") == hardpoint.info(plugin).sha256
    if way != "isolated":
        assert elsewhere(plugin, "hardpoint.info(plugin).binding") == way


def test_a_copy_is_a_new_instance(probe_library: Path, fresh: Fresh, way: Way) -> None:
    plugin = hardpoint.load(fresh(probe_library), Probe, config="the config", **how(way))
    for other in (copy.copy(plugin), copy.deepcopy(plugin), pickle.loads(pickle.dumps(plugin))):
        assert other is not plugin
        hardpoint.close(other)
    assert plugin.config() == "the config"


def test_options_travel(english: Path) -> None:
    with hardpoint.loaded(english, Greeter, isolated=hardpoint.Isolation(timeout=7.5, read=[Path("/etc")])) as plugin:
        other = pickle.loads(pickle.dumps(plugin))
        in_force = hardpoint.info(other).isolation
        assert in_force is not None
        assert in_force.options == hardpoint.Isolation(timeout=7.5, read=("/etc",))
        hardpoint.close(other)


def test_paths_of_a_sandbox_stay_what_they_were(
    english: Path, fresh: Fresh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After chdir, a reload or unpickling must not open the new folder's `data` to the plugin."""
    for folder in ("here", "there"):
        (tmp_path / folder / "data").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    with hardpoint.loaded(fresh(english), Greeter, isolated=hardpoint.Isolation(write="data")) as plugin:
        monkeypatch.chdir(tmp_path / "there")
        hardpoint.reload(plugin)
        other = pickle.loads(pickle.dumps(plugin))
        for each in (plugin, other):
            in_force = hardpoint.info(each).isolation
            assert in_force is not None
            assert in_force.options.write == (str(tmp_path / "here/data"),)
        hardpoint.close(other)


def test_a_pinned_plugin_is_found_from_another_folder(
    english: Path, fresh: Fresh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fresh(english)
    monkeypatch.chdir(tmp_path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    with hardpoint.loaded(path.name, Greeter, sha256=sha256, isolated=True) as plugin:
        monkeypatch.chdir("/")
        for _ in range(2):
            hardpoint.reload(plugin)
            assert hardpoint.info(plugin).library == str(path)


def test_a_method_travels_by_pickle(english: Path, fresh: Fresh, way: Way) -> None:
    with hardpoint.loaded(fresh(english), Greeter, **how(way)) as plugin:
        assert pickle.loads(pickle.dumps(plugin.greet))("you") == "Hello, you! Nice to meet you."


def test_a_relative_path(english: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(english, tmp_path / "here.so")
    monkeypatch.chdir(tmp_path)
    assert elsewhere(hardpoint.load("here.so", Greeter), "plugin.greet('you')") == "Hello, you! Nice to meet you."


def test_a_pinned_one_stays_pinned(english: Path, fresh: Fresh) -> None:
    path = fresh(english)
    plugin = hardpoint.load(path, Greeter, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    assert elsewhere(plugin, "hardpoint.info(plugin).library.startswith('/proc/self/fd/')") == "True"


def test_a_contract_from_the_manifest(english: Path, fresh: Fresh) -> None:
    contract = contract_from_texts("greeter", "1.0", ("greet(name: str) -> str", "lang() -> str"))
    plugin = load_contract(fresh(english), contract)
    assert elsewhere(plugin, "plugin.lang()") == "English"


def test_another_file_is_refused_there(english: Path, compiler: Any, fresh: Fresh) -> None:
    path = fresh(english)
    parcel, digest = pickle.dumps(hardpoint.load(path, Greeter)), hashlib.sha256(path.read_bytes()).hexdigest()
    spanish = compiler.library("spanish/spanish.c")
    os.replace(shutil.copy(spanish, f"{path}.new"), path)
    with pytest.raises(hardpoint.IncompatibleError) as caught:
        pickle.loads(parcel)
    (problem,) = caught.value.problems
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (problem.code, problem.needs, problem.found) == ("sha256", f"a file whose sha256 is {digest}", found)


def test_no_file_there(english: Path, fresh: Fresh) -> None:
    path = fresh(english)
    parcel = pickle.dumps(hardpoint.load(path, Greeter))
    path.unlink()
    with pytest.raises(hardpoint.PluginNotFoundError, match="there is no such file"):
        pickle.loads(parcel)


def test_a_plugin_whose_file_is_gone_cannot_be_pickled(english: Path, fresh: Fresh) -> None:
    path = fresh(english)
    plugin = hardpoint.load(path, Greeter)
    path.unlink()
    with pytest.raises(hardpoint.StaleError) as caught:
        pickle.dumps(plugin)
    assert str(caught.value) == (
        f"{path} cannot be sent elsewhere: the file that was loaded is no longer there; put it back, or load the new one "
        "in a new process"
    )


def test_a_closed_plugin_cannot_be_pickled(english: Path, fresh: Fresh, way: Way) -> None:
    plugin = hardpoint.load(fresh(english), Greeter, **how(way))
    hardpoint.close(plugin)
    with pytest.raises(hardpoint.ClosedError) as caught:
        pickle.dumps(plugin)
    assert str(caught.value) == "a plugin object cannot be copied or pickled: english was closed; load it again"


def test_nothing_is_left_open_after_a_refusal(english: Path, fresh: Fresh) -> None:
    path = fresh(english)
    parcel = pickle.dumps(hardpoint.load(path, Greeter))
    path.unlink()  # it is mapped: rewriting it would kill this process
    path.write_bytes(b"another")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(hardpoint.IncompatibleError):
            pickle.loads(parcel)
    assert len(os.listdir("/proc/self/fd")) == before


def test_errors_travel_whole(english: Path) -> None:
    """An error raised in a pool's worker arrives with all its fields."""
    with pytest.raises(hardpoint.IncompatibleError) as refused:
        hardpoint.load(english, Transformer)
    crashed = hardpoint.CrashedError("it crashed", path="a.so", signal=11, stderr="last words")
    failed = hardpoint.CallError("it failed", path="a.so", status=256, text="why")
    warning = hardpoint.HardpointWarning("it changed", path="a.so", changed=["the locale"])
    for sent in (refused.value, crashed, failed, warning):
        came = pickle.loads(pickle.dumps(sent))
        assert (type(came), str(came), vars(came)) == (type(sent), str(sent), vars(sent))
        assert came.path


NOTEBOOK = """
from __future__ import annotations
import sys
from typing import Protocol, runtime_checkable
import cloudpickle, hardpoint

@hardpoint.contract("scorer", version="1.1")
@runtime_checkable
class Scorer(Protocol):
    def score(self, answer: hardpoint.Buffer, points: int, weight: float, strict: bool) -> float: ...
    def censor(self, text: hardpoint.WritableBuffer) -> int: ...
    @hardpoint.since("1.1")
    def grade(self, score: float) -> str:
        return f"{score / 2:.0%}"

def work(path):
    exam = hardpoint.load(path, Scorer)
    return exam.score(b"x", 3, 1.0, False), exam.grade(1.0), isinstance(exam, Scorer)

sys.stdout.buffer.write(cloudpickle.dumps((work, Scorer)))
"""


def test_a_contract_of_a_notebook_travels_by_value(compiler: Compiler) -> None:
    """Dask and Ray send definitions of a notebook or script by value, with cloudpickle."""
    compiler.header(runpy.run_path(str(ROOT / "examples/scorer/scorer.py"))["Scorer"])
    exam = compiler.library(str(ROOT / "examples/scorer/exam.c"))
    sent = subprocess.run([sys.executable, "-c", NOTEBOOK], capture_output=True, check=True, timeout=60).stdout
    code = "import pickle, sys; work, _ = pickle.load(sys.stdin.buffer); print(work(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", code, exam], input=sent, capture_output=True, check=True, timeout=60)
    assert done.stdout.decode() == "(1.5, '50%', True)\n"


def test_two_contracts_that_share_a_method() -> None:
    code = """
import sys
from typing import Protocol
import cloudpickle, hardpoint
class Walker(Protocol):
    def step(self) -> int: ...
class Dancer(Protocol):
    step = Walker.step
for cls in (Walker, Dancer):
    hardpoint.contract(cls.__name__.lower(), version="1.0")(cls)
sys.stdout.buffer.write(cloudpickle.dumps((Walker, Dancer)))
"""
    sent = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60).stdout
    code = "import pickle, sys; from hardpoint.definition.decorators import contract_of; print(*map(contract_of, pickle.load(sys.stdin.buffer)))"
    done = subprocess.run([sys.executable, "-c", code], input=sent, capture_output=True, check=True, timeout=60)
    assert done.stdout.decode() == "walker 1.0 dancer 1.0\n"


def test_a_class_with_a_method_of_a_contract_is_not_a_contract() -> None:
    class Borrower(Protocol):
        greet = Greeter.greet  # type: ignore[misc]

    with pytest.raises(TypeError, match="Borrower'> is not a contract"):
        hardpoint.load("any.so", Borrower)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_multiprocessing(compiler: Any, method: str) -> None:
    uppercase = hardpoint.load(compiler.library("uppercase/uppercase.c"), Transformer)
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.starmap(shout, [(uppercase, word) for word in ("a", "bc", "déf")]) == ["A", "BC", "DéF"]


def test_a_million_strings_in_a_dask_cluster(compiler: Any, tmp_path: Path) -> None:
    """benchmarks/scaling.py: the sum of a bag in a LocalCluster equals that in one process."""
    figures = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scaling", compiler.library("uppercase/uppercase.c"), "--repeat=1", "--json", figures],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    measured = json.loads(figures.read_text())
    lines = [f"{number} jackdaws love my big sphinx of quartz; " for number in (0, 999_999)]
    assert 5 * 1_000_000 * len(lines[0]) < measured["letters"] < 5 * 1_000_000 * len(lines[1])
    assert done.stdout.startswith("1,000,000 strings: one process ")
