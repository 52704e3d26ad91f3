"""Isolation under gevent's and eventlet's monkey patching: calls block their OS thread, and nothing else hangs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Compiler, RunPython

PATCH = {
    "gevent": "import gevent.monkey; gevent.monkey.patch_all()",
    "eventlet": "import warnings; warnings.simplefilter('ignore'); import eventlet; eventlet.monkey_patch()",
}
NOISY = """
#include "greeter.h"
#include <stdio.h>
#include <unistd.h>
static const hp_host *host;
static hp_status create(const hp_host *given, const char *config, size_t config_len, void **self, hp_out *out) {
    (void)config, (void)config_len, (void)self, (void)out;
    host = given;
    return HP_OK;
}
static hp_status greet(void *self, const char *name, size_t name_len, hp_out *out) {
    (void)self;
    for (int line = 0; line < 1000; line++) {
        printf("line %d\\n", line);
    }
    fflush(stdout);
    return hp_write(out, name, name_len);
}
static hp_status lang(void *self, hp_out *out) {
    (void)self;
    hp_log(host, HP_LOG_WARNING, "going to hang");
    for (;;) {
        pause();
    }
    return hp_puts(out, "never");
}
GREETER_PLUGIN("noisy", "1.0.0", .create = create, .greet = greet, .lang = lang);
"""


@pytest.fixture(scope="session")
def noisy(compiler: Compiler) -> Path:
    return compiler.text("noisy", NOISY)


LIFE = """
{before}
import os, signal, threading, time
import hardpoint
from hardpoint import Isolation
from hardpoint.contracts import Greeter
{after}
plugin = hardpoint.load({english!r}, Greeter, isolated=Isolation(timeout=20))
print(plugin.greet("you"))
[worker] = hardpoint.info(plugin).isolation.workers
os.kill(worker, signal.SIGKILL)
try:
    while True:
        plugin.lang()
except hardpoint.CrashedError as error:
    print(error.signal)
print(plugin.lang())
greetings = []
threads = [threading.Thread(target=lambda: greetings.append(plugin.greet("all"))) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(greetings == ["Hello, all! Nice to meet you."] * 4)
hardpoint.reload(plugin)
child = os.fork()
if child == 0:
    with hardpoint.loaded({english!r}, Greeter, isolated=True) as mine:
        os._exit(mine.lang() != "English")
print(os.waitpid(child, 0)[1])
hardpoint.close(plugin)
noisy = hardpoint.load({noisy!r}, Greeter, isolated=Isolation(timeout=0.3))
try:
    noisy.lang()
except hardpoint.TimedOutError as error:
    print(type(error).__name__)
time.sleep(0)
"""


@pytest.mark.parametrize("order", ["before", pytest.param("after", marks=pytest.mark.long)])
@pytest.mark.parametrize("package", list(PATCH))
def test_a_life_of_plugins(english: Path, noisy: Path, run_python: RunPython, package: str, order: str) -> None:
    before, after = (PATCH[package], "") if order == "before" else ("", PATCH[package])
    done = run_python(LIFE.format(before=before, after=after, english=str(english), noisy=str(noisy)), check=False)
    assert done.stdout.splitlines() == [
        "Hello, you! Nice to meet you.", "9", "English", "True", "0", "TimedOutError",
    ], done.stderr  # fmt: skip
    lines = [line for line in done.stderr.splitlines() if "RLock(s) were not greened" not in line]
    assert lines == ["going to hang"]


LOGS = """
{patch}
import atexit, io, logging, sys, threading
out = io.StringIO()
atexit.register(lambda: print(out.getvalue().count("mine"), out.getvalue().count("line 999\\n")))
import hardpoint
from hardpoint.contracts import Greeter
logging.basicConfig(level=logging.INFO, stream=out, format="%(message)s")
plugin = hardpoint.load({noisy!r}, Greeter, isolated=True)
def work():
    for _ in range(5):
        plugin.greet("you")
        for _ in range(1000):
            logging.info("mine")
sys.setswitchinterval(1e-5)
threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
hardpoint.close(plugin)
"""


@pytest.mark.parametrize("package", list(PATCH))
def test_handlers_have_green_locks(noisy: Path, run_python: RunPython, package: str) -> None:
    """The thread that reads output must not take them: another OS thread breaks them."""
    done = run_python(LOGS.format(patch=PATCH[package], noisy=str(noisy)))
    assert done.stdout == "10000 10\n"


def test_another_package_that_replaces_threads(english: Path, run_python: RunPython) -> None:
    code = f"""
import _thread
real = _thread.start_new_thread
def start_new_thread(*arguments):
    return real(*arguments)
start_new_thread.__module__ = "strange.threads"
_thread.start_new_thread = start_new_thread
import hardpoint
from hardpoint.contracts import Greeter
try:
    hardpoint.load({str(english)!r}, Greeter, isolated=True)
except hardpoint.LoadError as error:
    print(error)
"""
    assert run_python(code).stdout == (
        f"{english} cannot be isolated: needs the system's own threads, locks and polls, found those of strange, which "
        "replaced them; load isolated plugins in a process that strange does not patch\n"
    )
