"""Compare hardpoint with its peers: build them, run the processes, write the results. `./build.sh bench`."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import docs, machine, report
from benchmarks.peers import PEERS
from benchmarks.plot import plot
from benchmarks.summary import summarize
from benchmarks.workshop import MissingError, Workshop

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parent.parent


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="build.sh bench", description=__doc__)
    parser.add_argument("--peers", metavar="A,B", help=f"only these, of {', '.join(PEERS)}")
    parser.add_argument("--processes", type=int, default=12, help="how many (default %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=40, help="samples of each peer in a process (default %(default)s)"
    )
    parser.add_argument("--sample-us", type=float, default=1000, help="length of a sample (default %(default)g)")
    parser.add_argument("--greeter", type=Path, default=ROOT / "build/plugins/english.so")
    parser.add_argument("--transformer", type=Path, default=ROOT / "build/plugins/uppercase.so")
    parser.add_argument("--folder", type=Path, default=ROOT / "build/bench", help="where the peers are built")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write a plot, .svg or .png")
    parser.add_argument("--docs", action="store_true", help="update docs/benchmarks.md, .json and .svg")
    parser.add_argument("--startup", action="store_true", help="measure the cost before the first call as well")
    parser.add_argument("--plain", action="store_true", help="print Markdown, and no progress")
    return parser.parse_args(words)


def build(names: list[str], workshop: Workshop) -> tuple[dict[str, str], dict[str, str]]:
    """Build each peer and try it once; return the versions of those that work, and why the others do not."""
    versions, missing = {}, {}
    for name in names:
        print(f"{name}: building", file=sys.stderr)
        try:
            versions[name] = PEERS[name].build(workshop)
            measure([name], workshop, rounds=1, sample_ns=1000)
        except MissingError as error:
            versions.pop(name, None)
            missing[name] = str(error)
            print(f"{name}: left out: {error}", file=sys.stderr)
    return versions, missing


def measure(names: list[str], workshop: Workshop, *, rounds: int, sample_ns: float) -> dict[str, Any]:
    """Run one process and return its measurements; MissingError with its last line on stderr if it fails."""
    task = {**{field: str(value) for field, value in workshop._asdict().items()}, "peers": names}
    words = json.dumps({**task, "rounds": rounds, "sample_ns": sample_ns})
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.worker", words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise MissingError(done.stderr.strip().rpartition("\n")[2] or f"it ended with status {done.returncode}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def measure_startup(plugin: Path, folder: Path) -> dict[str, Any]:
    """Run startup.py and return its figures."""
    print("start-up", file=sys.stderr)
    figures = folder / "startup.json"
    words = [sys.executable, str(ROOT / "benchmarks/startup.py"), str(plugin), "--json", str(figures)]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    result: dict[str, Any] = json.loads(figures.read_text())
    return result


def main(words: Sequence[str] | None = None) -> int:
    """Run everything, and return 0. Exits with a message if nothing can be measured."""
    options = arguments(words)
    names = options.peers.split(",") if options.peers else list(PEERS)
    if unknown := set(names) - set(PEERS):
        sys.exit(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    options.folder.mkdir(parents=True, exist_ok=True)
    workshop = Workshop(options.folder.resolve(), options.greeter.resolve(), options.transformer.resolve())
    versions, missing = build(names, workshop)
    if not versions:
        sys.exit("none of the peers can be measured here")
    place = machine.describe()
    runs = []
    for turn in range(options.processes):
        print(f"process {turn + 1} of {options.processes}", file=sys.stderr)
        runs.append(measure(list(versions), workshop, rounds=options.rounds, sample_ns=options.sample_us * 1000))
    results: report.Results = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": place,
        "processes": options.processes,
        "rounds": options.rounds,
        "peers": {n: {"title": PEERS[n].title, "version": versions[n], "does": PEERS[n].does} for n in versions},
        "missing": missing,
        **summarize(runs),
    }
    if options.startup:
        results["startup"] = measure_startup(workshop.greeter, workshop.folder)
    _write(results, options)
    return 0


def _write(results: report.Results, options: argparse.Namespace) -> None:
    if options.plain:
        print(report.markdown(results))
    else:
        report.show(results)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    if options.plot:
        plot(results, options.plot)
    if options.docs:
        docs.write(results)


if __name__ == "__main__":
    sys.exit(main())
