"""The image of the Dockerfile, as users build and run it. Needs Docker: `./build.sh test -m container`.

HARDPOINT_DOCKER is the command, `docker` by default; it may have several words, as with `sudo docker`.
HARDPOINT_RELEASE is the Debian release, `bookworm` by default.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING, Protocol

import pytest
from conftest import ROOT
from pages import blocks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.container

DOCKER = shlex.split(os.environ.get("HARDPOINT_DOCKER", "docker"))
RELEASE = os.environ.get("HARDPOINT_RELEASE", "bookworm")
IMAGE = f"hardpoint-test-{RELEASE}"
LOCKED = shlex.split("--read-only --cap-drop all --network none --security-opt no-new-privileges --memory 256m")
ENGLISH = "/usr/local/lib/hardpoint/plugins/english.so"


class Run(Protocol):
    def __call__(
        self, *words: str, options: tuple[str, ...] = (), image: str = IMAGE
    ) -> subprocess.CompletedProcess[str]: ...


def docker(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*DOCKER, *words], capture_output=True, text=True, check=False, timeout=1800)
    if check and done.returncode:
        pytest.fail(
            f"{shlex.join([*DOCKER, *words])}: exit status {done.returncode}\n{done.stdout[-5000:]}{done.stderr[-5000:]}"
        )
    return done


def build(image: str, *words: str) -> None:
    docker("build", "--build-arg", f"RELEASE={RELEASE}", *words, "-t", image, str(ROOT))


@pytest.fixture(scope="session", autouse=True)
def engine() -> None:
    if shutil.which(DOCKER[0]) is None or docker("version", check=False).returncode:
        pytest.skip(f"there is no Docker: {shlex.join(DOCKER)} version fails")


@pytest.fixture(scope="session")
def run(engine: None) -> Iterator[Run]:
    """Run a container of the image with the restrictions that the Dockerfile lists."""
    build(IMAGE)

    def run(*words: str, options: tuple[str, ...] = (), image: str = IMAGE) -> subprocess.CompletedProcess[str]:
        # Detached: some engines lose the last output of an attached container.
        container = docker("run", "--detach", *LOCKED, *options, image, *words).stdout.strip()
        status = docker("wait", container).stdout.strip()
        done = docker("logs", container)
        docker("rm", container)
        assert status == "0", f"{shlex.join(words)}: exit status {status}\n{done.stdout}{done.stderr}"
        return done

    yield run
    docker("rmi", IMAGE, check=False)


def test_its_default_output_is_that_of_build_sh_run(run: Run) -> None:
    assert run().stdout == (
        "[English] Hello, World! Nice to meet you.\n"
        "[Español] ¡Hola, World! Mucho gusto.\n"
        "Plugin not found: build/plugins/french.so\n"
        'uppercase: "Hello, World!" -> "HELLO, WORLD!"\n'
        'reverse: "Hello, World!" -> "!dlroW ,olleH"\n'
    )


def test_check(run: Run) -> None:
    assert run("check", ENGLISH).stdout == f"{ENGLISH}: fits greeter 1.0 (english 1.0.0)\n"


def test_list(run: Run) -> None:
    found = {plugin["plugin"]: plugin["status"] for plugin in json.loads(run("list", "--json").stdout)["plugins"]}
    assert found == dict.fromkeys(["english", "spanish", "uppercase", "reverse"], "fits")


def test_a_folder_of_the_users_own(run: Run, english: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    shutil.copy(english, tmp_path / "mine.so")
    options = ("-v", f"{tmp_path}:/plugins:ro")
    assert run("check", "/plugins/mine.so", options=options).stdout.startswith("/plugins/mine.so: fits greeter 1.0")
    assert run("call", "english", "greet", "World", options=options).stdout == "Hello, World! Nice to meet you.\n"
    found = [
        plugin
        for plugin in json.loads(run("list", "--json", options=options).stdout)["plugins"]
        if plugin["plugin"] == "english"
    ]
    assert [(plugin["file"], plugin["status"]) for plugin in found] == [
        ("/plugins/mine.so", "fits"),
        (ENGLISH, "shadowed"),
    ]


def test_isolation_loses_nothing(run: Run) -> None:
    """With no capabilities, no new privileges and a read-only file system."""
    done = run("call", "--isolated", "-v", "--memory", "128MiB", ENGLISH, "greet", "World")
    assert done.stdout == "Hello, World! Nice to meet you.\n"
    assert "network: none, and no Unix sockets (seccomp)" in done.stderr
    assert "lacking" not in done.stderr


def test_bench(run: Run) -> None:
    rows = [
        line.split()[0] for line in run("bench", ENGLISH, "greet", "World", "--rounds", "1").stdout.splitlines() if line
    ]
    assert {"floor", "python", "native", "cffi", "ctypes", "isolated"} <= set(rows)


def test_the_commands_of_the_page(run: Run, english: Path, tmp_path: Path) -> None:
    """The commands of docs/container.md, with this image's name and a folder for $PWD."""
    (tmp_path / "plugins").mkdir()
    shutil.copy(english, tmp_path / "plugins/mine.so")
    tmp_path.chmod(0o755)
    commands = "".join(block.text for block in blocks("docs/container.md") if block.by).replace("\\\n", "")
    for command in commands.splitlines():
        program, subcommand, *words = shlex.split(command, comments=True)
        if subcommand == "build":  # done by the fixture
            assert [program, *words] in (
                ["docker", "-t", "hardpoint", "."],
                ["docker", "-t", "hardpoint", "--build-arg", "RELEASE=trixie", "."],
            )
        else:
            assert (program, subcommand) == ("docker", "run")
            words = [IMAGE if word == "hardpoint" else word.replace("$PWD", str(tmp_path)) for word in words]
            docker("run", *([] if "--network" in words else ["--network", "none"]), *words)  # not every engine has it


def test_no_compiler_not_root_and_no_shell_at_the_entry(run: Run) -> None:
    config = json.loads(docker("inspect", "--type", "image", IMAGE).stdout)[0]["Config"]
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["python", "/srv/container.py"]
    assert config["Labels"]["org.opencontainers.image.licenses"] == "MIT"
    found = run("-c", "command -v gcc cc g++ make pip pip3; true", options=("--entrypoint", "sh")).stdout
    assert found == ""


def test_a_users_own_image(run: Run) -> None:
    """The stage `host`: an application and a plugin's wheel, both installed by pip."""
    image = f"{IMAGE}-host"
    build(image, "--target", "host")
    try:
        assert run(image=image).stdout == "Moin, World!\n"
    finally:
        docker("rmi", image, check=False)
