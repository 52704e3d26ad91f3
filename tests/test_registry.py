"""Loading by name: which plugin is chosen, the error if there is none, and Python plugins beside native ones."""

# ruff: noqa: ARG002, ARG003, ARG004 - methods that are looked at and not called

from __future__ import annotations

import functools
import os
import shutil
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from conftest import how
from probe import Probe

import hardpoint
from hardpoint.contracts import Greeter, Transformer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Compiler, RunPython, Way

pytestmark = pytest.mark.usefixtures("alone")


@pytest.fixture
def plugin(compiler: Compiler) -> Callable[..., Path]:
    """Compile a greeter of that name into a file of its own."""

    def make(target: Path, name: str = "english", release: str = "1.0.0", *words: str) -> Path:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(compiler.library("broken.c", f'-DPLUGIN="{name}"', f'-DRELEASE="{release}"', *words), target)
        return target

    return make


@pytest.fixture
def folder(compiler: Compiler, tmp_path: Path) -> Path:
    """The plugins that ./build.sh makes."""
    made = tmp_path / "plugins"
    made.mkdir()
    for name in ("english", "spanish", "uppercase", "reverse"):
        shutil.copy(compiler.library(f"{name}/{name}.c"), made)
    return made


class Shout:
    """A transformer in Python."""

    def transform(self, text: str) -> str:
        return text.upper() + "!"


def releases(registry: hardpoint.Registry) -> list[tuple[str | None, str]]:
    return [(found.release, found.status) for found in registry]


# -- by name -----------------------------------------------------------------------------------------------------------


def test_load_by_name(folder: Path, way: Way) -> None:
    registry = hardpoint.Registry([folder])
    english = registry.load("english", Greeter, **how(way))
    assert english.greet("World") == "Hello, World! Nice to meet you."
    assert hardpoint.info(english).path == str(folder / "english.so")
    hardpoint.close(english)


def test_the_fields_of_each_plugin(folder: Path) -> None:
    found = next(iter(hardpoint.Registry([folder])))
    assert (found.name, found.contract, found.version, found.release, found.status, found.problems) == (
        "english", "greeter", "1.0", "1.0.0", "fits", (),
    )  # fmt: skip
    assert found.manifest is not None
    assert found.manifest.methods == ("greet(name: str) -> str", "lang() -> str")
    assert (found.path, found.place.folder, found.place.origin) == (f"{folder}/english.so", str(folder), "given")
    assert repr(found) == f"<english 1.0.0 of {folder}/english.so>"
    registry = hardpoint.Registry([folder])
    assert (len(registry), repr(registry)) == (4, "<registry of 4 plugins in 1 place>")


def test_the_options_of_load(compiler: Compiler, tmp_path: Path) -> None:
    compiler.header(Probe)
    shutil.copy(compiler.library("probe.c", "-pthread"), tmp_path)
    probe = hardpoint.Registry([tmp_path]).load("probe", Probe, config="hello", binding="ctypes")
    assert (probe.config(), hardpoint.info(probe).binding) == ("hello", "ctypes")


def test_a_relative_place_outlives_a_change_of_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    registry = hardpoint.Registry(["plugins"])
    monkeypatch.chdir("/")
    assert hardpoint.info(registry.load("spanish", Greeter)).path == "plugins/spanish.so"


def test_loading_a_plugin_that_does_not_fit_raises_the_reason(tmp_path: Path, plugin: Callable[..., Path]) -> None:
    path = plugin(tmp_path / "english.so", "english", "1.0.0", "-DGREET=NULL", "-DFLAGS=UINT64_C(1)<<40")
    registry = hardpoint.Registry([tmp_path])
    [found] = registry
    assert (found.status, [problem.code for problem in found.problems]) == (
        "does not fit",
        ["vtable-flags", "slot-empty"],
    )
    with pytest.raises(hardpoint.IncompatibleError) as caught:
        registry.load("english", Greeter)
    assert (caught.value.path, caught.value.problems) == (str(path), found.problems)


def test_a_first_match_that_does_not_fit_is_not_skipped(tmp_path: Path, plugin: Callable[..., Path]) -> None:
    plugin(tmp_path / "a/english.so", "english", "1.0.0", "-DGREET=NULL")
    plugin(tmp_path / "b/english.so")
    registry = hardpoint.Registry([tmp_path / "a", tmp_path / "b"])
    assert releases(registry) == [("1.0.0", "does not fit"), ("1.0.0", "shadowed")]
    with pytest.raises(hardpoint.IncompatibleError, match="an empty slot"):
        registry.load("english", Greeter)


def test_a_file_replaced_after_discovery_is_stale(folder: Path) -> None:
    registry = hardpoint.Registry([folder])
    shutil.copy(folder / "spanish.so", folder / "new")
    os.replace(folder / "new", folder / "english.so")
    sentence = f"{folder}/english.so was replaced or rewritten after it was found; make a new registry"
    with pytest.raises(hardpoint.StaleError) as caught:
        registry.load("english", Greeter)
    assert (str(caught.value), caught.value.path) == (sentence, f"{folder}/english.so")
    assert next(iter(registry)).status == "does not fit"


@pytest.mark.parametrize("isolated", [False, True], ids=["", "isolated"])
def test_a_file_that_cannot_be_opened_any_more_is_named_as_it_was_given(
    folder: Path, isolated: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    registry, path = hardpoint.Registry(["plugins"]), "plugins/english.so"
    monkeypatch.chdir("/")
    (folder / "english.so").unlink()
    with pytest.raises(hardpoint.PluginNotFoundError) as gone:
        registry.load("english", Greeter, isolated=isolated)
    assert (str(gone.value), gone.value.path) == (f"{path} was removed after it was found; make a new registry", path)
    (folder / "english.so").mkdir()
    with pytest.raises(hardpoint.NotAPluginError, match=rf"^{path} is not a plugin: .*, found a directory") as other:
        registry.load("english", Greeter, isolated=isolated)
    assert other.value.path == path


def test_two_majors_are_two_plugins(compiler: Compiler, tmp_path: Path) -> None:
    shutil.copy(compiler.library("broken.c", '-DPLUGIN="english"', '-DVERSION="2.0"'), tmp_path / "two.so")
    shutil.copy(compiler.library("broken.c", '-DPLUGIN="english"'), tmp_path / "one.so")
    registry = hardpoint.Registry([tmp_path])
    assert [(found.version, found.shadowed_by) for found in registry] == [("1.0", None), ("2.0", None)]
    assert hardpoint.info(registry.load("english", Greeter)).path == str(tmp_path / "one.so")


# -- selection ---------------------------------------------------------------------------------------------------------


def test_within_a_place_the_newest_release_wins(tmp_path: Path, plugin: Callable[..., Path]) -> None:
    for number, release in enumerate(["1.9", "1.10", "nightly", "1.10rc1", "1.10"]):
        plugin(tmp_path / f"{number}.so", "english", release)
    registry = hardpoint.Registry([tmp_path])
    first = next(found for found in registry if found.shadowed_by is None)
    assert first.path == f"{tmp_path}/1.so"  # of two alike, the first by file name
    assert [found.release for found in first.shadows] == ["1.10", "1.10rc1", "1.9", "nightly"]
    assert [found.path for found in registry] == [f"{tmp_path}/{number}.so" for number in range(5)]


def test_before_that_the_first_place_wins(tmp_path: Path, plugin: Callable[..., Path]) -> None:
    plugin(tmp_path / "a/english.so", "english", "1.0")
    plugin(tmp_path / "b/english.so", "english", "2.0")
    registry = hardpoint.Registry([tmp_path / "a", tmp_path / "b"])
    assert releases(registry) == [("1.0", "fits"), ("2.0", "shadowed")]
    assert hardpoint.info(registry.load("english", Greeter)).manifest.release == "1.0"


CHOICES = {
    ">=1.2,<2": "1.5",  # the newest of the first place, though the second has 1.9
    "==1.2": "1.2",
    "~=1.5": "1.5",
    ">=2": "2.0",  # of the second place; not 2.1rc1
    ">=2.1rc1": "2.1rc1",  # named by the specifier
    "<1": "0.9b1",  # nothing else satisfies
    "!=1.5,<2": "1.2",
    "": "1.5",
}


@pytest.mark.parametrize("release", CHOICES)
def test_a_release_that_satisfies(tmp_path: Path, plugin: Callable[..., Path], release: str) -> None:
    for place, there in {"a": ["1.2", "1.5", "nightly"], "b": ["1.9", "2.0", "2.1rc1", "0.9b1"]}.items():
        for each in there:
            plugin(tmp_path / place / f"english-{each}.so", "english", each)
    registry = hardpoint.Registry([tmp_path / "a", tmp_path / "b"])
    english = registry.load("english", Greeter, release=release, binding="cffi")
    assert hardpoint.info(english).manifest.release == CHOICES[release]


def test_no_release_that_satisfies(tmp_path: Path, plugin: Callable[..., Path]) -> None:
    plugin(tmp_path / "1.so", "english", "1.0")
    plugin(tmp_path / "n.so", "english", "nightly")
    registry = hardpoint.Registry([tmp_path])
    with pytest.raises(hardpoint.PluginNotFoundError) as caught:
        registry.load("english", Greeter, release=">=2")
    assert str(caught.value) == (
        "no release of english for greeter 1.0 satisfies '>=2'; available:\n"
        f"  1.0: {tmp_path}/1.so\n"
        f"  nightly: {tmp_path}/n.so"
    )


def test_a_release_that_is_not_a_version_loads_only_without_a_specifier(
    tmp_path: Path, plugin: Callable[..., Path]
) -> None:
    plugin(tmp_path / "english.so", "english", "nightly")
    registry = hardpoint.Registry([tmp_path])
    assert hardpoint.info(registry.load("english", Greeter)).manifest.release == "nightly"
    with pytest.raises(hardpoint.PluginNotFoundError):
        registry.load("english", Greeter, release=">=0")


def test_an_invalid_specifier(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"^release is a specifier such as '>=1\.2,<2', not 'newest'$"):
        hardpoint.Registry([folder]).load("english", Greeter, release="newest")
    number: Any = 1.2
    with pytest.raises(TypeError, match=r"^release is a specifier such as '>=1\.2,<2', not 1\.2$"):
        hardpoint.Registry([folder]).load("english", Greeter, release=number)


@pytest.mark.parametrize("wrong", [None, 3, [], b"english"], ids=repr)
def test_a_name_that_is_not_a_str(folder: Path, wrong: Any) -> None:
    registry = hardpoint.Registry([folder])
    for act in (lambda: registry.load(wrong, Greeter), lambda: registry.add(wrong, Transformer, Shout)):
        with pytest.raises(TypeError) as caught:
            act()
        assert str(caught.value) == f"name is a plugin's name such as 'english', not {wrong!r}"


# -- folders that are not there ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("gone", "no such folder; check the path"),
        ("file", "a file, not a folder; check the path"),
        ("~/plugins", "no such folder; check the path; only a shell expands ~, so write /home/me/plugins"),
    ],
)
def test_a_folder_that_is_named_and_not_there_is_said(
    name: str, why: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    (tmp_path / "file").touch()
    with pytest.warns(hardpoint.HardpointWarning) as caught:
        registry = hardpoint.Registry([name, folder])
    [warning] = caught
    assert str(warning.message) == f"{name} was not searched for plugins: {why}"
    assert (warning.message.path, warning.filename) == (name, __file__)  # type: ignore[union-attr]
    assert registry.load("english", Greeter).lang() == "English"
    monkeypatch.setenv("HARDPOINT_PATH", f"{name}:{folder}")
    with pytest.warns(hardpoint.HardpointWarning) as caught:
        hardpoint.Registry.discover()
    assert str(caught[0].message) == f"{name} of $HARDPOINT_PATH was not searched for plugins: {why}"
    assert caught[0].filename == __file__


@pytest.mark.usefixtures("alone")
def test_usual_folders_need_not_be_there() -> None:
    assert not list(hardpoint.Registry.discover())  # and warnings are errors


# -- unknown names -----------------------------------------------------------------------------------------------------


def test_an_unknown_name(folder: Path, tmp_path: Path) -> None:
    (folder / "bad.so").touch()
    with pytest.warns(hardpoint.HardpointWarning, match="gone was not searched"):
        registry = hardpoint.Registry([folder, tmp_path / "gone", tmp_path])
    with pytest.raises(hardpoint.PluginNotFoundError) as caught:
        registry.load("englsh", Greeter)
    assert (caught.value.plugin, caught.value.path) == ("englsh", None)
    assert str(caught.value) == (
        "no plugin named 'englsh' for greeter 1.0 found; did you mean english?\n"
        "  available: english, spanish\n"
        f"  searched {folder}: 4 plugins, 1 other file\n"
        f"  searched {tmp_path}/gone: no such folder\n"
        f"  searched {tmp_path}: 0 plugins"
    )


def test_a_name_that_another_contract_has(folder: Path) -> None:
    with pytest.raises(hardpoint.PluginNotFoundError) as caught:
        hardpoint.Registry([folder]).load("english", Transformer)
    assert str(caught.value) == (
        "no plugin named 'english' for transformer 1.0 found\n"
        f"  english for greeter 1.0: {folder}/english.so\n"
        "  available: reverse, uppercase\n"
        f"  searched {folder}: 4 plugins"
    )


def test_every_usual_place_is_named() -> None:
    with pytest.raises(hardpoint.PluginNotFoundError) as caught:
        hardpoint.Registry.discover().load("english", Greeter)
    lines = str(caught.value).splitlines()
    assert lines[0] == "no plugin named 'english' for greeter 1.0 found"
    assert f"  searched {os.environ['HOME']}/.local/share/hardpoint/plugins: no such folder" in lines
    assert len(lines) >= 5


def test_the_name_of_a_bad_file_gives_its_own_error(tmp_path: Path, compiler: Compiler, english: Path) -> None:
    (tmp_path / "short.so").write_bytes(english.read_bytes()[:5000])
    shutil.copy(compiler.library("broken.c", '-DNOTE="{oops"'), tmp_path / "malformed.so")
    registry = hardpoint.Registry([tmp_path])
    with pytest.raises(hardpoint.NotAPluginError) as caught:
        registry.load("short", Greeter)
    assert str(caught.value).startswith(
        f"{tmp_path}/short.so is not a plugin: needs a complete file, found 5000 bytes, "
    )
    with pytest.raises(hardpoint.IncompatibleError) as refused:
        registry.load("malformed", Greeter)
    assert str(refused.value).startswith(f"{tmp_path}/malformed.so has a malformed manifest: needs ")
    assert [problem.code for problem in refused.value.problems] == ["manifest-malformed"]


def test_a_class_that_is_not_a_contract(folder: Path) -> None:
    with pytest.raises(TypeError, match="is not a contract"):
        hardpoint.Registry([folder]).load("english", Shout)


# -- all of them -------------------------------------------------------------------------------------------------------


def test_load_all_collects_failures(folder: Path, compiler: Compiler, plugin: Callable[..., Path], way: Way) -> None:
    plugin(folder / "z/english.so")  # shadowed
    plugin(folder / "empty.so", "empty", "1.0.0", "-DGREET=NULL")
    (folder / "text.so").write_text("text")
    shutil.copy(compiler.text("dependency", "int get(void); int get(void) { return 1; }"), folder / "dependency.so")
    plugins = hardpoint.Registry([folder]).load_all(Greeter, **how(way))
    assert {name: each.lang() for name, each in plugins.items()} == {"english": "English", "spanish": "Español"}
    assert list(plugins.failed) == ["empty", f"{folder}/text.so"]
    assert type(plugins.failed["empty"]) is hardpoint.IncompatibleError
    assert type(plugins.failed[f"{folder}/text.so"]) is hardpoint.NotAPluginError
    for each in plugins.values():
        hardpoint.close(each)


def test_load_all_collects_files_deleted_after_discovery(folder: Path) -> None:
    registry = hardpoint.Registry([folder])
    (folder / "english.so").unlink()
    plugins = registry.load_all(Greeter)
    assert (list(plugins), list(plugins.failed)) == (["spanish"], ["english"])


# -- Python plugins ----------------------------------------------------------------------------------------------------


def test_an_object_and_a_class(folder: Path) -> None:
    registry = hardpoint.Registry([folder])
    shout = Shout()
    registry.add("shout", Transformer, shout)
    registry.add("loud", Transformer, Shout)
    assert registry.load("shout", Transformer) is shout
    loud = registry.load("loud", Transformer)
    assert loud.transform("hello") == "HELLO!"
    assert registry.load("loud", Transformer) is not loud
    assert list(registry.load_all(Transformer)) == ["shout", "loud", "reverse", "uppercase"]
    first = next(iter(registry))
    assert (first.name, first.contract, first.version, first.path, first.release) == (
        "shout", "transformer", "1.0", None, None,
    )  # fmt: skip
    assert (first.status, first.problems, first.place.origin) == ("fits", (), "added")


def test_it_comes_before_every_file(folder: Path) -> None:
    registry = hardpoint.Registry([folder])
    registry.add("uppercase", Transformer, Shout())
    assert registry.load("uppercase", Transformer).transform("a") == "A!"
    [shadowed] = [found for found in registry if found.status == "shadowed"]
    assert (shadowed.path, shadowed.shadowed_by) == (f"{folder}/uppercase.so", next(iter(registry)))
    native = registry.load("uppercase", Transformer, release=">=1")  # the Python plugin has no release
    assert native.transform("a") == "A"


def test_a_class_that_takes_a_config() -> None:
    class Tagged(Shout):
        def __init__(self, config: str = "none") -> None:
            self.tag = config

        def transform(self, text: str) -> str:
            return f"{self.tag}: {text}"

    registry = hardpoint.Registry()
    registry.add("tagged", Transformer, Tagged)
    registry.add("object", Transformer, Tagged())
    registry.add("shout", Transformer, Shout)
    assert registry.load("tagged", Transformer).transform("x") == "none: x"
    assert registry.load("tagged", Transformer, config="some").transform("x") == "some: x"
    with pytest.raises(hardpoint.CreateError, match="object takes no config, since it was added as an object"):
        registry.load("object", Transformer, config="some")
    with pytest.raises(
        hardpoint.CreateError, match=r"shout cannot be created: Shout\(\) raised TypeError: Shout\(\) takes no"
    ):
        registry.load("shout", Transformer, config="some")


def test_a_class_whose_object_cannot_be_made() -> None:
    class Failing(Shout):
        def __init__(self) -> None:
            raise RuntimeError("no luck")

    registry = hardpoint.Registry()
    registry.add("failing", Transformer, Failing)
    with pytest.raises(hardpoint.CreateError) as caught:
        registry.load("failing", Transformer)
    assert str(caught.value).startswith("failing cannot be created: ")
    assert str(caught.value).endswith("raised RuntimeError: no luck")
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert list(registry.load_all(Transformer).failed) == ["failing"]


def test_it_cannot_be_isolated() -> None:
    registry = hardpoint.Registry()
    registry.add("shout", Transformer, Shout())
    with pytest.raises(hardpoint.LoadError, match="shout is a Python plugin, which cannot be isolated; leave"):
        registry.load("shout", Transformer, isolated=True)


def test_names_that_cannot_be_added() -> None:
    registry = hardpoint.Registry()
    registry.add("shout", Transformer, Shout())
    with pytest.raises(ValueError, match=r"^shout for transformer 1 was added already: <shout of Python: "):
        registry.add("shout", Transformer, Shout)
    for name in ("", "Shout", "9", "a b", "x" * 65):
        with pytest.raises(ValueError, match="a plugin's name is like 'english'"):
            registry.add(name, Transformer, Shout())
    assert len(registry) == 1


def test_methods_that_are_not_the_contracts() -> None:
    class Wrong:
        lang = "English"

        def greet(self, who: str) -> str:
            return who

    registry = hardpoint.Registry()
    with pytest.raises(hardpoint.IncompatibleError) as caught:
        registry.add("wrong", Greeter, Wrong())
    assert str(caught.value) == (
        "wrong does not fit greeter 1.0\n"
        "  - needs the method greet(name: str) -> str, found greet(who: str) -> str, which does not accept these calls: missing a "
        "required argument: 'who'; give it the contract's parameters and result [method-differs]\n"
        "  - needs the method lang() -> str, found 'English', which is not callable; make it a method [method-missing]"
    )
    assert caught.value.path is None
    assert list(registry) == []


@hardpoint.contract("scaler", version="1.0")
class Scaler(Protocol):
    def scale(self, by: float, text: str) -> int: ...


class Fitting:
    """Every way to write Scaler's method that accepts its calls."""

    def plain(self, by, text):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
        return 1

    def same(self, by: float, text: str) -> int:
        return 1

    def wider(self, by: object, text: str | None, more: int = 0) -> bool:
        return True

    def anything(self, *args: Any, **kwargs: Any) -> Any:
        return 1

    def unknown(self, by: "Gone", text: "Gone") -> "Gone":  # type: ignore[name-defined]  # noqa: F821, UP037  # pyright: ignore[reportUndefinedVariable]
        return 1

    @staticmethod
    def static(by: float, text: str) -> int:
        return 1

    @classmethod
    def of_the_class(cls, by: float, text: str) -> int:
        return 1

    @functools.lru_cache  # noqa: B019
    def wrapped(self, by: float, text: str) -> int:
        return 1


class Refused:
    """Every way to write it that does not, each with its error."""

    def fewer(self, by: float) -> int:
        """, which does not accept these calls: too many positional arguments"""
        return 1

    def more(self, by: float, text: str, other: int) -> int:
        """, which does not accept these calls: missing a required argument: 'other'"""
        return 1

    def renamed(self, by: float, word: str) -> int:
        """, which does not accept these calls: missing a required argument: 'word'"""
        return 1

    def swapped(self, text: str, by: float) -> int:
        """, where text has the position of by"""
        return 1

    def without_names(self, by: float, text: str, /) -> int:
        """, which does not accept these calls:"""
        return 1

    def names_alone(self, *, by: float, text: str) -> int:
        """, which does not accept these calls: too many positional arguments"""
        return 1

    def other_kind(self, by: bytes, text: str) -> int:
        """, where by does not take float"""
        return 1

    def narrower(self, by: int, text: str) -> int:
        """, where by does not take float"""
        return 1

    def a_list(self, by: float, text: list[str]) -> int:
        """, where text does not take str"""
        return 1

    def other_result(self, by: float, text: str) -> str:
        """, whose result is not int"""
        return ""

    def no_result(self, by: float, text: str) -> None:
        """, whose result is not int"""

    async def waits(self, by: float, text: str) -> int:
        """an async method"""
        return 1

    def yields(self, by: float, text: str) -> Iterator[int]:
        """a generator method"""
        yield 1


def written(of: type) -> list[str]:
    return [name for name in vars(of) if not name.startswith("_")]


def scaler(of: type, name: str) -> Any:
    """Return a class with this method."""
    return type("Scaler", (), {"scale": vars(of)[name]})


@pytest.mark.parametrize("name", written(Fitting))
@pytest.mark.parametrize("is_class", [True, False], ids=["class", "object"])
def test_a_method_that_can_be_called_so(name: str, is_class: bool) -> None:
    registry, made = hardpoint.Registry(), scaler(Fitting, name)
    registry.add("made", Scaler, made if is_class else made())
    plugin = registry.load("made", Scaler)
    assert plugin.scale(1.5, "x") == plugin.scale(by=1.5, text="x") == 1


@pytest.mark.parametrize("name", written(Refused))
@pytest.mark.parametrize("is_class", [True, False], ids=["class", "object"])
def test_a_method_that_cannot(name: str, is_class: bool) -> None:
    made = scaler(Refused, name)
    with pytest.raises(hardpoint.IncompatibleError) as caught:
        hardpoint.Registry().add("made", Scaler, made if is_class else made())
    [problem] = caught.value.problems
    assert problem.needs == "the method scale(by: float, text: str) -> int"
    assert problem.code == (
        "method-kind" if problem.found in {"an async method", "a generator method"} else "method-differs"
    )
    assert (vars(Refused)[name].__doc__ or "none") in problem.found


def test_a_method_that_is_not_there_or_the_contracts_own() -> None:
    class Nothing:
        pass

    class Inherited(Scaler):
        pass

    for plugin in (Nothing, Nothing(), Inherited):
        with pytest.raises(hardpoint.IncompatibleError, match=r"needs the method scale.*, found none; write it"):
            hardpoint.Registry().add("nothing", Scaler, plugin)


def test_a_body_of_the_contract_does_for_a_method_that_came_later() -> None:
    @hardpoint.contract("grower", version="1.1")
    class Grower(Protocol):
        def old(self) -> int: ...

        @hardpoint.since("1.1")
        def later(self) -> int:
            return 7

    class Inherited(Grower):
        def old(self) -> int:
            return 1

    registry = hardpoint.Registry()
    registry.add("inherited", Grower, Inherited)
    assert registry.load("inherited", Grower).later() == 7


def test_python_plugins_alone_need_no_inspect(run_python: RunPython, folder: Path) -> None:
    code = (
        "import sys, hardpoint\nfrom hardpoint.contracts import Greeter\n"
        f"hardpoint.Registry([{str(folder)!r}]).load('english', Greeter)\n"
        "print(*sorted({'inspect', 'packaging', 'difflib', 'importlib.metadata', 'hashlib'} & set(sys.modules)))"
    )
    assert run_python(code).stdout == "\n"


def test_registry_names_are_imported_lazily(run_python: RunPython) -> None:
    code = (
        "import sys, hardpoint\nprint('hardpoint.registry.registry' in sys.modules)\n"
        "from hardpoint import *\nprint(Registry is hardpoint.Registry, Allow.__name__, FoundPlugin.__name__)\nhardpoint.Nobody"
    )
    done = run_python(code, check=False)
    assert done.stdout == "False\nTrue Allow FoundPlugin\n"
    assert done.stderr.endswith("AttributeError: module 'hardpoint' has no attribute 'Nobody'\n")
