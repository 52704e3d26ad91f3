"""hardpoint new in Rust, Zig and Go: each new project builds, passes its tests and makes a wheel."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import SUPPORT
from languages import LANGUAGES, Language, make, missing

import hardpoint
from hardpoint import conformance
from hardpoint.contracts import Greeter

if TYPE_CHECKING:
    from collections.abc import Callable

    New = Callable[..., Path]

SOURCES = {"rust": "src/lib.rs", "zig": "own.zig", "go": "src/plugin.go"}


@pytest.fixture(params=LANGUAGES)
def lang(request: pytest.FixtureRequest) -> Language:
    language: Language = request.param
    if why := missing(language):
        pytest.skip(why)
    return language


@pytest.fixture
def new(tmp_path: Path, lang: Language) -> New:
    """Create a project in the language, and return its folder."""

    def command(name: str, contract: str) -> Path:
        folder = tmp_path / "my plugins"  # whose name has a blank
        folder.mkdir()
        shutil.copy(SUPPORT / "kinds.py", folder)
        words = ["new", name, "--contract", contract, "--lang", lang]
        subprocess.run([sys.executable, "-m", "hardpoint", *words], cwd=folder, check=True, capture_output=True)
        return folder / name

    return command


@pytest.mark.parametrize("contract", ["greeter", "kinds:Kinds"])
def test_it_builds_and_passes_its_tests_at_once(new: New, lang: Language, contract: str, scratch: Path) -> None:
    folder = new("own", contract)
    assert re.search(r"^build/own\.so: fits \w+ \d\.\d \(own 0\.1\.0\)$", make(folder, scratch), re.MULTILINE)
    methods = (folder / SOURCES[lang]).read_text().count("TODO") - 1  # the first line is about all targets
    assert f" {methods + 1} passed" in make(folder, scratch, "test")
    library = folder / "build/own.so"
    before = library.stat()
    make(folder, scratch)
    assert (library.stat().st_ino, library.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)  # not rebuilt
    assert not list(folder.glob("contract/*.new"))


def test_the_readme_says_where_the_release_stands(new: New, lang: Language) -> None:
    place = {"rust": "Cargo.toml", "zig": "own.zig", "go": "src/plugin.c"}[lang]
    folder = new("own", "kinds:Kinds")
    assert f"The release stands in [{place}]({place}) and in [pyproject.toml]" in (folder / "README.md").read_text()
    assert '"0.1.0"' in (folder / place).read_text()


@pytest.mark.parametrize("lang", ["go"], indirect=True)
def test_the_readme_says_which_warning_is_expected_of_go(new: New) -> None:
    readme = (new("own", "greeter") / "README.md").read_text()
    assert "A `HardpointWarning` when the plugin is loaded is expected: Go's runtime sets handlers of signals" in readme


COPIES = {
    "rust": ["src/greeter.rs", "src/hardpoint.rs"],
    "zig": ["contract/hardpoint.h", "contract/hardpoint.zig", "contract/greeter.h"],
    "go": ["src/hardpoint.go", "contract/hardpoint.h", "contract/hardpoint.map", "contract/greeter.h"],
}


@pytest.mark.parametrize("contract", ["greeter", "kinds:Kinds"])
def test_the_readme_says_how_to_update_copied_files(new: New, lang: Language, contract: str) -> None:
    folder = new("own", contract)
    copies = [path for path in COPIES[lang] if contract == "greeter" or "greeter" not in path]
    readme = (folder / "README.md").read_text()
    commands = [line for line in readme.splitlines() if line.startswith("cp ")]
    assert [line.split()[-1] for line in commands] == copies
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for path, command in zip(copies, commands, strict=True):
        came = (folder / path).read_text()
        (folder / path).write_text("of an older hardpoint\n")
        subprocess.run(command, shell=True, cwd=folder, env=env, check=True)
        assert (folder / path).read_text() == came


def test_a_changed_contract_is_regenerated(new: New, lang: Language, scratch: Path) -> None:
    folder = new("own", "kinds:Kinds")
    module = folder / "contract/kinds.py"
    module.write_text(module.read_text().replace('version="2.3"', 'version="2.4"'))
    assert "build/own.so: fits kinds 2.4 (own 0.1.0)" in make(folder, scratch)


def test_the_wheel_has_the_library_and_no_python(new: New, scratch: Path) -> None:
    folder = new("low-german", "greeter")
    make(folder, scratch, "wheel")
    [wheel] = folder.glob("dist/*-py3-none-linux_*.whl")
    names = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    assert names == ["hardpoint_plugins/low-german/low-german.so"]


@pytest.mark.parametrize("name", ["hp", "self", "write", "fn"])
def test_names_that_are_keywords_in_the_language(new: New, name: str, scratch: Path) -> None:
    """The contract has methods named fn, go, comptime and Self."""
    assert f"{name}.so: fits kinds 2.3 ({name} 0.1.0)" in make(new(name, "kinds:Kinds"), scratch)


def test_the_conformance_kit_finds_nothing(new: New, scratch: Path) -> None:
    """test_conformance.py has the plugins in native_plugins; this one has every type."""
    said = make(new("own", "kinds:Kinds"), scratch, "check")
    assert re.search(r"^\d+ passed, \d+ skipped(, \d+ warning)?; seed", said, re.MULTILINE), said


@pytest.mark.parametrize("lang", ["go"], indirect=True)
def test_a_panic_in_go_is_a_reason_and_a_nil_pointer_a_crash(new: New, scratch: Path) -> None:
    folder = new("own", "greeter")
    source = folder / "src/plugin.go"
    greet, lang, _ = source.read_text().split('return write(out, "") // TODO')
    source.write_text(
        f'{greet}panic("at the " + text(name, name_len)){lang}return Failure{{260, *(*string)(nil)}}\n\t}})\n}}\n'
    )
    make(folder, scratch)
    with hardpoint.loaded(folder / "build/own.so", Greeter, isolated=True) as plugin:
        for _ in range(2):
            with pytest.raises(hardpoint.CallError) as failed:
                plugin.greet("disco")
            assert (failed.value.status, failed.value.text) == (1, "panicked: at the disco")
        with pytest.raises(hardpoint.CrashedError, match="SIGSEGV"):
            plugin.lang()


@pytest.mark.parametrize("lang", ["zig"], indirect=True)
def test_a_panic_in_zig_ends_the_worker_with_its_message(new: New, scratch: Path) -> None:
    folder = new("own", "greeter")
    source = folder / "own.zig"
    text = source.read_text().replace("    _ = name_len;\n", "")
    greet, lang, rest = text.split('return hardpoint.write(out, "");')
    failing = 'return hardpoint.fail(out, c.HP_AUTHOR, "{d} of {s}", .{ 3, "5" });'
    source.write_text(f'{greet}if (name_len == 5) @panic("at the disco"); {failing}{lang}{failing}{rest}')
    make(folder, scratch)
    with hardpoint.loaded(folder / "build/own.so", Greeter, isolated=True) as plugin:
        with pytest.raises(hardpoint.CrashedError, match=r"(?s)SIGABRT.*panic: at the disco"):
            plugin.greet("disco")
        with pytest.raises(hardpoint.CallError) as failed:
            plugin.lang()
        assert (failed.value.status, failed.value.text) == (256, "3 of 5")


@pytest.mark.long
@pytest.mark.parametrize("lang", ["zig"], indirect=True)
def test_long_reasons_and_records_in_zig_are_cut_at_the_end_of_a_character(new: New, scratch: Path) -> None:
    folder = new("own", "greeter")
    source = folder / "own.zig"
    euros = "\u20ac" * 400
    failing = f'return hardpoint.fail(out, c.HP_AUTHOR, "{{s}}", .{{"{euros}"}});'
    create = f"""
fn create(host: [*c]const c.hp_host, _: [*c]const u8, _: usize, _: [*c]?*anyopaque, _: [*c]c.hp_out) callconv(.c) c.hp_status {{
    hardpoint.log(host, c.HP_LOG_INFO, "{{s}}", .{{"{euros}"}});
    return c.HP_OK;
}}

comptime {{"""
    text = source.read_text().replace('return hardpoint.write(out, "");', failing).replace("\ncomptime {", create)
    source.write_text(text.replace("        .greet =", "        .create = create,\n        .greet ="))
    make(folder, scratch)
    report = conformance.run(folder / "build/own.so", Greeter, only=["log", "out.reason"])
    assert {each.name: (each.status, each.detail) for each in report.outcomes if each.status != "passed"} == {}
