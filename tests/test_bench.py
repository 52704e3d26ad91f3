"""`hardpoint bench`: measuring, tables, comparisons, and messages for a plugin that fails or crashes."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from conftest import SUPPORT
from probe import Probe

import hardpoint.binding
from hardpoint.benchmark.process import Process
from hardpoint.benchmark.workload import ROWS, Case, Workload
from hardpoint.binding import default
from hardpoint.cli import main
from hardpoint.definition.decorators import contract_of

if TYPE_CHECKING:
    from conftest import Compiler

QUICK = ("--quick", "--rounds", "1")
NAMES = [row.name for row in ROWS if default() == "native" or row.binding != "native"]
TESTS = {"PYTHONPATH": str(SUPPORT)}


class Run(Protocol):
    def __call__(self, *words: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture
def bench(tmp_path: Path) -> Run:
    """Run the command with the shortest measurements."""

    def run(*words: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "hardpoint", "bench", *QUICK, *map(str, words)], capture_output=True, text=True,
            check=False, cwd=tmp_path, env={**os.environ, **(env or {})}, timeout=120,
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def probe(compiler: Compiler) -> Path:
    compiler.header(Probe)
    return compiler.library("probe.c", "-pthread")


def greeter(compiler: Compiler, name: str, greet: str, lang: str = 'return hp_puts(out, "x");') -> Path:
    code = f"""
        #include <signal.h>
        #include <stdlib.h>
        #include "greeter.h"
        static hp_status greet(void *self, const char *name, size_t name_len, hp_out *out) {{
            (void)self; (void)name; (void)name_len; (void)out; {greet}
        }}
        static hp_status lang(void *self, hp_out *out) {{ (void)self; (void)out; {lang} }}
        GREETER_PLUGIN("{name}", "1.0.0", .greet = greet, .lang = lang);
    """
    return compiler.text(name, code)


# -- measuring ---------------------------------------------------------------------------------------------------------


def test_one_call(bench: Run, english: Path) -> None:
    done = bench(english, "greet", "World", env={"PYTHONDONTWRITEBYTECODE": "1"})
    first, _, title, header, *lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert first.startswith(f"{english}: hardpoint {hardpoint.__version__}, CPython ")
    assert first.endswith("; median of 1 process a row, 3 values each")
    assert title == "greet('World') -> 31 characters"
    assert header.split() == ["a", "call", "spread", *(["x", "floor", "x", "native"] if "native" in NAMES else [])]
    assert [line.split()[0] for line in lines[: len(NAMES)]] == NAMES
    assert "start-up, beyond Python's own and typing\n" in done.stdout
    assert "\n\nPYTHONDONTWRITEBYTECODE is set: modules may have been compiled at each import.\n" in done.stdout
    assert done.stderr == "hardpoint: trying every call once\nhardpoint: round 1 of 1\n"


def test_everything_as_json(bench: Run, english: Path) -> None:
    done = bench(english, "--payload", "1,1k", "--threads", "2,1", "--json", "-")
    result = json.loads(done.stdout)
    assert done.returncode == 0
    assert [(case["call"], case["payload"], case["result"]["length"]) for case in result["cases"]] == [
        ("greet('a')", 1, 27),
        ("greet(str of 1 KiB)", 1024, 1050),
        ("lang()", None, 7),
    ]
    for case in result["cases"]:
        assert list(case["rows"]) == NAMES
        assert all([len(each) for each in values] == [3] for values in (*case["rows"].values(), case["control"]))
        assert all(value > 0 for values in case["rows"].values() for value in values[0])
        assert list(case["threads"]) == ["2", "1"]
        assert set(case["threads"]["2"]) == set(NAMES) - {"floor"}
    assert {name: len(times["load"]) for name, times in result["start"].items()} == {
        name: 1 for name in NAMES if name not in {"floor", "python"}
    }
    assert (result["file"], result["failed"], len(result["sha256"])) == (str(english), [], 64)


def test_every_kind_of_argument_and_a_config(bench: Run, probe: Path, tmp_path: Path) -> None:
    words = ["--config", "hello", "--contract", "probe:Probe", "--json", "result.json"]
    done = bench(probe, "mixed", *words, "1", "2.5", "c", "yes", "e", "f", "0.5", "8", env=TESTS)
    [case] = json.loads((tmp_path / "result.json").read_text())["cases"]
    assert (done.returncode, case["call"]) == (0, "mixed(1, 2.5, 'c', True, b'e', b'f', 0.5, 8)")
    assert "mixed(1, 2.5, 'c', True, b'e', b'f', 0.5, 8) -> 19 characters\n" in done.stdout
    assert "config() -> 5 characters\n" in bench(probe, "config", "--config", "hello").stdout
    assert "flip(bytes of 1 MiB) -> None\n" in bench(probe, "flip", "x", "--payload", "1m").stdout
    assert "fill(bytes of 1 KiB, 7) -> int\n" in bench(probe, "fill", "x", "7", "--payload", "1k").stdout
    assert "unnamed(4, 2) -> int\n" in bench(probe, "unnamed", "4", "2").stdout


def test_a_plugin_that_is_older_than_its_contract(bench: Run, english: Path, tmp_path: Path) -> None:
    """Methods that it does not have are not measured."""
    (tmp_path / "newer.py").write_text("""
from typing import Protocol
import hardpoint

@hardpoint.contract("greeter", version="1.1")
class Greeter(Protocol):
    def greet(self, name: str) -> str: ...
    def lang(self) -> str: ...
    @hardpoint.since("1.1")
    def bow(self) -> str: ...
""")
    done = bench(english, "--contract", "newer:Greeter", "--json", "-")
    assert done.returncode == 0
    assert [case["call"] for case in json.loads(done.stdout)["cases"]] == ["greet('World')", "lang()"]


RESULTS = [
    ("text", ("World",), "Hello, World!"),
    ("text", ("World",), "World"),
    ("text", ("left {right}",), "'\"\\{}"),
    ("raw", (b"ab",), b"cd\0"),
    ("add", (1, 2), 3),
    ("half", (1.0,), float("inf")),
    ("negate", (True,), False),
    ("flip", (b"ab",), None),
    ("unnamed", (1, 2), -1),
    ("config", (), ""),
]


@pytest.mark.parametrize(("name", "values", "result"), RESULTS, ids=repr)
def test_the_python_method_returns_what_the_plugin_returns(name: str, values: tuple[Any, ...], result: object) -> None:
    """And it takes the same arguments, by position."""
    from hardpoint.benchmark.worker import _imitation

    method = next(method for method in contract_of(Probe).methods if method.name == name)
    made = _imitation(Case(0, method, values), result)
    found = getattr(made, name)(*values)
    assert (found, type(found)) == (result, type(result))
    with pytest.raises(TypeError, match="positional argument"):
        getattr(made, name)(*values, 1)
    if any(parameter.positional_only for parameter in method.parameters):
        with pytest.raises(TypeError, match="positional-only"):
            getattr(made, name)(left=1, right=2)


def test_without_the_native_binding(
    capsys: pytest.CaptureFixture[str], english: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "hardpoint.binding._native", None)
    monkeypatch.delitem(sys.modules, "hardpoint.binding.native", raising=False)
    monkeypatch.delattr(hardpoint.binding, "_native", raising=False)
    assert main(["bench", *QUICK, str(english), "lang"]) == 0
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines()[4:7]] == ["python", "cffi", "ctypes"]
    assert "x floor" not in shown
    assert "\n\nno floor and no native: it was not built when hardpoint was installed" in shown


def test_output_of_a_plugin_is_not_a_result(bench: Run, compiler: Compiler) -> None:
    path = greeter(compiler, "noisy", 'printf("noise\\n"); fprintf(stderr, "noise\\n"); return hp_puts(out, "x");')
    done = bench(path, "greet", "World", "--json", "-")
    assert [case["call"] for case in json.loads(done.stdout)["cases"]] == ["greet('World')"]
    assert "noise" not in done.stderr


# -- failures ----------------------------------------------------------------------------------------------------------


def test_a_call_that_fails(bench: Run, probe: Path) -> None:
    done = bench(probe, "fail", "300", "no luck")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[1:] == [
        f"hardpoint: fail(300, 'no luck') is not measured: {probe}: fail failed with status 300 (its own): no luck"
    ]


def test_a_call_that_crashes_leaves_the_others(bench: Run, compiler: Compiler) -> None:
    path = greeter(compiler, "crashes", 'fprintf(stderr, "last words\\n"); raise(SIGSEGV); return 0;')
    done = bench(path)
    assert done.returncode == 1
    assert "lang() -> 1 character\n" in done.stdout
    assert "greet(" not in done.stdout
    assert done.stderr.splitlines()[-1] == (
        f"hardpoint: greet('World') is not measured: {path}: the process that measures {default()} was killed by SIGSEGV "
        f"while greet('World') was being called through {default()}; it last wrote: last words"
    )


@pytest.mark.parametrize(
    ("how", "said"), [("raise(SIGKILL)", "was killed by SIGKILL"), ("exit(7)", "ended with status 7")]
)
def test_a_process_that_dies_later(bench: Run, compiler: Compiler, how: str, said: str) -> None:
    code = f"static int calls; if (++calls > 100) {how}; return hp_puts(out, name);"
    path = greeter(compiler, f"late_{how[:4]}", code)
    done = bench(path)
    assert (done.returncode, done.stdout) == (1, "")
    # Without the extensions, the rows that call the plugin are those of cffi and ctypes.
    assert done.stderr.splitlines()[-1] in {
        f"hardpoint: {path}: the process that measures {row} {said} while greet('World') was being called through {through}"
        for row, through in (("floor", "native"), ("cffi", "cffi"), ("ctypes", "ctypes"))
    }


def test_a_call_that_fails_later(bench: Run, compiler: Compiler) -> None:
    path = greeter(
        compiler, "tires", 'static int n; return ++n > 100 ? hp_fail(out, 300, "tired") : hp_puts(out, "x");'
    )
    done = bench(path, "greet", "x")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == f"hardpoint: {path}: greet failed with status 300 (its own): tired"


def test_a_create_that_fails(bench: Run, probe: Path, english: Path) -> None:
    done = bench(probe, "config", "--config", "refuse")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].endswith("create failed with status 2 (HP_INVALID): the config says refuse")
    assert "english takes no config" in bench(english, "--config", "x").stderr


def test_a_library_that_dies_when_it_is_loaded(bench: Run, compiler: Compiler) -> None:
    path = greeter(
        compiler,
        "stillborn",
        'return hp_puts(out, "x"); } __attribute__((constructor)) static void die(void) { abort();',
    )
    done = bench(path)
    assert done.returncode == 1
    assert f"the process that measures {default()} was killed by SIGABRT while it was being loaded" in done.stderr


WRONG: list[tuple[list[str], int, str]] = [
    (["ENGLISH", "sing"], 2, "has no method 'sing'; it has greet(name: str) -> str, lang() -> str"),
    (["ENGLISH", "greet"], 2, "greet(name: str) -> str takes 1 argument, and 0 were given"),
    (["PROBE", "add", "99999999999999999999", "1"], 2, "add() argument 'left' does not fit in 64 bits with sign"),
    (["ENGLISH", "--payload", "1,1x"], 2, "sizes are bytes up to 1g, such as 1,1k,1m, not '1,1x'"),
    (["ENGLISH", "--payload", "2g"], 2, "sizes are bytes up to 1g, such as 1,1k,1m, not '2g'"),
    (["ENGLISH", "--threads", "0"], 2, "a count is a number from 1 to 256, not '0'"),
    (["ENGLISH", "--rounds", "many"], 2, "a count is a number from 1 to 256, not 'many'"),
    (["ENGLISH", "--plot", "x.gif"], 2, "a plot's file ends in .svg or .png, not 'x.gif'"),
    (["ENGLISH", "--plot", "no/such/x.svg"], 2, "no/such/x.svg cannot be written: No such file or directory; name a file in an existing folder that you can write to"),
    (["ENGLISH", "--json", "."], 2, ". cannot be written: Is a directory; name a file in an existing folder that you can write to"),
    (["ENGLISH", "--compare", "gone.json"], 1, "gone.json cannot be read as a result of hardpoint bench --json: [Errno 2]"),
    (["gone.so"], 3, "gone.so: there is no such file; check the path, or build the plugin"),
    ([__file__, "lang"], 4, "is not a plugin: needs a shared object (.so)"),
    (["ENGLISH", "--contract", "hardpoint.contracts:Transformer", "transform", "x"], 4, "a plugin for transformer 1.0"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "status", "message"), WRONG, ids=[" ".join(case[0][1:]) or "gone" for case in WRONG])
def test_invalid_arguments(bench: Run, english: Path, probe: Path, words: list[str], status: int, message: str) -> None:
    known = {"ENGLISH": english, "PROBE": probe}
    done = bench(*(known.get(word, word) for word in words))
    assert (done.returncode, done.stdout) == (status, "")
    assert message in done.stderr
    assert "round 1" not in done.stderr


def test_an_invalid_result_is_not_compared(bench: Run, english: Path, tmp_path: Path) -> None:
    for text, said in {"{oops": "Expecting property name", '{"format": 9}': "found 9;", "[]": "found none;"}.items():
        (tmp_path / "old.json").write_text(text)
        done = bench(english, "--compare", "old.json")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("hardpoint: old.json ")
        assert said in done.stderr


def test_ctrl_c_ends_it_and_its_processes(english: Path) -> None:
    words = [sys.executable, "-m", "hardpoint", "bench", str(english), "--rounds", "100"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any("round 2" in line for line in iter(process.stderr.readline, ""))
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=30)
    assert (process.returncode, printed, errors) == (130, "", "")
    deadline = time.monotonic() + 30  # a process that was just starting ends when it reads the end of the pipe
    while left := [child for child in children if Path("/proc", child).exists()]:
        assert time.monotonic() < deadline, left
        time.sleep(0.01)


def test_a_process_that_does_not_end_is_ended(compiler: Compiler) -> None:
    """Its destructor hangs; the parent does not wait for long."""
    path = greeter(
        compiler,
        "hangs",
        'return hp_puts(out, "x"); } __attribute__((destructor)) static void hang(void) { for (;;) raise(0);',
    )
    from hardpoint.contracts import Greeter

    contract = contract_of(Greeter)
    workload = Workload(str(path), (contract,), (Case(0, contract.methods[1], ()),))
    [row] = [row for row in ROWS if row.name == "ctypes"]
    with Process(row, workload) as process:
        process.load()
        assert process.ask("call", 0) == "x"
    assert process._process.returncode == -signal.SIGKILL


# -- output, from fixed results ----------------------------------------------------------------------------------------


def case(call: str = "greet('x')", control: float = 10.0, **rows: float) -> dict[str, Any]:
    """A case with constant values in each row."""
    return {
        "method": "greet", "text": "greet(name: str) -> str", "call": call, "payload": None,
        "result": {"kind": "str", "length": 3},
        "rows": {name: [[value] * 4, [value] * 4] for name, value in rows.items()},
        "control": [[control] * 4, [control] * 4], "threads": {},
    }  # fmt: skip


def result(*cases: dict[str, Any], **more: Any) -> dict[str, Any]:
    machine = {"python": "CPython 3.11.7", "machine": "x86_64", "processor": "Some CPU", "cores": 2, "load": 0.5,
               "libc": "glibc 2.36", "bytecode": True}  # fmt: skip
    settings = {"rounds": 2, "values": 4, "seconds": 0.02, "threads": []}
    return {"format": 1, "hardpoint": "0.1.0", "when": "now", "machine": machine, "settings": settings, "file": "e.so",
            "sha256": "", "missing": {}, "failed": [], "start": {}, "cases": list(cases), **more}  # fmt: skip


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str], english: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The output of bench for a given measurement, compared with a second one by --compare."""

    def show(now: dict[str, Any], old: dict[str, Any] | None = None, *words: str) -> str:
        monkeypatch.setattr("hardpoint.cli.bench.measure", lambda *_: now)
        if old:
            (tmp_path / "old.json").write_text(json.dumps(old))
            words = (*words, "--compare", str(tmp_path / "old.json"))
        assert main(["bench", str(english), *words]) == 0
        return capsys.readouterr().out

    return show


def test_the_table(shown: Any) -> None:
    now = result(case(floor=5, python=60.04, native=50, cffi=4321, ctypes=9.9996e5))
    now["cases"][0]["threads"] = {
        "1": {"python": [1e6, 1e6], "native": [2e7, 2e7], "cffi": [999, 999], "ctypes": [2e3, 2e3]},
        "2": {"python": [1e6, 1e6], "native": [4e7, 4e7], "cffi": [999, 999], "ctypes": [1e3, 3e3]},
    }
    now["start"] = {"native": {"import": [6e6], "load": [1.5e6]}}
    assert (
        shown(now)
        == """\
e.so: hardpoint 0.1.0, CPython 3.11.7, glibc 2.36, Some CPU (x86_64), 2 cores; median of 2 processes a row, 4 values each

greet('x') -> 3 characters
           a call  spread  x floor  x native
  floor   5.00 ns   ±0.0%     1.00      0.10
  python  60.0 ns   ±0.0%     12.0      1.20
  native  50.0 ns   ±0.0%     10.0      1.00
  cffi    4.32 µs   ±0.0%      864      86.4
  ctypes  1.00 ms   ±0.0%   199992     19999

greet('x'), calls a second of threads together
          1 thread  2 threads  x 1 thread
  python  1.00 M/s   1.00 M/s        1.00
  native  20.0 M/s   40.0 M/s        2.00
  cffi      999 /s     999 /s        1.00
  ctypes  2.00 k/s   2.00 k/s       ~1.00

start-up, beyond Python's own and typing
           import  spread  first load  spread
  native  6.00 ms   ±0.0%     1.50 ms   ±0.0%
"""
    )


def test_a_machine_that_is_too_noisy_to_tell(shown: Any) -> None:
    """Slowing all rows leaves ratios unchanged; slowing one does not."""
    now = result(case(floor=5, python=60, native=50))
    for name, factors in {"floor": [1, 2, 1, 2], "native": [1, 2, 1, 2], "python": [1, 1, 2, 2]}.items():
        value = now["cases"][0]["rows"][name][0][0]
        now["cases"][0]["rows"][name] = [[value * factor for factor in factors]] * 2
    printed = shown(now)
    lines = {line.split()[0]: line.split()[1:] for line in printed.splitlines() if line.startswith("  ")}
    assert lines["native"] == ["75.0", "ns", "±33%", "10.0", "1.00"]
    assert lines["python"] == ["90.0", "ns", "±33%", "~12.0", "~1.20"]
    assert (
        "the machine was too noisy to tell the cost of: floor of greet('x') (±33%), python of greet('x') (±33%), "
        "native of greet('x') (±33%)." in printed
    )


def test_changes_beyond_the_noise(shown: Any) -> None:
    """The machine is 20 % slower now, and so are all unchanged rows."""
    old = result(case(floor=5, python=60, native=50, cffi=4000))
    now = result(case(control=12, floor=6, python=73, native=40, ctypes=4000))
    old["cases"][0]["rows"]["floor"] = [[5, 5, 5, 5], [4, 4, 6, 6]]
    printed = shown(now, old)
    _, _, compared = printed.partition("greet('x'), compared\n")
    assert (
        compared
        == """\
           before      now  change
  floor   5.00 ns  6.00 ns   +0.0%  as before
  python  60.0 ns  73.0 ns   +1.4%  as before
  native  50.0 ns  40.0 ns  -33.3%     faster
  cffi    4.00 µs                        gone
  ctypes           4.00 µs           only now

the machine itself is 20% slower now, by work that is the same in both; the changes are relative to that.
"""
    )


def test_a_change_that_noise_could_be(shown: Any) -> None:
    old, now = result(case(python=60, native=50)), result(case(python=90, native=100))
    old["cases"][0]["rows"]["python"] = [[40, 60, 80, 100], [40, 60, 80, 100]]
    lines = shown(now, old).splitlines()
    assert [line.split()[-1] for line in lines if line.startswith("  native")][-1] == "slower"
    assert [line for line in lines if line.startswith("  python")][-1].endswith("too noisy to tell")


def test_results_that_have_little_in_common(shown: Any) -> None:
    old = result(case("greet('y')", native=50))
    old["machine"]["python"] = "CPython 3.14.0"
    printed = shown(result(case(native=50)), old)
    assert "\n\nmeasured with CPython 3.14.0 before, and with CPython 3.11.7 now.\n" in printed
    assert "\n\nthe results have no call in common: nothing can be compared.\n" in printed
    assert ", compared" not in printed


# -- a terminal and a picture ------------------------------------------------------------------------------------------


def in_a_terminal(code: str, *words: str) -> str:
    """The output on a terminal, stdout and stderr together."""
    main_end, other = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen([sys.executable, "-c", code, *words], stdout=other, stderr=other, env=environment) as process:
        os.close(other)
        seen = b""
        while True:
            try:
                seen += os.read(main_end, 4096)
            except OSError:  # EIO: the other end is closed
                break
    os.close(main_end)
    assert process.returncode == 0
    return seen.decode()


@pytest.mark.parametrize("rich", [True, False], ids=["rich", "without rich"])
def test_in_a_terminal(english: Path, rich: bool) -> None:
    bar = "" if rich else "sys.modules['rich'] = None;"
    seen = in_a_terminal(
        f"import sys; {bar} from hardpoint.cli import main; sys.exit(main())", "bench", *QUICK, str(english), "lang"
    )
    assert "\r\x1b[Kround 1 of 1 lang()" in seen
    assert "lang() -> 7 characters" in seen
    assert ("━" in seen or "─" in seen) == rich
    assert all(name in seen for name in NAMES)


@pytest.fixture
def measured() -> dict[str, Any]:
    cases = [case(f"greet(str of {size})", floor=5, python=60 + size, native=50 + size) for size in (1, 1024)]
    for each, size in zip(cases, (1, 1024), strict=True):
        each["payload"] = size
        each["threads"] = {"1": {"native": [1e6, 2e6]}, "2": {"native": [2e6, 2e6]}}
    other = case("lang() of $money$", floor=5, python=60, native=50, a_row_of_later=70)
    return result(*cases, {**other, "text": "lang() -> str"})


def test_a_plot(shown: Any, measured: dict[str, Any], tmp_path: Path) -> None:
    shown(measured, None, "--plot", str(tmp_path / "x.png"))
    shown(measured, None, "--plot", str(tmp_path / "x.svg"))
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    drawn = ET.parse(tmp_path / "x.svg").getroot()
    axes = [each.get("id") for each in drawn.iter("{http://www.w3.org/2000/svg}g") if "axes_" in (each.get("id") or "")]
    assert axes == ["axes_1", "axes_2", "axes_3", "axes_4"]  # the single call, the sizes, two cases in threads


@pytest.mark.parametrize("threaded", [1, 2, 3])
def test_a_plot_has_one_legend_and_no_empty_cell(
    shown: Any, measured: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threaded: int
) -> None:
    from matplotlib.figure import Figure

    measured["cases"][2]["threads"] = measured["cases"][0]["threads"]
    for each in measured["cases"][threaded:]:
        each["threads"] = {}
    drawn: list[Any] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    shown(measured, None, "--plot", str(tmp_path / "x.svg"))
    [figure] = drawn
    [legend] = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["floor", "native", "in proportion", "python (only puts the same result together)"]
    assert not any(axis.get_legend() for axis in figure.axes)
    cells = [(row, column) for axis in figure.axes for row, column in _cells(axis)]
    assert len(cells) == len(set(cells)) == 2 * (1 + max(row for row, _ in cells))
    dots, sizes = figure.axes[:2]
    names = [label.get_text() for label in dots.get_yticklabels()]
    assert names == ["floor", "native", "python"]  # behind the others, with a gap
    assert dots.get_yticks()[2] - dots.get_yticks()[1] > dots.get_yticks()[1] - dots.get_yticks()[0]
    styles = {line.get_label(): (line.get_linestyle(), line.get_markerfacecolor()) for line in sizes.get_lines()}
    assert styles["python"] == ("--", "white")
    assert styles["native"][0] == "-"


def _cells(axis: Any) -> list[tuple[int, int]]:
    """The cells of the grid that a panel covers."""
    place = axis.get_subplotspec()
    return [(row, column) for row in place.rowspan for column in place.colspan]


def test_a_plot_without_matplotlib(
    english: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["bench", *QUICK, str(english), "--plot", "x.svg"]) == 1
    assert capsys.readouterr().err == (
        "hardpoint: a plot needs matplotlib, which is not installed; pip install 'hardpoint[plot]'\n"
    )
