"""Isolated plugins that take all memory of their worker, and callers for which it has no threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from processes import together

import hardpoint
from hardpoint import CallError, Isolation
from hardpoint.contracts import Greeter

if TYPE_CHECKING:
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
    const size_t size = name_len << 20;
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


def test_threads_of_the_plugin_that_take_all_memory(compiler: Compiler) -> None:
    """Like Go's runtime, whose threads have a stack each; the worker's own are small."""
    library = compiler.text("large", LARGE, "-pthread", "-DTHREADS=1000")
    with hardpoint.loaded(library, Greeter, isolated=LITTLE) as plugin:
        assert plugin.lang() == "large"


def test_no_memory_for_a_result(compiler: Compiler) -> None:
    """It lies in shared memory, where the limit holds as well."""
    library = compiler.text("large", LARGE)
    with hardpoint.loaded(library, Greeter, isolated=LITTLE) as plugin:
        assert plugin.greet("") == ""
        assert len(plugin.greet("x" * 90)) == 90 << 20
        with pytest.raises(
            CallError, match=r"greet failed with status 4 \(HP_NO_MEMORY\): it needed more memory than"
        ) as caught:
            plugin.greet("x" * 100)
        assert caught.value.status == 4
        assert plugin.lang() == "large"
    with hardpoint.loaded(library, Greeter, isolated=True) as plugin:
        assert len(plugin.greet("x" * 100)) == 100 << 20


def test_more_threads_of_the_host_than_the_worker_can_have(compiler: Compiler) -> None:
    """A thread of the worker serves each of them; those for which there is none wait for a channel that is free."""
    library = compiler.text("large", LARGE)
    with hardpoint.loaded(library, Greeter, isolated=LITTLE) as plugin:
        assert together(*[plugin.lang] * 64) == ["large"] * 64
