"""Rules of the ABI that a plugin breaks by one byte, and the end of an instance, over each binding."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import pytest
from conftest import IMPORTABLE
from test_references import held

import hardpoint

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Binding, Compiler, Fresh, RunPython


@hardpoint.contract("rules", version="1.0")
@runtime_checkable
class Rules(Protocol):
    """What a plugin may do to its hp_out."""

    def says(self, more: int) -> bytes:
        """Fill the memory, and say that so many bytes more were written."""
        ...

    def fails(self, length: int) -> bytes:
        """Fail, and say that a reason of this length was written."""
        ...

    def asks(self, need: int) -> None:
        """Ask for so many bytes."""
        ...

    def moves_cap(self, by: int) -> bytes: ...

    def moves_data(self, by: int) -> bytes: ...


RULES = """
#include <stdlib.h>
#include <unistd.h>
#include "rules.h"
static hp_status create(const hp_host *host, const char *config, size_t config_len, void **self, hp_out *out) {
    (void)host, (void)config, (void)out;
    char *made = malloc(1);
    *self = made;
    made[0] = config_len > 0; /* it tells of its end */
    return HP_OK;
}
static void destroy(void *self) {
    if (*(char *)self && write(1, "destroyed\\n", 10) < 0) {
        abort();
    }
    free(self);
}
static hp_status says(void *self, int64_t more, hp_out *out) {
    (void)self;
    memset(out->data, 'x', out->cap);
    out->len = out->cap + (size_t)more;
    return HP_OK;
}
static hp_status fails(void *self, int64_t length, hp_out *out) {
    (void)self;
    out->len = (size_t)length;
    return 300;
}
static hp_status asks(void *self, int64_t need, hp_out *out) {
    (void)self;
    return out->grow(out, (size_t)need);
}
static hp_status moves_cap(void *self, int64_t by, hp_out *out) {
    (void)self;
    out->cap += (size_t)by;
    return HP_OK;
}
static hp_status moves_data(void *self, int64_t by, hp_out *out) {
    (void)self;
    out->data += by;
    return HP_OK;
}
RULES_PLUGIN("rules", "1", .create = create, .destroy = destroy, .says = says, .fails = fails, .asks = asks,
             .moves_cap = moves_cap, .moves_data = moves_data);
"""


@pytest.fixture(scope="module")
def library(compiler: Compiler) -> Path:
    compiler.header(Rules)
    return compiler.text("rules", RULES)


@pytest.fixture
def rules(library: Path, fresh: Fresh, binding: Binding) -> Rules:
    return hardpoint.load(fresh(library), Rules, binding=binding)


def test_a_length_of_one_byte_more_than_there_is(rules: Rules) -> None:
    room = len(rules.says(0))
    assert rules.says(0) == b"x" * room
    assert rules.says(-room) == b""
    for more in (1, 1 << 40, (1 << 63) - 1 - room):
        with pytest.raises(hardpoint.ContractBrokenError, match="where there was room for"):
            rules.says(more)
    for length in (room + 1, 1 << 40, -1):
        with pytest.raises(hardpoint.ContractBrokenError, match="where there was room for"):
            rules.fails(length)


@pytest.mark.parametrize("need", [-1, -8, -24, -4096, (1 << 63) - 1, -(1 << 63), (1 << 63) - 17])
def test_more_memory_than_there_can_be_is_refused(rules: Rules, need: int) -> None:
    with pytest.raises(hardpoint.CallError) as caught:
        rules.asks(need)
    assert caught.value.status == 4
    assert rules.says(0)


def test_refusals_leave_no_memory(rules: Rules) -> None:
    """Each call that needs more gets the memory of the last large result."""
    with pytest.raises(hardpoint.CallError):
        rules.asks(-1)
    gc.collect()
    before = held()[1]
    for _ in range(10):
        rules.asks(1 << 20)
        with pytest.raises(hardpoint.CallError):
            rules.asks(-1)
    gc.collect()
    assert held()[1] - before < 4 << 20


@pytest.mark.parametrize("by", [1, -1, 8])
def test_data_and_cap_are_changed_by_grow_alone(rules: Rules, by: int) -> None:
    for move in (rules.moves_cap, rules.moves_data):
        with pytest.raises(hardpoint.ContractBrokenError, match="changed data or cap of its hp_out"):
            move(by)
        assert rules.says(0)


def test_an_instance_is_destroyed_by_the_process_that_made_it(
    library: Path, fresh: Fresh, binding: Binding, run_python: RunPython
) -> None:
    """Not in a forked child, and not while the interpreter ends, when what it needs may be gone."""
    code = f"""
import gc, os, sys
sys.path[:0] = {IMPORTABLE!r}
import hardpoint
from test_binding_rules import Rules
plugins = [hardpoint.load({str(fresh(library))!r}, Rules, config='loud', binding={binding!r}) for _ in range(3)]
kept = plugins.pop()
child = os.fork()
if child == 0:
    plugins.clear()
    kept = None
    gc.collect()
    os._exit(0)
os.waitpid(child, 0)
print("waited", flush=True)
plugins.clear()
print("done", flush=True)
"""
    assert run_python(code).stdout == "waited\ndestroyed\ndestroyed\ndone\n"
