"""hardpoint new: each new project builds, passes its tests and makes a wheel; a refusal leaves no files behind."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from typing import TYPE_CHECKING, Protocol

import pytest
from conftest import SUPPORT
from languages import BESIDE

import hardpoint
from hardpoint.authoring.scaffold import LANGUAGES
from hardpoint.contracts import Greeter

if TYPE_CHECKING:
    from pathlib import Path

CONTRACTS = {"greeter": None, "transformer": None, "kinds:Kinds": "kinds.py", "probe:Probe": "probe.py"}
COMPILERS = {"c": ("cc", "gcc", "clang"), "cpp": ("c++", "g++", "clang++")}
SOURCES = {"c": "own.c", "cpp": "own.cpp"}


class Run(Protocol):
    def __call__(self, *words: str, folder: str = ".", check: bool = False) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a command in an empty folder, or in one below it; `make` uses this Python and its packages."""
    env = {**os.environ, **BESIDE, "PYTHON": sys.executable}

    def command(*words: str, folder: str = ".", check: bool = False) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            words, cwd=tmp_path / folder, env=env, capture_output=True, text=True, check=False, timeout=300
        )
        assert "Traceback" not in done.stderr
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    return command


class New(Protocol):
    def __call__(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture
def new(run: Run) -> New:
    def command(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return run(sys.executable, "-m", "hardpoint", "new", *words, check=check)

    return command


def change(path: Path, old: str, new: str) -> None:
    """Replace a text that has to occur exactly once."""
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def need(lang: str) -> None:
    for tool in ("make", "cmake"):
        if shutil.which(tool, path=BESIDE["PATH"]) is None:
            pytest.skip(f"there is no {tool}")
    if not any(map(shutil.which, COMPILERS[lang])):
        pytest.skip(f"there is no compiler for {lang}")


@pytest.mark.parametrize("contract", CONTRACTS)
@pytest.mark.parametrize("lang", COMPILERS)
def test_it_builds_and_passes_its_tests_at_once(run: Run, new: New, tmp_path: Path, lang: str, contract: str) -> None:
    need(lang)
    if module := CONTRACTS[contract]:
        shutil.copy(SUPPORT / module, tmp_path)
    said = new("own", "--contract", contract, "--lang", lang).stdout
    assert said.startswith(f"own: a plugin for {contract.partition(':')[0]} ")
    made = run("make", folder="own", check=True)
    assert (made.stderr, "build/own.so: fits" in made.stdout) == ("", True)
    library = tmp_path / "own/build/own.so"
    before = library.stat()
    methods = (tmp_path / "own" / SOURCES[lang]).read_text().count("TODO") - 1  # the first line is about all targets
    assert f" {methods + 1} passed " in run("make", "test", folder="own", check=True).stdout
    assert (library.stat().st_ino, library.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)  # not rebuilt
    checked = run(sys.executable, "-m", "hardpoint", "check", "build/own.so", folder="own", check=True)
    assert re.fullmatch(r"build/own\.so: fits \w+ \d\.\d \(own 0\.1\.0\)\n", checked.stdout)


def test_make_fails_as_often_as_it_does_not_fit(run: Run, new: New, tmp_path: Path) -> None:
    need("c")
    new("own", "--contract", "greeter")
    source = tmp_path / "own/own.c"
    source.write_text(re.sub(r",\s+\.lang = own_lang", "", source.read_text()))
    for _ in range(2):
        assert "problem slot-empty\n" in run("make", folder="own").stdout


def left(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if "__pycache__" not in path.parts)


@pytest.mark.parametrize("lang", COMPILERS)
def test_the_wheel_has_the_library_and_is_found(run: Run, new: New, tmp_path: Path, lang: str) -> None:
    need(lang)
    new("low-german", "--contract", "greeter", "--lang", lang)
    before = left(tmp_path / "low-german")
    run("make", "wheel", folder="low-german", check=True)
    [wheel] = (tmp_path / "low-german/dist").iterdir()
    machine = os.uname().machine
    assert wheel.name == f"low_german-0.1.0-py3-none-linux_{machine}.whl"
    files = zipfile.ZipFile(wheel)
    assert [name for name in files.namelist() if ".dist-info/" not in name] == [
        "hardpoint_plugins/low-german/low-german.so"
    ]
    text = files.read("low_german-0.1.0.dist-info/WHEEL").decode()
    assert "Root-Is-Purelib: false\n" in text
    where = tmp_path / "site"
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(where), str(wheel),
        check=True)  # fmt: skip
    code = (
        f"import sys; sys.path.append({str(where)!r})\nimport hardpoint\n"
        "print(*(plugin.path for plugin in hardpoint.Registry.discover() if plugin.name == 'low-german'))"
    )
    library = where / "hardpoint_plugins/low-german/low-german.so"
    assert run(sys.executable, "-c", code, check=True).stdout == f"{library}\n"
    with hardpoint.loaded(library, Greeter) as plugin:
        assert hardpoint.info(plugin).manifest.plugin == "low-german"
    run("make", "clean", folder="low-german", check=True)
    assert left(tmp_path / "low-german") == before


def test_an_sdist_builds_too(run: Run, new: New, tmp_path: Path) -> None:
    need("c")
    shutil.copy(SUPPORT / "kinds.py", tmp_path)
    new("own", "--contract", "kinds:Kinds")
    code = "from scikit_build_core.build import build_sdist; build_sdist('dist')"
    run(sys.executable, "-c", code, folder="own", check=True)
    subprocess.run(["tar", "-xf", "own/dist/own-0.1.0.tar.gz"], cwd=tmp_path, check=True)
    assert not list((tmp_path / "own-0.1.0").rglob("*.so"))
    run("make", "test", folder="own-0.1.0", check=True)


BROKEN = {  # what older compilers only warn of
    "a parameter is missing": ("size_t name_len, hp_out *out", "hp_out *out"),
    "no declaration": ('hp_puts(out, "")', "hp_puts_all(out)"),
    "no result": ('return hp_puts(out, "");', ""),
}


@pytest.mark.parametrize("mistake", BROKEN)
def test_a_mistake_does_not_build(run: Run, new: New, tmp_path: Path, mistake: str) -> None:
    need("c")
    new("moin", "--contract", "greeter", "--folder", "my plugin")
    source = tmp_path / "my plugin/moin.c"
    assert BROKEN[mistake][0] in source.read_text()
    source.write_text(source.read_text().replace("    (void)name_len;\n", "").replace(*BROKEN[mistake], 1))
    made = run("make", folder="my plugin")
    assert made.returncode != 0
    assert "error: " in made.stderr


def test_a_crash_fails_one_test(run: Run, new: New, tmp_path: Path) -> None:
    need("c")
    new("moin", "--contract", "greeter")
    source = tmp_path / "moin/moin.c"
    source.write_text(
        source.read_text().replace("return hp_puts(", "*(volatile int *)(name_len - 5) = 1;\n    return hp_puts(", 1)
    )
    done = run("make", "test", folder="moin")
    assert done.stdout.splitlines()[-1].strip("= ").startswith("1 failed, 2 passed in ")
    assert "the worker was killed by SIGSEGV in greet" in done.stdout


@pytest.mark.parametrize("lang", COMPILERS)
def test_an_editor_compiles_with_the_flags_of_the_build(run: Run, new: New, tmp_path: Path, lang: str) -> None:
    """compile_flags.txt is clangd's: a flag a line, relative to the folder."""
    need(lang)
    new("moin", "--contract", "greeter", "--lang", lang)
    flags = (tmp_path / "moin/compile_flags.txt").read_text().split("\n")[:-1]
    compiler = next(filter(None, map(shutil.which, COMPILERS[lang])))
    source = SOURCES[lang].replace("own", "moin")
    assert run(compiler, *flags, "-Werror", "-fsyntax-only", source, folder="moin", check=True).stderr == ""
    cmake = (tmp_path / "moin/contract/cmake/hardpointConfig.cmake").read_text()
    mistakes = re.findall(r"-Werror=([a-z-]+)", cmake)
    if lang == "c":
        mistakes += re.findall(r"foreach\(mistake (.*)\)", cmake)[0].split()
    assert sorted(mistakes) == sorted(flag.removeprefix("-Werror=") for flag in flags if flag.startswith("-Werror="))


@pytest.mark.parametrize("lang", LANGUAGES)
def test_nothing_in_a_project_needs_a_published_hardpoint(new: New, tmp_path: Path, lang: str) -> None:
    """The wheel is built from the project's own files, since pip cannot install hardpoint by name yet."""
    new("moin", "--contract", "greeter", "--lang", lang)
    folder = tmp_path / "moin"
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    assert project["build-system"]["build-backend"] == "scikit_build_core.build"
    assert not [each for each in project["build-system"]["requires"] if "hardpoint" in each]
    for path in ("CMakeLists.txt", ".github/workflows/wheels.yml"):
        words = re.sub(r"#.*", "", (folder / path).read_text())
        assert not re.search(r"-m hardpoint|(COMMAND|run:)\s+hardpoint|pip install (?!ziglang)", words), path
    installs = re.findall(r"pip install [^`\n]*", (folder / "README.md").read_text())
    assert [each for each in installs if "ziglang" not in each] == ["pip install pytest PATH", "pip install dist/*.whl"]


def test_the_workflow_is_cibuildwheels(new: New, tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    for lang in LANGUAGES:
        new(f"moin-{lang}", "--contract", "greeter", "--lang", lang)
        folder = tmp_path / f"moin-{lang}"
        job = yaml.safe_load((folder / ".github/workflows/wheels.yml").read_text())["jobs"]["wheels"]
        assert [step["uses"].partition("@")[0] for step in job["steps"]] == [
            "actions/checkout", "pypa/cibuildwheel", "actions/upload-artifact"
        ]  # fmt: skip
        options = tomllib.loads((folder / "pyproject.toml").read_text())["tool"]["cibuildwheel"]
        assert options["build"] == "cp313-manylinux_*"  # one wheel for every Python; musl has no host
        assert ("before-all" in options) == (lang in {"rust", "go"})


def test_make_knows_which_methods_came_later(run: Run, new: New, tmp_path: Path) -> None:
    """With a manifest of 2.3, a forgotten required slot looks like one of a @since method; the class can tell."""
    need("c")
    shutil.copy(SUPPORT / "kinds.py", tmp_path)
    new("own", "--contract", "kinds:Kinds")
    source = tmp_path / "own/own.c"
    source.write_text(re.sub(r"    \.\w+ = own_\w+,\n", "", source.read_text(), count=1))
    assert "problem slot-empty\n" in run("make", folder="own").stdout


def test_the_header_follows_the_contract(run: Run, new: New, tmp_path: Path) -> None:
    need("c")
    shutil.copy(SUPPORT / "kinds.py", tmp_path)
    new("own", "--contract", "kinds:Kinds")
    run("make", folder="own", check=True)
    contract = tmp_path / "own/contract/kinds.py"
    change(contract, 'version="2.3"', 'version="2.4"')
    later = (tmp_path / "own/contract/kinds.h").stat().st_mtime + 10
    os.utime(contract, (later, later))
    assert "build/own.so: fits kinds 2.4 (own 0.1.0)\n" in run("make", folder="own", check=True).stdout
    assert "The contract kinds 2.4" in (tmp_path / "own/contract/kinds.h").read_text()


def test_a_plugin_may_be_called_as_its_contracts_module(run: Run, new: New, tmp_path: Path) -> None:
    """kinds.so beside kinds.py would be imported instead of it, but it is in build/."""
    need("c")
    shutil.copy(SUPPORT / "kinds.py", tmp_path)
    new("kinds", "--contract", "kinds:Kinds")
    run("make", "test", folder="kinds", check=True)
    words = [sys.executable, "-m", "hardpoint", "check", "kinds.so", "--contract", "kinds:Kinds"]
    done = run(*words, folder="kinds/build")
    assert done.returncode == 2
    assert "Python takes the library " in done.stderr
    assert "kinds.so for that module; give the library another name or folder\n" in done.stderr


def test_make_test_fails_when_release_and_version_differ(run: Run, new: New, tmp_path: Path) -> None:
    need("c")
    new("moin", "--contract", "greeter")
    change(tmp_path / "moin/pyproject.toml", '"0.1.0"', '"0.2.0"')
    done = run("make", "test", folder="moin")
    assert done.returncode != 0
    assert "FAILED tests/test_moin.py::test_the_release_is_the_wheels" in done.stdout


def test_the_folder_can_be_another_or_an_empty_one(new: New, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    new("moin", "--contract", "greeter", "--folder", "empty")
    assert (tmp_path / "empty/moin.c").exists()
    new("moin", "--contract", "greeter", "--folder", str(tmp_path / "other"))
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "other").stat().st_mode & 0o777 == 0o777 & ~mask


NAMES = {
    "Moin": "a plugin's name is like 'english': a lower-case letter, then",
    "9lives": "a plugin's name is like 'english': a lower-case letter, then",
    "a/b": "a plugin's name is like 'english': a lower-case letter, then",
    "a" * 65: "a plugin's name is like 'english': a lower-case letter, then",
    "": "a plugin's name is like 'english': a lower-case letter, then",
    "moin-": "'moin-' would be the wheel's name too, which must end in a letter or a digit",
    "json": "Python would import json.so as its own module 'json' in that folder; choose another name",
}


@pytest.mark.parametrize(("name", "sentence"), NAMES.items())
def test_invalid_names(new: New, tmp_path: Path, name: str, sentence: str) -> None:
    done = new(name, "--contract", "greeter", check=False)
    assert done.returncode == 2
    assert f"argument NAME: {sentence}" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["hp", "hardpoint", "self", "write", "fn", "int"])
@pytest.mark.parametrize("lang", COMPILERS)
def test_names_that_are_keywords_in_the_language(run: Run, new: New, tmp_path: Path, lang: str, name: str) -> None:
    """The contract has methods named fail, as in hp_fail, and Self."""
    need(lang)
    shutil.copy(SUPPORT / "kinds.py", tmp_path)
    new(name, "--contract", "kinds:Kinds", "--lang", lang)
    assert f"build/{name}.so: fits kinds 2.3 ({name} 0.1.0)\n" in run("make", folder=name, check=True).stdout


REFUSED = {
    "scorer": "a contract is greeter, transformer, or MODULE:CLASS such as scorer:Scorer",
    "nowhere:Nothing": "nowhere:Nothing cannot be imported: no module named nowhere in this folder or installed; add its folder to PYTHONPATH",
    "broken:Broken": "broken:Broken cannot be imported: importing broken raised SyntaxError: invalid syntax",
}


@pytest.mark.parametrize(("contract", "sentence"), REFUSED.items(), ids=REFUSED)
def test_invalid_contracts(new: New, tmp_path: Path, contract: str, sentence: str) -> None:
    (tmp_path / "broken.py").write_text("class:\n")
    done = new("moin", "--contract", contract, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith(f"hardpoint: {sentence}")
    assert not (tmp_path / "moin").exists()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "__pycache__")


def test_a_folder_with_something_in_it_is_left_alone(new: New, tmp_path: Path) -> None:
    (tmp_path / "moin").mkdir()
    (tmp_path / "moin/mine").write_text("mine")
    done = new("moin", "--contract", "greeter", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"hardpoint: {tmp_path}/moin is not empty; choose another with --folder\n"
    done = new("moin", "--contract", "greeter", "--folder", "moin/mine", check=False)
    assert done.stderr == f"hardpoint: {tmp_path}/moin/mine is a file; choose another with --folder\n"
    done = new("moin", "--contract", "greeter", "--folder", "no/such", check=False)
    assert (
        done.stderr
        == f"hardpoint: {tmp_path}/no/such: the folder {tmp_path}/no does not exist; make it or name another with --folder\n"
    )
    assert (names(tmp_path), names(tmp_path / "moin")) == (["moin"], ["mine"])


@pytest.mark.parametrize(
    ("lang", "says"),
    [
        ("zig", "zig is missing: pip install ziglang"),
        ("rust", "cargo is missing: see https://rustup.rs"),
        ("go", "go is missing: apt-get install golang-go"),
    ],
)
def test_make_says_what_to_install(run: Run, new: New, tmp_path: Path, lang: str, says: str) -> None:
    if shutil.which("cmake") is None or (make := shutil.which("make")) is None:
        pytest.skip("there is no cmake or make")
    new("own", "--contract", "greeter", "--lang", lang)
    tool = says.partition(" ")[0].upper()
    done = run("cmake", "-S", "own", "-B", "build", f"-D{tool}={tool}-NOTFOUND", f"-DCMAKE_MAKE_PROGRAM={make}",
               "-DCMAKE_FIND_USE_CMAKE_PATH=OFF",
               "-DCMAKE_FIND_USE_SYSTEM_ENVIRONMENT_PATH=OFF", "-DCMAKE_FIND_USE_CMAKE_SYSTEM_PATH=OFF")  # fmt: skip
    assert done.returncode
    assert says in done.stderr


def test_a_folder_that_cannot_be_made(new: New, tmp_path: Path) -> None:
    done = new("own", "--contract", "greeter", "--folder", "/proc/nope", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr == "hardpoint: /proc/nope cannot be made: No such file or directory; name another with --folder\n"
    )


def test_a_contract_that_cannot_be_copied_leaves_nothing(new: New, tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("VERSION = '2.3'\n")
    text = (SUPPORT / "kinds.py").read_text()
    (tmp_path / "kinds.py").write_text(f"import beside\n{text}")
    done = new("moin", "--contract", "kinds:Kinds", check=False)
    assert done.stderr == (
        f"hardpoint: {tmp_path}/kinds.py cannot be imported on its own, as the project would have to; put the contract into "
        "a file that imports nothing beside it\n"
    )
    assert names(tmp_path) == ["beside.py", "kinds.py"]
    (tmp_path / "package").mkdir()
    (tmp_path / "package/kinds.py").write_text(text)
    done = new("moin", "--contract", "package.kinds:Kinds", check=False)
    assert (done.returncode, names(tmp_path)) == (1, ["beside.py", "kinds.py", "package"])
    assert done.stderr == (
        "hardpoint: package.kinds:Kinds is in a package that is not installed, and only a module of one file can be copied "
        "into the project; install the package (pip install -e), or put the contract into a file of its own\n"
    )
