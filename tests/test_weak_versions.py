"""Symbol versions that only weak symbols need (VER_FLG_WEAK): ld.so does without them, and so does the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge import Forge

import hardpoint
from hardpoint.cli import main
from hardpoint.contracts import Greeter

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from conftest import Compiler


def test_a_version_that_only_weak_symbols_need_is_not_required(
    compiler: Compiler, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    helper, source = tmp_path / "libweakly.so", tmp_path / "use.c"
    source.write_text(
        "int help(void) __attribute__((weak)); int use(void); int use(void) { return help ? help() : 5; }"
    )
    (tmp_path / "help.c").write_text(
        "int help(void); int help(void) { return 7; } int more(void); int more(void) { return 8; }"
    )

    def make(versions: str) -> None:
        (tmp_path / "map").write_text(versions)
        words = ["-Wl,-soname,libweakly.so", f"-Wl,--version-script={tmp_path / 'map'}", str(tmp_path / "help.c")]
        compiler.run("-shared", "-fPIC", "-o", str(helper), *words)

    make("WEAKLY_1 { global: more; }; WEAKLY_2 { global: help; local: *; };")
    words = [str(source), "-Wl,--no-as-needed", str(helper), f"-Wl,-rpath,{tmp_path}"]
    forge = Forge(compiler.library("english/english.c", *words), tmp_path / "weak.so")
    make("WEAKLY_1 { global: more; local: *; };")
    name = forge.data.index(b"WEAKLY_2\0") - forge.sections[".dynstr"]
    [at] = [
        at for at in range(0, forge.sizes[".gnu.version_r"], 16) if forge.get(".gnu.version_r", at + 8, "<I") == name
    ]
    for flags, fits in ((0, False), (2, True)):
        forge.put(".gnu.version_r", at + 4, "<H", flags)
        assert main(["check", str(forge.write())]) == (0 if fits else 1)
        assert ("problem version-missing" in capsys.readouterr().out) != fits
    assert hardpoint.load(forge.target, Greeter).lang() == "English"


def test_a_version_of_glibc_that_only_weak_symbols_need_is_not_the_oldest(
    english: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forge = Forge(english, tmp_path / "weak.so")
    for at in range(16, forge.sizes[".gnu.version_r"], 16):  # one library, then its versions
        forge.put(".gnu.version_r", at + 4, "<H", 2)
    assert main(["inspect", "--json", str(forge.write())]) == 0
    assert '"oldest_glibc": null' in capsys.readouterr().out
