"""Isolation in programs that embed Python: a small one in C, and uWSGI, which forks as well."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import sysconfig
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import BINDINGS
from processes import eventually, gone, zygotes_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Compiler, RunPython

LIBPYTHON = next(
    (
        path
        for folder in (sysconfig.get_config_var("LIBDIR"), f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}")
        if (path := Path(folder or "", sysconfig.get_config_var("INSTSONAME") or "none")).suffix != ".a"
        and path.exists()
    ),
    None,
)
LOAD = """
import os, sys
import hardpoint
from hardpoint.contracts import Greeter
plugin = hardpoint.load({library!r}, Greeter, isolated=True)
print(repr(sys.executable), plugin.greet("you"), *hardpoint.info(plugin).isolation.workers)
"""


@pytest.mark.skipif(LIBPYTHON is None, reason="this Python has no shared library, and a program can embed none")
def test_a_program_that_embeds_python(compiler: Compiler, english: Path, tmp_path: Path) -> None:
    """It has no Python that could be run, and uses Python on a thread that ends before the process does."""
    program = tmp_path / "embed"
    compiler.run("-o", str(program), str(Path(__file__).parent / "plugins" / "embed.c"), "-pthread", "-ldl")
    env = {"PATH": "/nonexistent", "PYTHONHOME": sys.base_prefix, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    words = [str(program), str(LIBPYTHON), LOAD.format(library=str(english))]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    executable, _, rest = done.stdout.partition(" ")
    assert executable == "''"
    assert rest.startswith("Hello, you! Nice to meet you. ")
    assert gone(int(rest.split()[-1]))


APPLICATION = """
import os
import hardpoint
from hardpoint.contracts import Greeter
plugin = hardpoint.load({library!r}, Greeter, isolated=True, binding={binding!r}) if {early} else None
def application(environment, start):
    global plugin
    start("200 OK", [])
    try:
        said = plugin.greet("early") if plugin else ""
    except hardpoint.ClosedError as error:
        said = str(error)
        plugin = None
    plugin = plugin or hardpoint.load({library!r}, Greeter, isolated=True)
    said += "\\n" + plugin.greet("you") + "\\n" + str(os.getpid())
    return [said.encode()]
"""


@contextmanager
def uwsgi(folder: Path, application: str, *options: str) -> Iterator[tuple[int, Path]]:
    """Run uWSGI with two processes; yield its pid, and the socket where it serves HTTP."""
    (folder / "application.py").write_text(application)
    served = folder / "http"
    words = [
        "--http-socket",
        str(served),
        "--master",
        "--workers",
        "2",
        "--die-on-term",
        "--wsgi-file",
        "application.py",
    ]
    with (folder / "log").open("w") as log:
        command = [sys.executable, "-c", "import pyuwsgi; pyuwsgi.run()", *words, *options]
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        loads = 2 if "--lazy-apps" in options else 1  # to end it meanwhile takes a minute
        assert eventually(lambda: (folder / "log").read_text().count("WSGI app 0 ") == loads)
        yield process.pid, served
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.wait()
        sys.stdout.write((folder / "log").read_text())


def get(served: Path) -> list[str]:
    connection = http.client.HTTPConnection("localhost", timeout=30)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(30)
    connection.sock.connect(str(served))
    connection.request("GET", "/")
    return connection.getresponse().read().decode().split("\n")


@pytest.mark.parametrize(
    ("options", "early", "binding"),
    [
        ((), True, None),
        pytest.param((), True, "cffi", marks=pytest.mark.long),
        pytest.param((), False, None, marks=pytest.mark.long),
        pytest.param(("--enable-threads",), True, None, marks=pytest.mark.long),
        pytest.param(("--enable-threads",), False, None, marks=pytest.mark.long),
        pytest.param(("--lazy-apps",), True, None, marks=pytest.mark.long),
        pytest.param(("--lazy-apps", "--enable-threads", "--threads", "4"), True, None, marks=pytest.mark.long),
        pytest.param(("--py-call-osafterfork",), True, None, marks=pytest.mark.long),
    ],
)
def test_uwsgi(english: Path, tmp_path: Path, options: tuple[str, ...], early: bool, binding: str | None) -> None:
    """Its processes are forked after the application was loaded, and Python does not always hear of it."""
    application = APPLICATION.format(library=str(english), early=early, binding=binding)
    with uwsgi(tmp_path, application, *options) as (master, served):
        answers = [get(served) for _ in range(6)]
        hosts = {pid for *_, pid in answers}
        zygotes = [int(zygote) for host in {*hosts, str(master)} for zygote in zygotes_of(host)]
    first = answers[0][0]
    if early and "--lazy-apps" not in options:
        assert first == "greet cannot be called: english was loaded before this process was forked; load it again here"
    else:
        assert first in {"", "Hello, early! Nice to meet you."}
    assert {greeting for _, greeting, _ in answers} == {"Hello, you! Nice to meet you."}
    assert len(zygotes) == len(hosts) + (early and "--lazy-apps" not in options)
    assert gone(*zygotes)


@pytest.mark.parametrize("binding", BINDINGS)
def test_a_fork_that_python_does_not_hear_of(english: Path, run_python: RunPython, binding: str) -> None:
    code = f"""
import ctypes, gc, os, sys
import hardpoint
from hardpoint.contracts import Greeter
plugin = hardpoint.load({str(english)!r}, Greeter, isolated=True, binding={binding!r})
greet = plugin.greet
workers = hardpoint.info(plugin).isolation.workers
child = ctypes.PyDLL(None).fork()
if child == 0:
    try:
        greet("you")
    except hardpoint.ClosedError as error:
        print(error, flush=True)
    del greet, plugin
    gc.collect()
    mine = hardpoint.load({str(english)!r}, Greeter, isolated=True, binding={binding!r})
    print(mine.greet("child"), flush=True)
    os._exit(0)
print(os.waitpid(child, 0)[1], greet("parent"), workers == hardpoint.info(plugin).isolation.workers)
"""
    assert run_python(code).stdout.splitlines() == [
        "greet cannot be called: english was loaded before this process was forked; load it again here",
        "Hello, child! Nice to meet you.",
        "0 Hello, parent! Nice to meet you. True",
    ]
