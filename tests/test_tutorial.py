"""From a class to a plugin and back, step by step: a team with its own contract."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import hardpoint
from hardpoint.authoring.c_header import render
from hardpoint.definition.decorators import contract_of

if TYPE_CHECKING:
    from conftest import Binding, Compiler, Fresh

SCORER = Path(__file__).parent.parent / "examples/scorer"


@pytest.fixture(scope="session")
def scorer() -> Any:
    """Step 1: the contract is a class in the team's own module."""
    sys.path.insert(0, str(SCORER))
    try:
        from scorer import Scorer
    finally:
        sys.path.remove(str(SCORER))
    return Scorer


@pytest.fixture(scope="session")
def exam(compiler: Compiler, scorer: Any) -> Path:
    """Steps 2 and 3: `hardpoint header scorer:Scorer > scorer.h`, then the C compiler."""
    compiler.header(scorer)
    return compiler.text("exam", (SCORER / "exam.c").read_text())


def test_step_2_the_header_says_in_c_what_the_class_says_in_python(scorer: Any) -> None:
    header = render(contract_of(scorer))
    assert "/* score(answer: bytes, points: int, weight: float, strict: bool) -> float" in header
    assert (
        "hp_status (*score)(void *self, const uint8_t *answer, size_t answer_len, int64_t points, double weight, "
        "bool strict, double *result, hp_out *out);"
    ) in header
    assert "hp_status (*grade)(void *self, double score, hp_out *out) HP_OPTIONAL_;" in header


def test_step_4_the_plugin_is_a_scorer(exam: Path, scorer: Any, fresh: Fresh, binding: Binding) -> None:
    plugin = hardpoint.load(fresh(exam), scorer, config={"wanted": 5}, binding=binding)
    assert isinstance(plugin, scorer)
    assert plugin.score(b"forty-two", 10, 1.5, True) == 15.0
    assert plugin.score(b"no", 10, 1.5, strict=True) == 0.0
    assert plugin.score(memoryview(b"no"), 10, 1.5, strict=False) == 7.5


def test_step_5_a_buffer_is_changed_in_place(exam: Path, scorer: Any, fresh: Fresh, binding: Binding) -> None:
    text = bytearray(b"room 101")
    assert hardpoint.load(fresh(exam), scorer, binding=binding).censor(text) == 3
    assert text == b"room xxx"


def test_step_6_the_contracts_body_runs_for_a_missing_method(
    exam: Path, scorer: Any, fresh: Fresh, binding: Binding
) -> None:
    plugin = hardpoint.load(fresh(exam), scorer, binding=binding)
    assert (plugin.grade(50.0), plugin.grade(49.9)) == ("pass", "fail")


def test_step_7_the_plugin_fails(exam: Path, scorer: Any, fresh: Fresh, binding: Binding) -> None:
    path = fresh(exam)
    with pytest.raises(hardpoint.CallError) as failed:
        hardpoint.load(path, scorer, binding=binding).score(b"", -1, 1.0, True)
    assert (failed.value.status, failed.value.text) == (2, "-1 points cannot be earned")
    with pytest.raises(hardpoint.CreateError, match="config, line 1, column 1: expected a value"):
        hardpoint.load(path, scorer, config="a long story")


def test_step_8_what_it_logs_is_in_logging(
    exam: Path, scorer: Any, fresh: Fresh, binding: Binding, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        hardpoint.load(fresh(exam), scorer, config={"wanted": 777}, binding=binding)
        deadline = time.monotonic() + 10
        while "answers need 777 bytes" not in caplog.messages and time.monotonic() < deadline:
            time.sleep(0.005)
    assert ("hardpoint.plugin.exam", logging.INFO, "answers need 777 bytes") in caplog.record_tuples
