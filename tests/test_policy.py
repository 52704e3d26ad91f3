"""Policies of a registry: digests in a lock file, owners and modes; and no race between check and load."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from conftest import ROOT, how

import hardpoint
from hardpoint.contracts import Greeter
from hardpoint.ffi.libc import libc
from hardpoint.file import digest
from hardpoint.registry.steps import steps

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Compiler, Fresh, Way

    from hardpoint.registry.steps import Step

pytestmark = pytest.mark.usefixtures("alone")
_PR_SET_DUMPABLE = 4
NOBODY = 65534


@pytest.fixture
def plugins(compiler: Compiler, tmp_path: Path) -> Path:
    """A folder with two greeters, writable by their owner only."""
    folder = tmp_path / "plugins"
    folder.mkdir(mode=0o755)
    for name in ("english", "spanish"):
        shutil.copy(compiler.library(f"{name}/{name}.c"), folder)
        (folder / f"{name}.so").chmod(0o755)
    return folder


def lock(path: Path, *files: Path, **changes: Any) -> Path:
    """Write a lock file for greeters."""
    entries = [
        {
            "contract": "greeter", "plugin": file.stem, "release": "1.0.0", "file": file.name,
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(), **changes,
        }
        for file in files
    ]  # fmt: skip
    path.write_text(json.dumps({"hardpoint-lock": 1, "plugins": entries}))
    return path


def statuses(registry: hardpoint.Registry) -> dict[str | None, str]:
    return {found.name: found.status for found in registry}


def refused(registry: hardpoint.Registry, name: str = "english") -> list[hardpoint.Problem]:
    """Return the reason why it is not loaded, after checking that the registry shows it too."""
    with pytest.raises(hardpoint.IncompatibleError) as caught:
        registry.load(name, Greeter)
    [found] = [found for found in registry if found.name == name and found.shadowed_by is None]
    assert (found.status, found.problems) == ("refused", caught.value.problems)
    assert str(caught.value).startswith(f"{found.path} is not allowed")
    assert caught.value.path == found.path
    for problem in caught.value.problems:
        assert str(problem) in str(caught.value)
    return list(caught.value.problems)


# -- a lock file -------------------------------------------------------------------------------------------------------


def test_a_locked_plugin_is_loaded_pinned(plugins: Path, tmp_path: Path, way: Way) -> None:
    with (plugins / "english.so").open("ab") as file:
        file.write(way.encode())  # unique bytes: a library that is loaded already keeps its binding
    made = lock(tmp_path / "hardpoint.lock", plugins / "english.so")
    registry = hardpoint.Registry([plugins], allow=made)
    assert statuses(registry) == {"english": "fits", "spanish": "refused"}
    english = registry.load("english", Greeter, **how(way))
    about = hardpoint.info(english)
    assert english.lang() == "English"
    assert about.path == str(plugins / "english.so")
    assert about.sha256 == hashlib.sha256((plugins / "english.so").read_bytes()).hexdigest()
    if way != "isolated":
        assert about.library.startswith("/proc/self/fd/")
    hardpoint.close(english)
    problem = refused(registry, "spanish")[0]
    digest = hashlib.sha256((plugins / "spanish.so").read_bytes()).hexdigest()
    assert problem == (
        "trust-digest",
        f"a file of spanish for greeter whose sha256 is in {made}",
        f"{digest}, of a plugin that is not in the lock",
        "if it is meant to be loaded, rewrite the lock with `hardpoint lock`",
        True,
    )


def test_another_file_under_a_locked_name(plugins: Path, tmp_path: Path) -> None:
    made = lock(tmp_path / "hardpoint.lock", plugins / "english.so")
    with (plugins / "english.so").open("ab") as file:
        file.write(b"more")
    [problem] = refused(hardpoint.Registry([plugins], allow=str(made)))
    assert problem.found.endswith(f", while the lock has {json.loads(made.read_text())['plugins'][0]['sha256']}")
    assert "rewrite the lock with `hardpoint lock`" in problem.fix


def test_a_digest_counts_for_its_contract_and_plugin_alone(plugins: Path, tmp_path: Path) -> None:
    for changes in ({"contract": "transformer"}, {"plugin": "spanish"}):
        made = lock(tmp_path / "hardpoint.lock", plugins / "english.so", **changes)
        assert [problem.code for problem in refused(hardpoint.Registry([plugins], allow=made))] == ["trust-digest"]


def test_a_refused_plugin_is_not_skipped_for_a_shadowed_one(plugins: Path, tmp_path: Path, english: Path) -> None:
    made = lock(tmp_path / "hardpoint.lock", plugins / "english.so")
    first = tmp_path / "first"
    first.mkdir()
    shutil.copy(english, first)
    with (first / "english.so").open("ab") as file:
        file.write(b"swapped")
    registry = hardpoint.Registry([first, plugins], allow=made)
    assert [(found.path, found.status) for found in registry][:2] == [
        (f"{first}/english.so", "refused"),
        (f"{plugins}/english.so", "shadowed"),
    ]
    refused(registry)
    assert list(registry.load_all(Greeter).failed) == ["english", "spanish"]


def test_bytes_that_change_after_the_check_are_not_loaded(
    plugins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is rewritten in place, with the same size and time, after its digest and before its copy."""
    made = lock(tmp_path / "hardpoint.lock", plugins / "english.so")
    registry = hardpoint.Registry([plugins], allow=made)

    def swap(file: Any) -> str:
        found = digest(file)
        times = (plugins / "english.so").stat()
        (plugins / "english.so").write_bytes((plugins / "spanish.so").read_bytes())
        os.utime(plugins / "english.so", ns=(times.st_atime_ns, times.st_mtime_ns))
        return found

    monkeypatch.setattr("hardpoint.registry.policy.digest", swap)
    with pytest.raises(hardpoint.IncompatibleError, match=r"english.so is another file: needs a file whose sha256 is"):
        registry.load("english", Greeter)


def test_a_plugin_loaded_by_a_lock_is_reloaded_by_it(plugins: Path, tmp_path: Path) -> None:
    other = tmp_path / "english.so"
    shutil.copy(plugins / "english.so", other)
    with other.open("ab") as file:
        file.write(b"newer")
    both = lock(tmp_path / "both.lock", plugins / "english.so", other)
    one = lock(tmp_path / "one.lock", plugins / "english.so")
    for made, allowed in ((both, True), (one, False)):
        english = hardpoint.Registry([plugins], allow=made).load("english", Greeter, isolated=True)
        before = hardpoint.info(english).sha256
        shutil.copy(plugins / "english.so", tmp_path / "kept")
        shutil.copy(other, plugins / "new")
        os.replace(plugins / "new", plugins / "english.so")
        if allowed:
            hardpoint.reload(english)
        else:
            with pytest.raises(
                hardpoint.IncompatibleError, match=r"english.so is not allowed: needs a file of english"
            ):
                hardpoint.reload(english)
        assert english.lang() == "English"
        assert (hardpoint.info(english).sha256 != before) == allowed
        hardpoint.close(english)
        os.replace(tmp_path / "kept", plugins / "english.so")


def test_dependencies_beside_a_locked_file_are_refused(compiler: Compiler, plugins: Path, tmp_path: Path) -> None:
    shutil.copy(compiler.text("libword", "int word(void); int word(void) { return 1; }"), plugins / "libword.so")
    needing = compiler.library(
        "english/english.c", "-Wl,--no-as-needed", f"-L{plugins}", "-lword", "-Wl,-rpath,$ORIGIN", name="needing"
    )
    shutil.copy(needing, plugins / "english.so")
    made = lock(tmp_path / "hardpoint.lock", plugins / "english.so")
    found = next(iter(hardpoint.Registry([plugins], allow=made)))
    assert found.status == "does not fit"
    assert "pinned-origin" in [problem.code for problem in found.problems]


def test_digits_of_a_digest_in_either_case(plugins: Path, tmp_path: Path) -> None:
    digest = hashlib.sha256((plugins / "english.so").read_bytes()).hexdigest()
    made = lock(tmp_path / "hardpoint.lock", plugins / "english.so", sha256=digest.upper())
    english = hardpoint.Registry([plugins], allow=made).load("english", Greeter)
    assert (english.lang(), hardpoint.info(english).sha256) == ("English", digest)


WRONG_LOCKS = {
    "not JSON": ("{", "cannot be read as a lock file: "),
    "no lock": ("[]", "is not a lock file of `hardpoint lock`; write it again with that"),
    "another format": ('{"hardpoint-lock": 2, "plugins": []}', "is not a lock file of `hardpoint lock`"),
    "no plugins": ('{"hardpoint-lock": 1}', "is not a lock file of `hardpoint lock`"),
    "other fields": (
        '{"hardpoint-lock": 1, "plugins": [{"sha256": 1}]}',
        "is not a lock file of `hardpoint lock`",
    ),
    "no digest": (
        json.dumps(
            {
                "hardpoint-lock": 1,
                "plugins": [dict.fromkeys(("contract", "plugin", "release", "file", "sha256"), "z" * 64)],
            }
        ),
        "is not a lock file of `hardpoint lock`",
    ),
    "nested": ("[" * 100_000, "cannot be read as a lock file: "),
    "true in the place of its number": (
        '{"hardpoint-lock": true, "plugins": []}',
        "is not a lock file of `hardpoint lock`; write it again with that",
    ),
    "a fraction in the place of its number": (
        '{"hardpoint-lock": 1.0, "plugins": []}',
        "is not a lock file of `hardpoint lock`; write it again with that",
    ),
    "plugins twice": (
        '{"hardpoint-lock": 1, "plugins": [], "plugins": []}',
        "cannot be read as a lock file: a duplicate field; write it again with `hardpoint lock`",
    ),
}


@pytest.mark.parametrize("name", WRONG_LOCKS)
def test_an_invalid_lock(tmp_path: Path, name: str) -> None:
    text, sentence = WRONG_LOCKS[name]
    path = tmp_path / "hardpoint.lock"
    path.write_text(text)
    with pytest.raises(hardpoint.HardpointError) as caught:
        hardpoint.Registry(allow=path)
    assert str(caught.value).startswith(f"{path} {sentence}")
    assert caught.value.path == str(path)


def test_a_missing_lock(tmp_path: Path) -> None:
    with pytest.raises(hardpoint.HardpointError) as caught:
        hardpoint.Allow(tmp_path / "gone")
    assert str(caught.value) == f"{tmp_path}/gone: lock file not found; write it with `hardpoint lock`"


def test_a_lock_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(hardpoint.HardpointError) as caught:
        hardpoint.Registry(allow=tmp_path)
    why = "give the path of a lock file that this user can read"
    assert str(caught.value) == f"{tmp_path} cannot be read: it is a directory, not a regular file; {why}"
    assert caught.value.path == str(tmp_path)
    made = lock(tmp_path / "hardpoint.lock")
    made.chmod(0)
    root = os.geteuid() == 0
    try:
        if root:  # root can read it anyway
            os.seteuid(NOBODY)
        with pytest.raises(hardpoint.HardpointError) as caught:
            hardpoint.Allow(made)
    finally:
        if root:
            os.seteuid(0)
            libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)  # else /proc of this process stays closed to later tests' plugins
    assert str(caught.value) == f"{made} cannot be read: Permission denied; {why}"


@pytest.mark.parametrize("wrong", [3, True, ["hardpoint.lock"], hardpoint.Allow], ids=repr)
def test_an_invalid_policy(wrong: Any) -> None:
    with pytest.raises(TypeError) as caught:
        hardpoint.Registry(allow=wrong)
    assert str(caught.value) == f"allow is an Allow or the path of a lock file, not {wrong!r}"
    with pytest.raises(TypeError) as caught:
        hardpoint.Allow(wrong)
    assert str(caught.value) == f"Allow(lock=...) is a str or an os.PathLike, not {wrong!r}"


# -- owners and modes --------------------------------------------------------------------------------------------------


def test_files_writable_by_their_owner_only_are_loaded(plugins: Path, fresh: Fresh, way: Way) -> None:
    registry = hardpoint.Registry([plugins], allow=hardpoint.Allow())
    assert statuses(registry) == {"english": "fits", "spanish": "fits"}
    assert registry.load("english", Greeter, **how(way)).lang() == "English"


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777, 0o1777])
@pytest.mark.parametrize("what", ["english.so", "."], ids=["file", "folder"])
def test_files_writable_by_others(plugins: Path, what: str, mode: int) -> None:
    path = plugins / what
    path.chmod(mode)
    [problem] = refused(hardpoint.Registry([plugins], allow=hardpoint.Allow()))
    kind = "folder" if what == "." else "file"
    assert problem[:3] == (
        "trust-writable",
        f"a {kind} that only its owner can write to",
        f"{path} with mode {mode:04o}",
    )
    assert problem.fix == f"chmod go-w {path}, if you trust its contents"


def test_folders_above(plugins: Path) -> None:
    plugins.parent.chmod(0o777)
    [problem] = refused(hardpoint.Registry([plugins], allow=hardpoint.Allow()))
    assert problem.found == f"{plugins.parent} with mode 0777"
    plugins.parent.chmod(0o1777)  # sticky, as /tmp: others cannot rename or delete files
    assert statuses(hardpoint.Registry([plugins], allow=hardpoint.Allow()))["english"] == "fits"
    plugins.parent.chmod(0o700)


def test_the_folder_where_a_link_stands_counts_too(plugins: Path, tmp_path: Path) -> None:
    links = tmp_path / "links"
    links.mkdir()
    links.chmod(0o777)
    (links / "english.so").symlink_to(plugins / "english.so")
    [problem] = refused(hardpoint.Registry([links], allow=hardpoint.Allow()))
    assert problem.found == f"{links} with mode 0777"
    links.chmod(0o755)
    plugins.chmod(0o777)
    [problem] = refused(hardpoint.Registry([links], allow=hardpoint.Allow()))
    assert problem.found == f"{plugins} with mode 0777"


def test_another_owner(plugins: Path) -> None:
    if os.geteuid() == 0:
        os.chown(plugins / "english.so", NOBODY, -1)
        allow = hardpoint.Allow()
    else:  # only root can change owners, but a user can trust nobody
        allow = hardpoint.Allow(owners=[NOBODY])
    problems = refused(hardpoint.Registry([plugins], allow=allow))
    assert {problem.code for problem in problems} == {"trust-owner"}
    assert problems[0].needs.startswith("a file that belongs to root")
    assert problems[0].found.startswith(f"{plugins}/english.so, which belongs to ")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_owners_by_name_and_number(plugins: Path) -> None:
    for path in (plugins, plugins / "english.so"):
        os.chown(path, NOBODY, -1)
    for owners in (["nobody"], [NOBODY], "nobody", [0, NOBODY]):
        assert statuses(hardpoint.Registry([plugins], allow=hardpoint.Allow(owners=owners)))["english"] == "fits"
    problems = refused(hardpoint.Registry([plugins], allow=hardpoint.Allow(owners=[])))
    assert [problem.found for problem in problems] == [
        f"{plugins}/english.so, which belongs to nobody",
        f"{plugins}, which belongs to nobody",
    ]


def test_an_unknown_user() -> None:
    with pytest.raises(
        ValueError, match=r"^Allow\(owners=\.\.\.\): no user 'no-such-user' on this machine; check the name$"
    ):
        hardpoint.Allow(owners=["no-such-user"])
    with pytest.raises(
        ValueError, match=r"^Allow\(owners=\.\.\.\): no user 'a\\x00b' on this machine; check the name$"
    ):
        hardpoint.Allow(owners=["a\0b"])
    for number in (-1, 2**32 - 1):
        with pytest.raises(
            ValueError, match=rf"^Allow\(owners=\.\.\.\): a user id is a number from 0 .*, not {number}$"
        ):
            hardpoint.Allow(owners=[number])


@pytest.mark.parametrize("wrong", [0, 1.5], ids=repr)
def test_owners_that_are_no_list(wrong: Any) -> None:
    with pytest.raises(TypeError) as caught:
        hardpoint.Allow(owners=wrong)
    assert str(caught.value) == f"Allow(owners=...) is a list or tuple of user names and ids, not {wrong!r}"


@pytest.mark.parametrize("wrong", [[None], [True], [1.5], ["root", b"root"], b"root"], ids=repr)
def test_owners_that_are_no_users(wrong: Any) -> None:
    """The bytes of b"root" would count as ids, and True as the id of another user."""
    with pytest.raises(TypeError) as caught:
        hardpoint.Allow(owners=wrong)
    user = wrong if isinstance(wrong, bytes) else wrong[-1]
    assert str(caught.value) == f"Allow(owners=...): a user is a name or an id, not {user!r}"


def test_both_at_once(plugins: Path, tmp_path: Path) -> None:
    made = lock(tmp_path / "hardpoint.lock", plugins / "spanish.so")
    (plugins / "english.so").chmod(0o777)
    problems = refused(hardpoint.Registry([plugins], allow=hardpoint.Allow(made, owners=[os.geteuid()])))
    assert [problem.code for problem in problems] == ["trust-digest", "trust-writable"]
    assert statuses(hardpoint.Registry([plugins], allow=hardpoint.Allow(made)))["spanish"] == "fits"


def test_the_open_file_is_checked_and_not_its_path(plugins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is replaced by an acceptable one before the check: the open file is no longer the one at the path."""
    registry = hardpoint.Registry([plugins], allow=hardpoint.Allow())

    def swap(path: str) -> Iterator[Step]:
        shutil.copy(plugins / "spanish.so", plugins / "new")
        (plugins / "new").chmod(0o755)
        os.replace(plugins / "new", plugins / "english.so")
        return steps(path)

    monkeypatch.setattr("hardpoint.registry.policy.steps", swap)
    with pytest.raises(hardpoint.IncompatibleError, match="replaced after it was opened"):
        registry.load("english", Greeter)


LINKED = {
    "a link in between": ("between/current", "{real}", "plugins"),
    "a link to a link": ("between/current", "../other/link", "plugins"),
    "a relative link": ("between/current", "../real/./plugins/", ""),
    "a link to its own folder": ("between/here", ".", "../real/plugins"),
}


@pytest.mark.parametrize("name", LINKED)
def test_every_folder_that_links_lead_through(plugins: Path, tmp_path: Path, name: str) -> None:
    """Others could write to the one in between, and so lead the path elsewhere."""
    where, target, rest = LINKED[name]
    for folder in ("real", "between", "other"):
        (tmp_path / folder).mkdir()
    shutil.move(plugins, tmp_path / "real/plugins")
    (tmp_path / "other/link").symlink_to("../real")
    (tmp_path / where).symlink_to(target.format(real=tmp_path / "real"))
    (tmp_path / "start").symlink_to(tmp_path / where)
    registry = hardpoint.Registry([tmp_path / "start" / rest], allow=hardpoint.Allow())
    assert statuses(registry)["english"] == "fits"
    for mode in (0o777, 0o775):
        (tmp_path / "between").chmod(mode)
        [problem] = refused(hardpoint.Registry([tmp_path / "start" / rest], allow=hardpoint.Allow()))
        assert problem[:3] == (
            "trust-writable", "a folder that only its owner can write to", f"{tmp_path}/between with mode 0{mode:o}"
        )  # fmt: skip
    (tmp_path / "between").chmod(0o1777)  # there, only its owner can replace the link
    assert statuses(hardpoint.Registry([tmp_path / "start" / rest], allow=hardpoint.Allow()))["english"] == "fits"


# -- what the file needs -----------------------------------------------------------------------------------------------


PUBLIC = '__attribute__((visibility("default")))'


def needing(compiler: Compiler, plugins: Path, folder: Path, *flags: str) -> None:
    """Make one plugin that needs libextra.so from a folder, by its RUNPATH."""
    for name in ("english", "spanish"):
        (plugins / f"{name}.so").unlink()
    folder.mkdir(exist_ok=True)
    source = folder.parent / "extra.c"
    source.write_text(f"{PUBLIC} int extra(void);\nint extra(void) {{ return 1; }}\n")
    extra = compiler.library(str(source), "-Wl,-soname,libextra.so")
    shutil.copy(extra, folder / "libextra.so")
    (folder / "libextra.so").chmod(0o755)
    library = compiler.library(
        "english/english.c", "-Wl,--no-as-needed", str(folder / "libextra.so"), f"-Wl,-rpath,{folder}", *flags
    )
    shutil.copy(library, plugins / "english.so")
    (plugins / "english.so").chmod(0o755)


def test_a_needed_library_that_others_may_write(compiler: Compiler, plugins: Path, tmp_path: Path) -> None:
    folder = tmp_path / "extra"
    needing(compiler, plugins, folder)
    assert statuses(hardpoint.Registry([plugins], allow=hardpoint.Allow())) == {"english": "fits"}
    for path in (folder, folder / "libextra.so"):
        path.chmod(0o777)
        registry = hardpoint.Registry([plugins], allow=hardpoint.Allow())
        [problem] = refused(registry)
        assert problem.found == f"{path} with mode 0777, where libextra.so, which it needs, is looked for"
        with pytest.raises(hardpoint.IncompatibleError, match="is not allowed"):
            registry.load("english", Greeter)
        path.chmod(0o755)
    if os.geteuid() == 0:
        os.chown(folder / "libextra.so", NOBODY, -1)
        [problem] = refused(hardpoint.Registry([plugins], allow=hardpoint.Allow()))
        assert problem.found.startswith(f"{folder}/libextra.so, which belongs to ")


def test_what_a_needed_library_needs(compiler: Compiler, plugins: Path, tmp_path: Path) -> None:
    folder = tmp_path / "extra"
    needing(compiler, plugins, folder)
    source = tmp_path / "middle.c"
    source.write_text(f"int extra(void);\n{PUBLIC} int middle(void);\nint middle(void) {{ return extra(); }}\n")
    middle = compiler.library(
        str(source),
        "-Wl,--no-as-needed",
        str(folder / "libextra.so"),
        f"-Wl,-rpath,{folder}",
        "-Wl,-soname,libmiddle.so",
    )
    beside = tmp_path / "beside"
    beside.mkdir(mode=0o755)
    shutil.copy(middle, beside / "libmiddle.so")
    (beside / "libmiddle.so").chmod(0o755)
    library = compiler.library(
        "english/english.c", "-Wl,--no-as-needed", str(beside / "libmiddle.so"), "-Wl,-rpath,$ORIGIN/../beside",
        "-Wl,--allow-shlib-undefined",
    )  # fmt: skip
    shutil.copy(library, plugins / "english.so")
    assert statuses(hardpoint.Registry([plugins], allow=hardpoint.Allow()))["english"] == "fits"
    folder.chmod(0o777)
    [problem] = refused(hardpoint.Registry([plugins], allow=hardpoint.Allow()))
    assert problem.found == f"{folder} with mode 0777, where libextra.so, which it needs, is looked for"


@pytest.mark.parametrize("where", ["empty", "empty/none", "sticky/none"])
def test_a_folder_where_others_could_put_a_needed_library(
    compiler: Compiler, plugins: Path, tmp_path: Path, where: str
) -> None:
    """The search path leads there first."""
    needing(compiler, plugins, tmp_path / "extra")
    library = compiler.library(
        "english/english.c", "-Wl,--no-as-needed", str(tmp_path / "extra/libextra.so"),
        f"-Wl,-rpath,{tmp_path / where}:{tmp_path / 'extra'}",
    )  # fmt: skip
    shutil.copy(library, plugins / "english.so")
    folder = tmp_path / where.partition("/")[0]
    folder.mkdir(mode=0o755)
    assert statuses(hardpoint.Registry([plugins], allow=hardpoint.Allow())) == {"english": "fits"}
    folder.chmod(0o1777 if folder.name == "sticky" else 0o777)
    problem = refused(hardpoint.Registry([plugins], allow=hardpoint.Allow()))[0]
    assert problem.code == "trust-writable"
    mode = f"{folder.stat().st_mode & 0o7777:04o}"
    assert problem.found == f"{folder} with mode {mode}, where libextra.so, which it needs, is looked for"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give links away")
def test_a_link_of_another_owner(plugins: Path, tmp_path: Path) -> None:
    """In a folder like /tmp, whoever owns a link can replace it."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o1777)
    (tmp_path / "shared/current").symlink_to(plugins)
    folders = [tmp_path / "shared/current"]
    assert statuses(hardpoint.Registry(folders, allow=hardpoint.Allow()))["english"] == "fits"
    os.chown(tmp_path / "shared/current", NOBODY, NOBODY, follow_symlinks=False)
    [problem] = refused(hardpoint.Registry(folders, allow=hardpoint.Allow()))
    assert problem.needs.startswith("a link that belongs to root")
    assert problem.found == f"{tmp_path}/shared/current, which belongs to nobody"


def test_what_is_exchanged_after_the_check_is_not_loaded(
    plugins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trusted link is changed between the policy's look at it and dlopen: the file that was looked at is loaded."""
    shutil.copytree(plugins, tmp_path / "other")
    shutil.copy(plugins / "spanish.so", tmp_path / "other/english.so")
    (tmp_path / "link").symlink_to(plugins)
    registry = hardpoint.Registry([tmp_path / "link"], allow=hardpoint.Allow())

    def change(path: str) -> Iterator[Step]:
        yield from steps(path)
        (tmp_path / "link").unlink()
        (tmp_path / "link").symlink_to(tmp_path / "other")

    monkeypatch.setattr("hardpoint.registry.policy.steps", change)
    assert registry.load("english", Greeter).lang() == "English"


def test_an_isolated_one_is_reloaded_under_the_same_policy(plugins: Path) -> None:
    english = hardpoint.Registry([plugins], allow=hardpoint.Allow()).load("english", Greeter, isolated=True)
    shutil.copy(plugins / "english.so", plugins / "new")
    (plugins / "new").chmod(0o777)
    os.replace(plugins / "new", plugins / "english.so")
    with pytest.raises(hardpoint.IncompatibleError, match="with mode 0777"):
        hardpoint.reload(english)
    (plugins / "english.so").chmod(0o755)
    hardpoint.reload(english)
    assert english.lang() == "English"
    hardpoint.close(english)


@pytest.mark.parametrize("allow", [None, hardpoint.Allow()], ids=["any", "allowed"])
def test_a_reload_takes_only_the_releases_that_were_asked_for(
    plugins: Path, compiler: Compiler, allow: hardpoint.Allow | None
) -> None:
    registry = hardpoint.Registry([plugins], allow=allow)
    english = registry.load("english", Greeter, release="<2", isolated=True)
    source = (ROOT / "native_plugins/english/english.c").read_text()
    for release in ("1.4", "2.0.0", "x"):
        made = compiler.text(f"newer_{release[0]}", re.sub(r'"english", "[^"]*"', f'"english", "{release}"', source))
        os.replace(shutil.copy(made, plugins / "new"), plugins / "english.so")
        if release == "1.4":
            hardpoint.reload(english)
            continue
        with pytest.raises(hardpoint.IncompatibleError) as caught:
            hardpoint.reload(english)
        assert str(caught.value) == (
            f"{plugins}/english.so is not allowed: needs a release of english that satisfies <2, found {release}; put such a "
            "release at the path, or load the plugin again with another release= [release]"
        )
        assert hardpoint.info(english).manifest.release == "1.4"
    hardpoint.close(english)


def test_added_objects_need_no_lock(tmp_path: Path) -> None:
    class Polite:
        def greet(self, name: str) -> str:
            return f"Good morning, {name}."

        def lang(self) -> str:
            return "English"

    registry = hardpoint.Registry(allow=lock(tmp_path / "hardpoint.lock"))
    registry.add("polite", Greeter, Polite())
    assert registry.load("polite", Greeter).lang() == "English"
