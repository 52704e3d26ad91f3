"""Plugins that were built with a sanitizer: the advice for their hosts works as it is given."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from conftest import ROOT

import hardpoint
from hardpoint.contracts import Greeter

if TYPE_CHECKING:
    from pathlib import Path

OVERFLOW = """
#include "greeter.h"
#include <stdlib.h>
static hp_status greet(void *self, const char *name, size_t name_len, hp_out *out) {
    char *copy = malloc(name_len);
    (void)self;
    memcpy(copy, name, name_len);
    copy[name_len - (name[0] != '!')] = 0; /* line 8 */
    hp_status status = hp_puts(out, copy);
    free(copy);
    return status;
}
static hp_status lang(void *self, hp_out *out) { (void)self; return hp_puts(out, "C"); }
GREETER_PLUGIN("overflow", "1.0.0", .greet = greet, .lang = lang);
"""
THROWS = """
#include "greeter.h"
#include "hardpoint.hpp"
struct Throws {
    std::string greet(std::string_view name) const { throw std::runtime_error("boom: " + std::string(name)); }
    std::string_view lang() const { return "C++"; }
};
using plugin = hp::Plugin<Throws>;
GREETER_PLUGIN("throws", "1.0.0", p.create = plugin::create, p.destroy = plugin::destroy,
               p.greet = plugin::method<&Throws::greet>, p.lang = plugin::method<&Throws::lang>);
"""
HOST = """
import sys, hardpoint
from hardpoint.contracts import Greeter
plugin = hardpoint.load(sys.argv[1], Greeter, isolated=eval(sys.argv[2]))
try:
    print(plugin.lang(), plugin.greet("!"))
except hardpoint.HardpointError as error:
    print(error)
"""


def build(folder: Path, name: str, source: str) -> Path:
    compiler = "g++" if name.endswith(".cpp") else "gcc"
    if shutil.which(compiler) is None:
        pytest.skip(f"there is no {compiler}")
    (folder / name).write_text(source)
    words = ["-g", "-O1", "-fPIC", "-shared", "-fsanitize=address", f"-I{ROOT / 'contract'}"]
    subprocess.run([compiler, *words, name, "-o", f"{name}.so"], cwd=folder, check=True)
    return folder / f"{name}.so"


def advised(library: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a shell, with the words of the advice before it."""
    with pytest.raises(hardpoint.IncompatibleError) as caught:
        hardpoint.load(library, Greeter)
    [problem] = caught.value.problems
    assert problem.code == "sanitizer"
    advice = problem.fix.removeprefix("start the host with ").removesuffix(", or build it without -fsanitize")
    script = f'{advice} exec "$@"'
    return subprocess.run(
        ["sh", "-c", script, "sh", sys.executable, *words], capture_output=True, text=True, check=False, timeout=120
    )


ISOLATED = [
    pytest.param("False", marks=pytest.mark.long),
    "True",
    pytest.param("hardpoint.Isolation(sandbox=False)", marks=pytest.mark.long),
]


@pytest.mark.parametrize("way", ISOLATED, ids=["here", "isolated", "unconfined"])
def test_the_advice_works(tmp_path: Path, way: str) -> None:
    library = build(tmp_path, "overflow.c", OVERFLOW)
    done = advised(library, "-c", HOST, str(library), way)
    quoted = done.stderr if way == "False" else done.stdout
    # In the sandbox, the sanitizer cannot read which line an address is.
    where = "(overflow.c.so+0x" if way == "True" else "overflow.c:8 in greet"
    summary = f"SUMMARY: AddressSanitizer: heap-buffer-overflow {where}"
    assert summary in quoted.replace(f"{tmp_path}/", "")
    assert done.returncode == (1 if way == "False" else 0)
    fine = advised(library, "-c", HOST.replace("!", "World"), str(library), way)
    assert (fine.returncode, fine.stdout, fine.stderr) == (0, "C Worl\n", "")


@pytest.mark.long
@pytest.mark.parametrize("way", ISOLATED, ids=["here", "isolated", "unconfined"])
def test_the_advice_works_for_exceptions(tmp_path: Path, way: str) -> None:
    """The sanitizer looks up the function that throws when it starts, so the C++ library has to be there by then."""
    library = build(tmp_path, "throws.cpp", THROWS)
    done = advised(library, "-c", HOST, str(library), way)
    assert (done.returncode, done.stderr) == (0, "")
    assert "greet failed with status 1 (HP_FAILED): boom: !" in done.stdout


def test_the_kit_quotes_the_start_of_the_report(tmp_path: Path) -> None:
    library = build(tmp_path, "overflow.c", OVERFLOW.replace("'!'", "'T'"))
    done = advised(library, "-m", "hardpoint", "test", str(library), "--only", "calls.tiny", "--only", "calls.huge")
    text = done.stdout.replace(f"{tmp_path}/", "")
    quoted = [line.removeprefix("    | ") for line in text.splitlines() if line.startswith("    | ")]
    assert "ERROR: AddressSanitizer: heap-buffer-overflow" in quoted[1]
    assert quoted[3].endswith(" in greet overflow.c:8")
    assert quoted[-2] == "SUMMARY: AddressSanitizer: heap-buffer-overflow overflow.c:8 in greet"
    assert not any(word in text for word in ("libffi", "Py", "python", "Shadow"))
