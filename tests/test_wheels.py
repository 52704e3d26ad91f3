"""Published files: wheels that run with old releases of glibc, and an sdist that builds the same wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import CAN_BUILD_NATIVE, ROOT, make_wheel


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, since setuptools writes into the tree."""
    folder = tmp_path_factory.mktemp("sdist")
    ignored = shutil.ignore_patterns(
        ".git", ".venv*", ".*_cache", ".hypothesis", "build", "*.egg-info", "__pycache__", "*.so", "target"
    )
    shutil.copytree(ROOT, folder / "tree", symlinks=True, ignore=ignored)
    code = "import sys, setuptools.build_meta as backend; backend.build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, folder], cwd=folder / "tree", capture_output=True, check=True)
    [made] = folder.glob("*.tar.gz")
    return made


def test_a_wheel_of_the_sdist_is_the_trees(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    subprocess.run(["tar", "-xf", sdist], cwd=tmp_path, check=True)  # extractall differs between versions
    [tree] = (path for path in tmp_path.iterdir() if path.is_dir())
    made = make_wheel(tmp_path / "wheels", tree)
    ours, theirs = (
        {
            info.filename: info.CRC
            for info in zipfile.ZipFile(each).infolist()
            if not info.filename.endswith(("RECORD", ".so"))
        }
        for each in (wheel, made)
    )
    assert ours == theirs
    for name in ("tests/conftest.py", "SECURITY.md", "Dockerfile", ".ci/run"):
        assert (tree / name).exists(), name
    assert (tree / "build.sh").stat().st_mode & 0o100


@pytest.mark.skipif(not CAN_BUILD_NATIVE, reason="without Python.h there is no extension, and nothing for auditwheel")
def test_a_wheel_for_every_glibc_since_2_17(tmp_path: Path, english: Path) -> None:
    """manylinux2014, which cibuildwheel builds in a container with an old glibc; here zig provides the old symbols."""
    pytest.importorskip("ziglang")
    zig = f"{sys.executable} -m ziglang cc -target {os.uname().machine}-linux-gnu.2.17"
    made = make_wheel(tmp_path, CC=zig, LDSHARED=f"{zig} -shared")
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    words = [sys.executable, "-m", "auditwheel", "repair", "--wheel-dir", str(tmp_path / "out"), str(made)]
    subprocess.run(words, env=env, capture_output=True, check=True)
    [repaired] = (tmp_path / "out").glob("*.whl")
    assert "manylinux2014" in repaired.name
    zipfile.ZipFile(repaired).extractall(tmp_path / "installed")
    code = (
        f"import hardpoint as h, hardpoint.contracts as c; print(h.info(h.load({str(english)!r}, c.Greeter)).binding)"
    )
    env["PYTHONPATH"] = str(tmp_path / "installed")
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "native\n"
