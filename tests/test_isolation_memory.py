"""Isolated plugins that leave no memory for the worker's own code: the error names the limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from processes import together

import hardpoint
from hardpoint import CrashedError, Isolation
from hardpoint.contracts import Greeter

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Compiler

LARGE = """
#include <pthread.h>
#include <unistd.h>
#include "greeter.h"

#ifdef THREADS
static void *rest(void *unused) { for (;;) pause(); return unused; }
__attribute__((constructor)) static void start(void) {
    pthread_t thread;
    for (int i = 0; i < THREADS && pthread_create(&thread, NULL, rest, NULL) == 0; i++) {}
}
#endif
static hp_status greet(void *self, const char *name, size_t name_len, hp_out *out) {
    (void)self, (void)name;
    const size_t size = (size_t)60 << 20;
    if (name_len > 0 && hp_reserve(out, size) == HP_OK) {
        memset(out->data, 'x', size);
        out->len = size;
    }
    return HP_OK;
}
static hp_status lang(void *self, hp_out *out) {
    (void)self;
    usleep(300000);
    return hp_puts(out, "large");
}
GREETER_PLUGIN("large", "1", .greet = greet, .lang = lang);
"""
LITTLE = Isolation(memory="96MiB", timeout=60.0)


def message(library: Path, doing: str) -> str:
    return (
        f"{library}: the worker ran out of memory in {doing}: needs more than Isolation(memory='96MiB'); give it more; "
        "it wrote nothing to stdout or stderr"
    )


def test_no_memory_for_another_thread_of_the_plugin(compiler: Compiler) -> None:
    """Like Go's runtime, whose threads have a stack each."""
    library = compiler.text("large", LARGE, "-pthread", "-DTHREADS=1000")
    with pytest.raises(CrashedError) as caught:
        hardpoint.load(library, Greeter, isolated=LITTLE)
    assert str(caught.value) == message(library, "loading")
    assert (caught.value.signal, caught.value.status) == (None, 71)


def test_no_memory_for_a_result(compiler: Compiler) -> None:
    library = compiler.text("large", LARGE)
    with hardpoint.loaded(library, Greeter, isolated=LITTLE) as plugin:
        assert plugin.greet("") == ""
        with pytest.raises(CrashedError) as caught:
            plugin.greet("World")
        assert str(caught.value) == message(library, "greet")
        assert plugin.lang() == "large"  # in another worker
    with hardpoint.loaded(library, Greeter, isolated=True) as plugin:
        assert len(plugin.greet("World")) == 60 << 20


def test_no_memory_for_another_thread_of_the_host(compiler: Compiler) -> None:
    """A thread of the worker serves each of them."""
    library = compiler.text("large", LARGE)
    with hardpoint.loaded(library, Greeter, isolated=LITTLE) as plugin:
        answers = together(*[plugin.lang] * 64)
        errors = {str(each) for each in answers if each != "large"}
        assert errors == {message(library, "lang")}
        assert plugin.lang() == "large"
