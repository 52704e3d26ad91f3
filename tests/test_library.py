"""Opening a library: once and for good, exactly the checked file, and with the process state restored."""

from __future__ import annotations

import ctypes
import fcntl
import gc
import hashlib
import os
import shutil
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import hardpoint
import hardpoint.inprocess.library
from hardpoint.binding.instance import Instance
from hardpoint.contracts import Greeter, Transformer
from hardpoint.ffi.libc import ffi
from hardpoint.inprocess import process_state
from hardpoint.inprocess.loader_name import loader_name
from hardpoint.isolation.host.isolate import Isolated

if TYPE_CHECKING:
    from conftest import Binding, Compiler, Fresh, RunPython

WAYS_OUT = "restart the host to use the new one, or run the plugin isolated, in a process of its own"


def mapped(path: Path) -> bool:
    return str(path) in Path("/proc/self/maps").read_text()


@pytest.fixture(scope="session")
def spanish(compiler: Compiler) -> Path:
    return compiler.library("spanish/spanish.c")


def test_the_library_stays_loaded_when_every_object_is_gone(english: Path, fresh: Fresh) -> None:
    path = fresh(english)
    assert not mapped(path)
    plugin = hardpoint.load(path, Greeter)
    hardpoint.close(plugin)
    del plugin
    gc.collect()
    assert mapped(path)


def test_loading_again_shares_the_library_and_not_the_instance(english: Path, fresh: Fresh) -> None:
    path = fresh(english)
    first, second = hardpoint.load(path, Greeter), hardpoint.load(path, Greeter)
    lines = [line for line in Path("/proc/self/maps").read_text().splitlines() if str(path) in line and "r-xp" in line]
    assert len(lines) == 1
    hardpoint.close(first)
    assert second.lang() == "English"


@pytest.mark.parametrize("link", [os.symlink, os.link], ids=["symbolic link", "hard link"])
def test_one_file_under_two_names_is_one_library(english: Path, fresh: Fresh, link: type) -> None:
    path = fresh(english)
    link(path, path.with_name("alias.so"))
    assert hardpoint.load(path, Greeter).lang() == hardpoint.load(path.with_name("alias.so"), Greeter).lang()
    assert not mapped(path.with_name("alias.so"))


def test_a_relative_path_is_resolved_at_load(
    english: Path, spanish: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, library in {"one": english, "two": spanish}.items():
        (tmp_path / name).mkdir()
        shutil.copy(library, tmp_path / name / "greeter.so")
        monkeypatch.chdir(tmp_path / name)
        plugin = hardpoint.load("greeter.so", Greeter)
        assert plugin.lang() == {"one": "English", "two": "Español"}[name]
        assert hardpoint.info(plugin).path == "greeter.so"


def test_an_open_library_is_checked_for_each_contract_and_whenever_it_changes(english: Path, fresh: Fresh) -> None:
    path = fresh(english)
    hardpoint.load(path, Greeter)
    with pytest.raises(hardpoint.IncompatibleError, match="transformer"):
        hardpoint.load(path, Transformer)
    with open(path, "r+b") as file:
        file.write(b"broken")
    with pytest.raises(hardpoint.NotAPluginError):
        hardpoint.load(path, Greeter)


def test_a_replaced_file_keeps_running_and_is_refused_when_loaded_again(
    english: Path, spanish: Path, fresh: Fresh
) -> None:
    path = fresh(english)
    old = hardpoint.load(path, Greeter)
    fresh(spanish, "new.so").rename(path)
    assert old.lang() == "English"
    with pytest.raises(hardpoint.StaleError) as caught:
        hardpoint.load(path, Greeter)
    assert caught.value.path == str(path)
    assert "the file was replaced or rewritten after it had been loaded" in str(caught.value)
    assert WAYS_OUT in str(caught.value)
    assert old.lang() == "English"
    assert hardpoint.info(old).sha256 is None


def test_a_file_that_was_rewritten_in_place_is_refused(
    english: Path, spanish: Path, fresh: Fresh, run_python: RunPython
) -> None:
    """In a separate process: the mapped code was overwritten, and running it may crash."""
    path = fresh(english)
    code = f"""
import hardpoint, os, shutil
from hardpoint.contracts import Greeter
hardpoint.load({str(path)!r}, Greeter)
shutil.copyfile({str(spanish)!r}, {str(path)!r})
os.utime({str(path)!r}, (1, 1))
try:
    hardpoint.load({str(path)!r}, Greeter)
except hardpoint.StaleError as error:
    print(error, flush=True)
os._exit(0)
"""
    assert WAYS_OUT in run_python(code).stdout


def test_a_rewritten_file_is_refused_under_another_name_too(english: Path, fresh: Fresh) -> None:
    path = fresh(english)
    os.link(path, path.with_name("alias.so"))
    hardpoint.load(path, Greeter)
    os.utime(path, (1, 1))
    with pytest.raises(hardpoint.StaleError):
        hardpoint.load(path.with_name("alias.so"), Greeter)


OTHER_WAYS: dict[str, list[tuple[str, object]]] = {
    "device and inode": [],
    # File systems on which fstat(2) and the mapping report different numbers for one file.
    "as on overlayfs": [("os.major", lambda _: -1)],
    # No file supports this request.
    "as before Linux 6.11": [("hardpoint.inprocess.library._PROCMAP_QUERY", 0)],
    "both": [("os.major", lambda _: -1), ("hardpoint.inprocess.library._PROCMAP_QUERY", 0)],
}


@pytest.mark.parametrize("patches", OTHER_WAYS.values(), ids=OTHER_WAYS)
def test_an_older_file_that_other_code_opened_is_noticed(
    compiler: Compiler, fresh: Fresh, monkeypatch: pytest.MonkeyPatch, patches: list[tuple[str, object]]
) -> None:
    """glibc compares names, and returns the library that it has under that name, if one is opened by its path."""
    for name, instead in patches:
        monkeypatch.setattr(name, instead)
    english, spanish = (compiler.library(f"{name}/{name}.c", "-Wl,-rpath,$ORIGIN") for name in ("english", "spanish"))
    assert hardpoint.load(fresh(english), Greeter).lang() == "English"
    path = fresh(english, "other.so")
    ctypes.CDLL(str(path))
    fresh(spanish, "new.so").rename(path)
    with pytest.raises(hardpoint.StaleError, match="had opened an older file of that name"):
        hardpoint.load(path, Greeter)


def test_an_older_file_that_other_code_opened_is_not_taken_for_the_new_one(
    english: Path, spanish: Path, fresh: Fresh
) -> None:
    path = fresh(english)
    ctypes.CDLL(str(path))
    fresh(spanish, "new.so").rename(path)
    assert hardpoint.load(path, Greeter).lang() == "Español"


def test_a_library_that_other_code_opened_is_used_if_it_is_the_file(english: Path, fresh: Fresh) -> None:
    path = fresh(english)
    ctypes.CDLL(str(path))
    assert hardpoint.load(path, Greeter).lang() == "English"


def test_a_path_of_a_deleted_file_can_be_used_again_after_a_refusal(english: Path, tmp_path: Path) -> None:
    """Refused files are not remembered: inode numbers are reused at once."""
    path = tmp_path / "x.so"
    for _ in range(3):
        path.write_bytes(english.read_bytes()[:1000])
        with pytest.raises(hardpoint.NotAPluginError):
            hardpoint.load(path, Greeter)
        path.unlink()
    shutil.copy(english, path)
    assert hardpoint.load(path, Greeter).lang() == "English"


# -- pinned ------------------------------------------------------------------------------------------------------------


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_pinned_library_is_exactly_those_bytes(english: Path, spanish: Path, fresh: Fresh) -> None:
    path, digest = fresh(english), sha256(english)
    plugin = hardpoint.load(path, Greeter, sha256=digest)
    assert hardpoint.info(plugin).sha256 == digest
    assert not mapped(path)
    fresh(spanish, "new.so").rename(path)
    assert hardpoint.load(path, Greeter, sha256=sha256(spanish)).lang() == "Español"
    assert plugin.lang() == "English"


def test_another_digest_is_refused_before_anything_runs(
    compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, wanted = compiler.library("broken.c"), "ab" * 32
    monkeypatch.setenv("HARDPOINT_RAN", str(tmp_path / "ran"))
    with pytest.raises(hardpoint.IncompatibleError) as caught:
        hardpoint.load(path, Greeter, sha256=wanted)
    [problem] = caught.value.problems
    assert (problem.code, problem.needs, problem.found) == ("sha256", f"a file whose sha256 is {wanted}", sha256(path))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("digest", ["", "abc", "g" * 64, "a" * 65])
def test_an_invalid_digest(english: Path, digest: str) -> None:
    with pytest.raises(ValueError, match=f"sha256 is 64 hexadecimal digits, not {digest!r}"):
        hardpoint.load(english, Greeter, sha256=digest)
    number: Any = 12
    with pytest.raises(TypeError, match=r"^sha256 is 64 hexadecimal digits, not 12$"):
        hardpoint.load(english, Greeter, sha256=number)


def test_pinned_libraries_one_after_the_other_never_mix(compiler: Compiler) -> None:
    """glibc knows the library by its descriptor's number: reusing the number would run the old code."""
    languages = [f"Language {number}" for number in range(5)]
    source = (Path(__file__).parent.parent / "native_plugins/english/english.c").read_text()
    for number, language in enumerate(languages):
        path = compiler.text(f"pinned{number}", source.replace('"English"', f'"{language}"'))
        for _ in range(2):
            plugin = hardpoint.load(path, Greeter, sha256=sha256(path).upper())
            assert plugin.lang() == language
            hardpoint.close(plugin)
            del plugin
            gc.collect()


def test_a_pinned_librarys_copy_is_sealed_and_only_one_stays_open(compiler: Compiler) -> None:
    source = (Path(__file__).parent.parent / "native_plugins/english/english.c").read_text()
    path = compiler.text("sealed", source.replace('"English"', '"Sealed"'))

    for _ in range(3):
        assert hardpoint.load(path, Greeter, sha256=sha256(path)).lang() == "Sealed"
    with pytest.raises(hardpoint.IncompatibleError):
        hardpoint.load(path, Transformer, sha256=sha256(path))
    [copy] = [fd for fd in map(int, os.listdir("/proc/self/fd")) if _target(fd).startswith("/memfd:sealed")]
    assert fcntl.fcntl(copy, fcntl.F_GET_SEALS) & fcntl.F_SEAL_WRITE


def _target(fd: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:  # without the descriptor of the listing itself
        return ""


def test_a_pinned_library_cannot_need_its_neighbours(compiler: Compiler, fresh: Fresh, tmp_path: Path) -> None:
    (tmp_path / "helper.c").write_text("int help(void); int help(void) { return 0; }")
    compiler.run(
        "-shared",
        "-fPIC",
        "-Wl,-soname,libneighbour.so",
        "-o",
        str(tmp_path / "libneighbour.so"),
        str(tmp_path / "helper.c"),
    )
    words = ["-Wl,--no-as-needed", str(tmp_path / "libneighbour.so"), "-Wl,-rpath,$ORIGIN"]
    path = fresh(compiler.library("english/english.c", *words), "plugin.so")
    with pytest.raises(hardpoint.IncompatibleError) as caught:
        hardpoint.load(path, Greeter, sha256=sha256(path))
    [problem] = caught.value.problems
    assert (problem.code, problem.found) == ("pinned-origin", "one that needs libneighbour.so beside it")
    assert hardpoint.load(path, Greeter).lang() == "English"


# -- the live checks ---------------------------------------------------------------------------------------------------


LIVE = {
    "head.size = 56": "the vtable's size, ABI or flags changed",
    "head.abi_major = 2": "the vtable's size, ABI or flags changed",
    "flags = HP_SERIAL": "the vtable's size, ABI or flags changed",
    'head.manifest = "{}"': "the vtable's manifest is not the note's",
    "head.manifest = NULL": "the vtable's manifest is not the note's",
    "head.manifest += 1": "the vtable's manifest is not the note's",
    "head.manifest = (const char *)(uintptr_t)4096": "the vtable's manifest is not the note's",
    "greet = NULL": "the method greet is an empty slot",
    "lang = (__typeof__(SYMBOL.lang))(void (*)(void))SYMBOL.greet": "the slot of lang changed",
    "create = (__typeof__(SYMBOL.create))(void (*)(void))SYMBOL.greet": "the slot of create changed",
    "destroy = (__typeof__(SYMBOL.destroy))(void (*)(void))SYMBOL.greet": "the slot of destroy changed",
    "query = (__typeof__(SYMBOL.query))(void (*)(void))SYMBOL.greet": "the slot of query changed",
}


@pytest.mark.parametrize("change", LIVE)
def test_a_vtable_that_changes_when_it_is_loaded(compiler: Compiler, change: str) -> None:
    path = compiler.library("broken.c", "-DTYPE=greeter_v1", f"-DLIVE={change}")
    with pytest.raises(hardpoint.ContractBrokenError) as caught:
        hardpoint.load(path, Greeter)
    assert caught.value.path == str(path)
    assert f"{path}: {LIVE[change]}, which the file did not show" in str(caught.value)
    assert str(caught.value).endswith("report it to the author of broken")


def test_changed_process_state_is_restored_and_named(compiler: Compiler, run_python: RunPython) -> None:
    path = compiler.library("broken.c", "-DDISTURB_FLOATING", "-DDISTURB_REST", "-lm")
    code = f"""
import ctypes, hardpoint, locale, os, signal, sys, warnings
from hardpoint.contracts import Greeter
def state():
    return 0.1 + 0.2, ctypes.CDLL("libm.so.6").fegetround(), signal.getsignal(signal.SIGUSR1), locale.setlocale(locale.LC_ALL), os.getcwd()
warnings.simplefilter("always")
warnings.showwarning = lambda message, category, file, *_: print(category.__name__, file, message, message.path, message.changed)
before = state()
hardpoint.load({str(path)!r}, Greeter)
assert state() == before, (before, state())
os.kill(os.getpid(), signal.SIGUSR1)
"""
    done = run_python(code, check=False)
    assert done.returncode == -10, done.stderr  # SIGUSR1's default action is restored
    assert done.stdout.startswith("HardpointWarning <string> loading ")
    changed = "the floating-point mode, the handler of signal 10, the locale, the working directory of the process"
    assert f"loading {path} changed {changed}; this was put back" in done.stdout
    assert done.stdout.endswith(f" {path} {tuple(changed.removesuffix(' of the process').split(', '))}\n")


GO_NOTE = """
__asm__(".pushsection .note.go.buildid, \\"a\\", @note\\n .balign 4\\n .long 4, 4, 4\\n .ascii \\"Go\\\\0\\\\0some\\"\\n .popsection");
"""


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["-DDISTURB_SIGNAL"], "Go's runtime does that in every plugin, and nothing is wrong with this one"),
        (["-DDISTURB_SIGNAL", "-DDISTURB_REST"], "Its start-up code should leave the process alone"),
    ],
    ids=["signals", "more"],
)
def test_the_warning_for_gos_runtime_does_not_blame_the_author(
    compiler: Compiler, run_python: RunPython, words: list[str], why: str
) -> None:
    """With a note as Go's linker writes it; this needs no Go, unlike the test in test_languages.py."""
    note = compiler.folder / "go_note.c"
    note.write_text(GO_NOTE)
    for more, expected in (([str(note)], why), ([], "Its start-up code should leave the process alone")):
        path = compiler.library("broken.c", *words, *more)
        code = f"""
import hardpoint, warnings
from hardpoint.contracts import Greeter
warnings.simplefilter("always")
warnings.showwarning = lambda message, *_: print(message)
hardpoint.load({str(path)!r}, Greeter)
"""
        assert run_python(code).stdout.endswith(f"of the process; this was put back. {expected}\n")


def test_a_deleted_working_directory_cannot_be_restored(compiler: Compiler, run_python: RunPython) -> None:
    path = compiler.library("broken.c", "-DDISTURB_REST")
    code = f"""
import hardpoint, os, tempfile, warnings
from hardpoint.contracts import Greeter
warnings.simplefilter("always")
warnings.showwarning = lambda message, *_: print(message)
gone = tempfile.mkdtemp()
os.chdir(gone)
os.rmdir(gone)
hardpoint.load({str(path)!r}, Greeter)
"""
    assert "the working directory (which cannot be put back) of the process" in run_python(code).stdout


def test_fast_math_start_up_code_is_undone(compiler: Compiler, run_python: RunPython) -> None:
    """gcc -ffast-math links a constructor that disables denormals for the process."""
    path = compiler.library("english/english.c", "-ffast-math")
    code = f"""
import hardpoint, warnings
from hardpoint.contracts import Greeter
warnings.simplefilter("ignore")
hardpoint.load({str(path)!r}, Greeter)
assert 5e-324 * 1.0 != 0.0
"""
    run_python(code)


def test_a_pinned_library_that_the_loader_refuses_leaves_nothing_open(compiler: Compiler) -> None:
    path = compiler.library("broken.c", "-DUNDEFINED", "-DGREET=nowhere", "-Wl,-z,undefs")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(hardpoint.LoadError, match="undefined symbol: nowhere"):
            hardpoint.load(path, Greeter, sha256=sha256(path))
        with pytest.raises(hardpoint.LoadError):
            hardpoint.load(path, Greeter)
    assert len(os.listdir("/proc/self/fd")) == before


# -- one library, one binding ------------------------------------------------------------------------------------------


def test_a_library_has_one_binding_in_a_process(english: Path, fresh: Fresh) -> None:
    path = fresh(english)
    first = hardpoint.load(path, Greeter, binding="ctypes")
    with pytest.raises(
        hardpoint.LoadError, match="is called through ctypes in this process, and a library has one binding"
    ):
        hardpoint.load(path, Greeter, binding="cffi")
    assert hardpoint.info(hardpoint.load(path, Greeter)).binding == hardpoint.info(first).binding == "ctypes"


def test_an_unknown_binding(english: Path) -> None:
    with pytest.raises(ValueError, match="binding is one of native, cffi, ctypes, not 'rust'"):
        hardpoint.load(english, Greeter, binding="rust")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^binding is one of native, cffi, ctypes, not \['rust'\]$"):
        hardpoint.load(english, Greeter, binding=["rust"])  # type: ignore[arg-type]


WITHOUT_NATIVE = """
import sys
class Missing:
    def find_spec(self, name, *_):
        if name == "hardpoint.binding._native":
            raise {error}
sys.meta_path.insert(0, Missing())
import hardpoint
from hardpoint.contracts import Greeter
english = hardpoint.load({path!r}, Greeter)
assert english.lang() == "English"
print(hardpoint.info(english).binding)
try:
    hardpoint.load({path!r} + "x", Greeter, binding="native")
except hardpoint.LoadError as error:
    print(error)
    print(error.path)
"""


def test_where_the_native_binding_was_not_built_cffi_is_used(english: Path, run_python: RunPython) -> None:
    code = WITHOUT_NATIVE.format(path=str(english), error="ModuleNotFoundError('No module', name=name)")
    binding, message, where = run_python(code).stdout.splitlines()
    assert (binding, where) == ("cffi", f"{english}x")
    assert message == (
        f"{english}x cannot be called through the native binding: it was not built when hardpoint was installed, which takes "
        "a C compiler and Python.h; install them (apt-get install gcc python3-dev), and then reinstall hardpoint; or leave out "
        "binding='native'"
    )


def test_a_native_binding_that_cannot_be_imported_says_why(english: Path, run_python: RunPython) -> None:
    code = WITHOUT_NATIVE.format(path=str(english), error="ImportError('undefined symbol: PyNew_Thing')")
    binding, message, _ = run_python(code).stdout.splitlines()
    assert binding == "cffi"
    assert "cannot be called through the native binding: undefined symbol: PyNew_Thing; or leave out" in message


def test_a_class_that_is_not_a_contract(english: Path) -> None:
    with pytest.raises(TypeError, match="is not a contract: decorate a Protocol class with"):
        hardpoint.load(english, dict)


@pytest.mark.parametrize("wrong", [None, 3, True, ["english.so"]], ids=repr)
def test_an_invalid_path(wrong: Any) -> None:
    for load in (hardpoint.load, lambda *words: hardpoint.loaded(*words).__enter__()):
        with pytest.raises(TypeError) as caught:
            load(wrong, Greeter)
        assert str(caught.value) == f"path is a str or an os.PathLike, not {wrong!r}"


def test_a_file_that_is_rewritten_while_it_is_loaded_is_refused(
    english: Path, fresh: Fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fresh(english)

    def rewrite(*_: Any) -> None:
        os.utime(path, (1, 1))

    monkeypatch.setattr("hardpoint.inprocess.library.rename", rewrite)
    with pytest.raises(hardpoint.StaleError, match="the file was rewritten while it was being loaded"):
        hardpoint.load(path, Greeter)
    monkeypatch.undo()
    with pytest.raises(hardpoint.StaleError):
        hardpoint.load(path, Greeter)


def test_dot_dot_after_a_symlink(english: Path, spanish: Path, tmp_path: Path) -> None:
    """`link/../x.so` is beside the link's target; normalising the path would open another file than the checked one."""
    (tmp_path / "real/sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real/sub")
    shutil.copy(english, tmp_path / "real/x.so")
    shutil.copy(spanish, tmp_path / "x.so")
    assert hardpoint.load(tmp_path / "link/../x.so", Greeter).lang() == "English"
    assert hardpoint.load(f"{tmp_path}/link/../x.so", Greeter).lang() == "English"


def test_the_kernel_is_asked_with_a_struct_of_its_size() -> None:
    assert hardpoint.inprocess.library._QUERY_SIZE == 104  # struct procmap_query


def test_an_error_after_loading_a_pinned_library_does_not_affect_others(
    compiler: Compiler, run_python: RunPython
) -> None:
    """glibc knows it by its descriptor's number, which must not be reused."""
    disturbing, english = compiler.library("broken.c", "-DDISTURB_REST"), compiler.library("english/english.c")
    code = f"""
import hardpoint, warnings
from hardpoint.contracts import Greeter
warnings.simplefilter("error")
try:
    hardpoint.load({str(disturbing)!r}, Greeter, sha256={sha256(disturbing)!r})
except hardpoint.HardpointWarning:
    print("warned")
print(hardpoint.load({str(english)!r}, Greeter, sha256={sha256(english)!r}).lang())
"""
    assert run_python(code).stdout == "warned\nEnglish\n"


def test_many_threads_load_at_once(english: Path, spanish: Path, fresh: Fresh) -> None:
    paths = [fresh(library, f"{number}.so") for number in range(10) for library in (english,)]
    said: list[str] = []

    def work() -> None:
        said.extend(hardpoint.load(path, Greeter).lang() for path in paths)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == ["English"] * 60


def test_a_python_without_its_gil(english: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated: sys._is_gil_enabled() answers as in a free-threaded build."""
    monkeypatch.setattr("hardpoint.inprocess.plugin._has_gil", lambda: False)
    with pytest.raises(hardpoint.LoadError) as caught:
        hardpoint.load(english, Greeter)
    assert str(caught.value) == (
        f"{english} cannot be loaded: this is a free-threaded Python without its GIL, which hardpoint's own state relies on; "
        "start it with PYTHON_GIL=1, or with -X gil=1"
    )


# -- what is opened is what was checked --------------------------------------------------------------------------------


def swap_before_dlopen(monkeypatch: pytest.MonkeyPatch, swap: Any) -> None:
    """Do something between the last check of the file and dlopen."""
    take = process_state.take

    def late() -> Any:
        swap()
        monkeypatch.setattr("hardpoint.inprocess.process_state.take", take)
        return take()

    monkeypatch.setattr("hardpoint.inprocess.process_state.take", late)


def test_a_file_that_is_exchanged_before_dlopen_does_not_run(
    english: Path, spanish: Path, fresh: Fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = fresh(english), fresh(spanish, "other.so")
    swap_before_dlopen(monkeypatch, lambda: other.rename(path))
    plugin = hardpoint.load(path, Greeter)
    assert plugin.lang() == "English"
    assert not any(
        line.endswith(str(path)) for line in Path("/proc/self/maps").read_text().splitlines()
    )  # it's deleted
    assert hardpoint.info(plugin).library == str(path)
    with pytest.raises(hardpoint.StaleError, match="the file was replaced or rewritten after it had been loaded"):
        hardpoint.load(path, Greeter)


ASKS = """
#define _GNU_SOURCE
#include <dlfcn.h>
int ask(void);
int ask(void) {
    Dl_info info = {0};
    return dladdr(&info, &info);
}
"""


@pytest.mark.parametrize("how", ["$ORIGIN", "dladdr"])
def test_a_library_that_needs_its_folder_is_opened_by_its_path(
    compiler: Compiler, spanish: Path, fresh: Fresh, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    """So one that takes its place in the last moment runs, and is noticed afterwards; a pinned one does not."""
    (tmp_path / "asks.c").write_text(ASKS)
    more = "-Wl,-rpath,$ORIGIN" if how == "$ORIGIN" else str(tmp_path / "asks.c")
    path, other = fresh(compiler.library("english/english.c", more)), fresh(spanish, "other.so")
    assert hardpoint.load(path, Greeter, sha256=sha256(path)).lang() == "English"
    swap_before_dlopen(monkeypatch, lambda: other.rename(path))
    with pytest.raises(hardpoint.StaleError, match="the file was replaced while it was being loaded"):
        hardpoint.load(path, Greeter)


def test_a_file_that_is_rewritten_before_dlopen_does_not_run(
    compiler: Compiler, fresh: Fresh, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As far as its time shows."""
    path = fresh(compiler.library("broken.c", "-DTYPE=greeter_v1"))
    monkeypatch.setenv("HARDPOINT_RAN", str(tmp_path / "ran"))

    def rewrite(file: Any, elf: Any) -> str:
        os.utime(path, (1, 1))
        return loader_name(file, elf)

    monkeypatch.setattr("hardpoint.inprocess.library.loader_name", rewrite)
    with pytest.raises(hardpoint.StaleError, match="the file was replaced or rewritten while it was being loaded"):
        hardpoint.load(path, Greeter)
    assert not (tmp_path / "ran").exists()


def test_the_dynamic_linker_knows_a_library_by_its_path(compiler: Compiler, fresh: Fresh) -> None:
    """For dladdr(3), and whatever else prints where an address lies; and it is one library for other code too."""
    path = fresh(compiler.library("english/english.c"))
    descriptors = len(os.listdir("/proc/self/fd"))
    plugin = hardpoint.load(path, Greeter)
    assert len(os.listdir("/proc/self/fd")) == descriptors
    library = ctypes.CDLL(str(path))
    symbol = ctypes.cast(library.hardpoint_greeter_v1, ctypes.c_void_p)

    class Info(ctypes.Structure):
        _fields_ = (
            ("file", ctypes.c_char_p),
            ("base", ctypes.c_void_p),
            ("name", ctypes.c_char_p),
            ("at", ctypes.c_void_p),
        )

    found = Info()
    assert ctypes.CDLL(None).dladdr(symbol, ctypes.byref(found))
    assert found.file == str(path).encode()
    maps = [
        line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(str(path)) and "r-xp" in line
    ]
    assert len(maps) == 1
    assert hardpoint.info(plugin).library == str(path)


def test_the_dynamic_linkers_name_ends_where_the_path_does(english: Path, fresh: Fresh) -> None:
    """Memory of malloc comes in steps of 16 bytes, and behind it stands something else."""
    found = (ctypes.c_void_p * 4)()
    for length in range(20):
        path = fresh(english, f"{'n' * length}.so")
        hardpoint.load(path, Greeter)
        symbol = ctypes.cast(ctypes.CDLL(str(path)).hardpoint_greeter_v1, ctypes.c_void_p)
        assert ctypes.CDLL(None).dladdr(symbol, ctypes.byref(found))
        assert ctypes.string_at(found[0] or 0) == str(path).encode()


def test_numbers_of_descriptors_are_used_again_and_libraries_never_mixed(
    english: Path, spanish: Path, fresh: Fresh
) -> None:
    for number in range(20):
        path = fresh((english, spanish)[number % 2], f"{number}.so")
        assert hardpoint.load(path, Greeter).lang() == ("English", "Español")[number % 2]


def test_its_symbols_are_its_own(compiler: Compiler, fresh: Fresh, tmp_path: Path) -> None:
    """RTLD_LOCAL: nothing else in the process finds them. RTLD_NODELETE: dlclose leaves it."""
    source = tmp_path / "more.c"
    source.write_text(
        '__attribute__((visibility("default"))) int only_here(void);\nint only_here(void) { return 7; }\n'
    )
    path = fresh(compiler.library("english/english.c", str(source)))
    plugin = hardpoint.load(path, Greeter)
    assert ctypes.CDLL(str(path)).only_here() == 7
    with pytest.raises(AttributeError):
        _ = ctypes.CDLL(None).only_here
    handle = hardpoint.inprocess.library._by_path[str(path)].handle
    dlclose = ctypes.CDLL(None).dlclose
    dlclose.argtypes = [ctypes.c_void_p]
    number = int(ffi.cast("uintptr_t", handle))
    assert [dlclose(number) for _ in range(2)] == [0, 0]
    assert mapped(path)
    assert plugin.lang() == "English"


@pytest.mark.parametrize("pinned", [False, True], ids=["path", "pinned"])
def test_all_symbols_are_bound_at_once(compiler: Compiler, fresh: Fresh, pinned: bool) -> None:
    """RTLD_NOW, whatever the file says: a missing function would kill the process at the first call."""
    source = compiler.folder / "lazy.c"
    source.write_text(
        "int not_there(void);\nint calls_it(void);\n__attribute__((used)) int calls_it(void) { return not_there(); }\n"
    )
    path = fresh(compiler.library("english/english.c", "-Wl,-z,lazy,-z,undefs", str(source)), "late.so")
    with pytest.raises(hardpoint.LoadError, match="undefined symbol: not_there"):
        hardpoint.load(path, Greeter, sha256=sha256(path) if pinned else None)


# -- locks and forks ---------------------------------------------------------------------------------------------------

SLOW = """
#include <stdlib.h>
#include <unistd.h>
#include <fcntl.h>
__attribute__((constructor)) static void slowly(void) {
    chdir("/");
    close(open(getenv("HARDPOINT_STARTED"), O_CREAT | O_WRONLY, 0600));
    usleep(300000);
}
"""


def test_one_load_is_not_blamed_for_anothers_changes(
    compiler: Compiler, english: Path, fresh: Fresh, tmp_path: Path, run_python: RunPython
) -> None:
    """Loads wait for each other: the second would else see the working directory that the first has changed."""
    source = tmp_path / "slow.c"
    source.write_text(SLOW)
    slow, quick = compiler.library("english/english.c", str(source), "-Wno-unused-result"), fresh(english, "quick.so")
    code = f"""
import hardpoint, os, threading, time, warnings
from hardpoint.contracts import Greeter
os.environ["HARDPOINT_STARTED"] = {str(tmp_path / "started")!r}
warnings.simplefilter("always")
warnings.showwarning = lambda message, *_: print(message.path, message.changed)
folder = os.getcwd()
thread = threading.Thread(target=hardpoint.load, args=({str(slow)!r}, Greeter))
thread.start()
while not os.path.exists(os.environ["HARDPOINT_STARTED"]):
    time.sleep(0.001)
hardpoint.load({str(quick)!r}, Greeter)
thread.join()
assert os.getcwd() == folder, os.getcwd()
"""
    assert run_python(code).stdout == f"{slow} ('the working directory',)\n"


def test_a_child_forked_while_another_thread_loads_can_load(english: Path, fresh: Fresh, run_python: RunPython) -> None:
    code = f"""
import hardpoint, os, threading
from hardpoint.contracts import Greeter
from hardpoint.inprocess import process_state
from hardpoint.inprocess.loader_name import loader_name
take, held, go = process_state.take, threading.Event(), threading.Event()
def wait():
    held.set()
    go.wait()
    return take()
process_state.take = wait
thread = threading.Thread(target=hardpoint.load, args=({str(fresh(english, "one.so"))!r}, Greeter), daemon=True)
thread.start()
held.wait()
process_state.take = take
child = os.fork()
if not child:
    import signal
    signal.alarm(10)
    print(hardpoint.load({str(fresh(english, "two.so"))!r}, Greeter).lang(), flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
go.set()
thread.join()
"""
    assert run_python(code).stdout == "English\n"


DESTROYED = """
#include <stdio.h>
#include <stdlib.h>
#include "greeter.h"
static hp_status create(const hp_host *host, const char *config, size_t config_len, void **self, hp_out *out) {
    (void)host, (void)config, (void)config_len, (void)out;
    *self = malloc(1);
    return HP_OK;
}
static void destroy(void *self) {
    free(self);
    FILE *file = fopen(getenv("HARDPOINT_DESTROYED"), "a");
    fprintf(file, "%d\\n", (int)getpid());
    fclose(file);
}
static hp_status greet(void *self, const char *name, size_t name_len, hp_out *out) {
    return (void)self, hp_write(out, name, name_len);
}
static hp_status lang(void *self, hp_out *out) { return (void)self, hp_puts(out, "English"); }
GREETER_PLUGIN("destroyed", "1.0.0", .create = create, .destroy = destroy, .greet = greet, .lang = lang);
"""


def test_a_forked_child_destroys_its_own_instances_alone(
    compiler: Compiler, tmp_path: Path, run_python: RunPython, binding: Binding
) -> None:
    """Closed, collected or left until the child ends: the parent's are the parent's."""
    compiler.header(Greeter)
    path = compiler.text("destroyed", f"#define _GNU_SOURCE\n#include <unistd.h>\n{DESTROYED}")
    code = f"""
import hardpoint, os, sys
from hardpoint.contracts import Greeter
os.environ["HARDPOINT_DESTROYED"] = {str(tmp_path / "log")!r}
closed, dropped, left = [hardpoint.load({str(path)!r}, Greeter, binding={binding!r}) for _ in range(3)]
child = os.fork()
if child:
    assert os.waitpid(child, 0)[1] == 0
    assert not os.path.exists(os.environ["HARDPOINT_DESTROYED"])
    hardpoint.close(closed)
    del dropped
    print(open(os.environ["HARDPOINT_DESTROYED"]).read().split() == [str(os.getpid())] * 2)
else:
    hardpoint.close(closed)
    del dropped
    own = hardpoint.load({str(path)!r}, Greeter, binding={binding!r})
    hardpoint.close(own)
    assert open(os.environ["HARDPOINT_DESTROYED"]).read() == f"{{os.getpid()}}\\n"
    os.unlink(os.environ["HARDPOINT_DESTROYED"])
"""
    assert run_python(code).stdout == "True\n"


def test_two_reloads_at_once_never_mix(english: Path, fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object's class and its instance come from the same reload."""
    plugin = hardpoint.load(fresh(english), Greeter, isolated=True)
    exchange, made = Instance.exchange, Isolated.object_class
    under_way, classes = threading.Event(), dict[int, type]()

    def slowly(self: Instance, holder: Any, backend: Any) -> None:
        exchange(self, holder, backend)
        if not under_way.is_set():
            under_way.set()
            time.sleep(0.5)

    def remembered(self: Isolated) -> type:
        classes[id(self)] = made(self)
        return classes[id(self)]

    monkeypatch.setattr(Instance, "exchange", slowly)
    monkeypatch.setattr(Isolated, "object_class", remembered)
    first = threading.Thread(target=hardpoint.reload, args=(plugin,))
    first.start()
    under_way.wait()
    hardpoint.reload(plugin)
    first.join()
    assert classes[id(hardpoint.loading.instance_of(plugin).backend)] is type(plugin)
    assert plugin.lang() == "English"
    hardpoint.close(plugin)


@pytest.mark.long
def test_a_child_forked_while_another_thread_reloads_can_reload(
    english: Path, fresh: Fresh, run_python: RunPython
) -> None:
    code = f"""
import hardpoint, os, threading
from hardpoint.contracts import Greeter
from hardpoint.loading import instance_of
from hardpoint.binding.instance import Instance
plugin = hardpoint.load({str(fresh(english))!r}, Greeter, isolated=True)
exchange, held, go = Instance.exchange, threading.Event(), threading.Event()
def wait(*arguments):
    held.set()
    go.wait()
    return exchange(*arguments)
Instance.exchange = wait
thread = threading.Thread(target=hardpoint.reload, args=(plugin,), daemon=True)
thread.start()
held.wait()
Instance.exchange = exchange
child = os.fork()
if not child:
    import signal
    signal.alarm(20)
    own = hardpoint.load({str(fresh(english, "own.so"))!r}, Greeter, isolated=True)
    hardpoint.reload(own)
    print(own.lang(), flush=True)
    hardpoint.close(own)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
go.set()
thread.join()
hardpoint.close(plugin)
"""
    assert run_python(code).stdout == "English\n"
