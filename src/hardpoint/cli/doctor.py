"""Describe this machine as hardpoint sees it, and run every check on a library, one by one.

None of the plugin's code runs. Include the output in a question or a bug report. The exit status is 1 if there are
problems, and 3 if there is no such file; warnings do not change it.

examples:
  hardpoint doctor
  hardpoint doctor build/plugins/english.so
  hardpoint doctor scorer.so --contract scorer:Scorer --json
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import one_line
from .contracts import named
from .environment import describe_environment, find_problems
from .output import coloured, print_fact, print_folded, print_json, print_problem
from .stages import check_library

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from ..errors import Problem
    from .stages import StageResult

_COLOURS = {"ok": 32, "problem": 31, "warning": 33, "not reached": 90}


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("file", nargs="?", metavar="FILE", help="a library to check")
    parser.add_argument("--contract", type=named, metavar="MODULE:CLASS", help="the contract to check it against")
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def run(arguments: Namespace) -> int:
    """Describe the host, and check the file if there is one."""
    if arguments.contract and not arguments.file:
        arguments.command.error("--contract is for a FILE, and none was given")
    host, problems = describe_environment(), find_problems()
    checks = check_library(arguments.file, arguments.contract) if arguments.file else []
    if arguments.json:
        print_json(_as_dict(host, problems, arguments.file, checks))
    else:
        _show_host(host, problems)
        if arguments.file:
            _show_checks(arguments.file, checks)
    found = [*problems, *(problem for check in checks for problem in check.problems)]
    if any(problem.code == "file-missing" for problem in found):
        return 3
    return 1 if any(problem.fatal for problem in found) else 0


def _as_dict(
    host: dict[str, Any], problems: list[Problem], file: str | None, checks: list[StageResult]
) -> dict[str, Any]:
    own = [{**check._asdict(), "problems": [problem._asdict() for problem in check.problems]} for check in checks]
    library = {"file": file, "checks": own} if file else {}
    return {"host": host, "problems": [problem._asdict() for problem in problems], **library}


def _show_host(host: dict[str, Any], problems: list[Problem]) -> None:
    binding, compiler, python = host["binding"], host["compiler"], host["python"]
    print_fact(
        "hardpoint", f"{host['hardpoint']['version']}, ABI {host['hardpoint']['abi']}", host["hardpoint"]["folder"]
    )
    print_fact("python", f"{python['implementation']} {python['version']}", python["executable"])
    print_fact("machine", f"{host['machine']}, {host['system']}")
    print_fact("libc", f"{host['libc']['name']} {host['libc']['version']}".strip())
    why = binding["why_not_native"]
    native = [f"not native: {why}" if why else "the fastest, which was built when hardpoint was installed"]
    print_fact("binding", binding["default"], *native)
    print_fact("isolation", _isolation(host["isolation"]))
    print_fact("cffi", host["cffi"])
    print_fact("compiler", *([compiler["version"], compiler["path"]] if compiler else ["none"]))
    print_fact("Python.h", host["python_h"] or "none")
    print_fact("headers", host["headers"])
    print_fact("places", *(f"{each['folder']} ({each['origin']}): {each['found']}" for each in host["places"]))
    for problem in problems:
        print_problem(problem)


def _isolation(has: dict[str, Any]) -> str:
    """List what isolation uses, with `no` before what is missing."""
    landlock = f"Landlock {has['landlock']}" if has["landlock"] else "no Landlock"
    return ", ".join(
        [landlock, *(name if has[name] else f"no {name}" for name in ("seccomp", "memfd", "pidfd", "program"))]
    )


def _show_checks(path: str, checks: list[StageResult]) -> None:
    print()
    print_folded("", one_line(path))
    contract = ""
    for check in checks:
        if check.contract != contract:
            contract = check.contract
            if contract:
                print_folded("  ", contract)
        indent = "    " if contract else "  "
        state = coloured(f"{check.outcome:<11}", _COLOURS[check.outcome])
        print_folded(f"{indent}{state} {check.name:<{18 - len(indent)}} ", check.about)
        for problem in check.problems:
            print_problem(problem)
