"""The checks of the conformance kit: a plugin with one fault fails the check for it, and no other."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import pytest

import hardpoint
from hardpoint import conformance

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conftest import Compiler

    from hardpoint.conformance import Report


@hardpoint.contract("faulty", version="1.0")
@runtime_checkable
class Faulty(Protocol):
    """Methods with parameters and results of every kind."""

    def echo(self, text: str) -> str: ...
    def mix(self, left: bytes, right: bytes, number: int, factor: float) -> float: ...
    def flip(self, data: bytearray) -> None: ...
    def is_long(self, text: str, most: int) -> bool: ...


class Fault(NamedTuple):
    words: str
    """The compiler's option for the fault."""
    check: str
    status: str
    detail: str
    """A part of the detail."""


TIMEOUT = 4
"""Seconds. The checks of threads and memory take a share of it, and each fault's plugin goes through the whole kit."""
HARDENED = ("-Wl,-z,relro,-z,now", "-lm", "-pthread")
FAULTS = [
    Fault("-Wl,-z,execstack", "file.fits", "failed", "a non-executable stack"),
    Fault("-DFLAGS_ARE_UNKNOWN", "file.flags", "failed", "its vtable has the flags 0x1, which the ABI does not define"),
    Fault("-DEXPORTS_MORE", "file.exports", "warning", "it also exports faulty_helper; compile with -fvisibility=hidden"),
    Fault("-Wl,-z,lazy", "file.hardening", "warning", "link it with -Wl,-z,now"),
    Fault("-Wl,-z,norelro", "file.hardening", "warning", "link it with -Wl,-z,relro"),
    Fault("-Wl,-rpath,/opt/lib", "file.runpath", "warning", "it names /opt/lib, which another machine need not have"),
    Fault("-DLOAD_CRASHES", "load.opens", "crashed", "SIGABRT in: loading the library"),
    Fault("-DSWAPS_A_SLOT", "load.opens", "failed", "the slot of flip changed"),
    Fault("-DLOAD_ROUNDS", "load.state", "failed", "changed the floating-point mode of the process"),
    Fault("-DLOAD_HANDLES", "load.state", "warning", "changed the handler of signal 10 of the process"),
    Fault("-DLOAD_MASKS", "load.state", "failed", "changed the signal mask of the process; this was put back"),
    Fault("-DLOAD_PRINTS", "load.silent", "failed", "it wrote 'faulty 1.0 is here\\n' to stdout; a plugin writes nothing there"),
    Fault("-DLOAD_IS_SLOW", "load.time", "warning", "and every host pays that"),
    Fault("-DNEEDS_CONFIG", "lifecycle.create", "failed", "a config is needed; if it needs a config, give it with --config"),
    Fault("-DDESTROY_CRASHES", "lifecycle.create", "crashed", "SIGABRT in: destroy"),
    Fault("-DFREES_TWICE", "lifecycle.cycles", "crashed", "in: destroy, after 499 instances"),
    Fault("-DONE_INSTANCE", "lifecycle.many", "failed", "with 1 instances alive, create failed"),
    Fault("-DCONFIG_CRASHES", "lifecycle.config", "crashed", "SIGSEGV in: create with the config b'[[["),
    Fault("-DCONFIG_STATUS", "lifecycle.config", "failed", "create returned the status -1"),
    Fault("-DCONFIG_STATUS_IS_RESERVED", "lifecycle.config", "failed", "create returned the status 17, which is reserved"),
    Fault("-DCONFIG_REASON_IS_LATIN_1", "lifecycle.config", "failed", "create gave a reason that is not UTF-8"),
    Fault("-DBOUND_TO_ITS_THREAD", "lifecycle.threads", "crashed", "SIGABRT in: destroy"),
    Fault("-DQUERY_KNOWS_ALL", "lifecycle.query", "failed", "query('hp.nothing') returned a pointer"),
    Fault("-DLEAVES_ITS_FOLDER", "lifecycle.state", "failed", "it changed the working directory of the process"),
    Fault("-DSWAPS_LATER", "lifecycle.vtable", "failed", "calls changed flip in the vtable"),
    Fault("-DEXIT_CRASHES", "lifecycle.exit", "crashed", "SIGABRT in: the end of the process"),
    Fault("-DCRASHES", "calls.tiny", "crashed", "SIGABRT in: echo(text='a')"),
    Fault("-DCRASHES_ON_EMPTY", "calls.empty", "crashed", "SIGABRT in: echo(text='')"),
    Fault("-DEXITS_ON_EMPTY", "calls.empty", "crashed", "it ended the process, with exit status 3 in: echo(text='')"),
    Fault("-DCRASHES_ON_NUL", "calls.nul", "crashed", "SIGABRT in: echo(text='\\x00')"),
    Fault("-DHANGS_ON_NUL", "calls.nul", "timed out", "it did not return within 4 s from: echo(text='\\x00')"),
    Fault("-DCRASHES_ON_UNICODE", "calls.unicode", "crashed", "(4,095 characters)"),
    Fault("-DCRASHES_ON_EXTREME", "calls.extreme", "crashed", "number=-9223372036854775808"),
    Fault("-DCRASHES_ON_HUGE", "calls.huge", "crashed", "(1,048,576 characters)"),
    Fault("-DCRASHES_AT_RANDOM", "calls.random", "crashed", "SIGABRT in: echo(text="),
    Fault("-DSTATUS_IS_NEGATIVE", "answers.status", "failed", "echo(text='a') returned the status -1"),
    Fault("-DSTATUS_IS_RESERVED", "answers.status", "failed", "echo(text='a') returned the status 5, and a status of"),
    Fault("-DSTATUS_IS_THE_LAST_RESERVED", "answers.status", "failed", "echo(text='a') returned the status 255"),
    Fault("-DSAYS_TOO_MUCH", "answers.length", "failed", "echo(text='a') says that it wrote 67,108,865 bytes"),
    Fault("-DCHANGES_OUT", "answers.struct", "failed", "echo(text='a') changed data, cap or grow of its hp_out"),
    Fault("-DGIVES_LATIN_1", "answers.text", "failed", "echo(text='a') gave text that is not UTF-8"),
    Fault("-DREASON_IS_LATIN_1", "answers.text", "failed", "echo(text='a') gave a reason that is not UTF-8"),
    Fault("-DLEAVES_A_PART_ON_NUL", "answers.reason", "warning", "gives b'Wo' as the reason, with which results start"),
    Fault("-DBOOL_IS_TWO", "answers.bool", "failed", "stored 2 in its bool"),
    Fault("-DREADS_BEHIND", "buffers.bounds", "crashed", "SIGSEGV in: echo(text='a')"),
    Fault("-DWRITES_CONST", "buffers.readonly", "crashed", "SIGSEGV in: echo(text='a')"),
    Fault("-DWANTS_ALIGNED", "buffers.unaligned", "crashed", "(4,096 characters)"),
    Fault("-DWANTS_TWO_BUFFERS", "buffers.shared", "crashed", "SIGABRT in: mix(left=b'World', right=b'World'"),
    Fault("-DKEEPS_INPUT", "buffers.kept", "crashed", "SIGSEGV in: echo(text='World')"),
    Fault("-DWRITES_BEHIND", "out.bounds", "crashed", "SIGSEGV in: echo(text='a')"),
    Fault("-DWRITES_BEFORE", "out.bounds", "failed", "echo(text='a') wrote before the start of out->data"),
    Fault("-DSTALE_DATA", "out.moved", "crashed", "(4,096 characters)"),
    Fault("-DIGNORES_REFUSAL", "out.refused", "failed", "wrote behind out->cap though grow had refused"),
    Fault("-DSILENT_REFUSAL", "out.refused", "warning", "returned 0 though grow had refused; return HP_NO_MEMORY"),
    Fault("-DLEAVES_A_PART", "out.reason", "failed", "as the reason, which is the start of its result"),
    Fault("-DLEAVES_A_LATER_PART", "out.reason", "failed", "as the reason, which is the start of its result"),
    Fault("-DCUTS_ITS_REASON", "out.reason", "failed", "with a reason that is not UTF-8"),
    Fault("-DGROWS_ELSEWHERE", "out.thread", "failed", "called grow on another thread"),
    Fault("-DBOOL_IS_WIDE", "out.scalar", "crashed", "SIGSEGV in: is_long(text='a', most=7)"),
    Fault("-DLOG_HAS_NO_HEADER", "log.records", "failed", "a log record of 10 bytes, where its header alone has 16"),
    Fault("-DLOG_OF_ANOTHER", "log.records", "failed", "from the source 0x0, which is not hp_host.log_source"),
    Fault("-DLOG_RESERVED", "log.records", "failed", "with 1 in the reserved field"),
    Fault("-DLOG_IS_LONG", "log.records", "failed", "with a text of 1,025 bytes, and 1,024 is the limit"),
    Fault("-DLOG_ENDS_IN_NUL", "log.records", "failed", "with a NUL at its end"),
    Fault("-DLOG_IS_LATIN_1", "log.records", "failed", "that is not UTF-8"),
    Fault("-DLOG_IS_CUT", "log.records", "warning", "that was truncated within a character"),
    Fault("-DLOG_LEVEL", "log.records", "warning", "of the level 25, which has no name"),
    Fault("-DLOG_IS_CLOSED", "log.descriptor", "failed", "to send to, and closed it"),
    Fault("-DLOG_BLOCKS", "log.descriptor", "failed", "changed its flags, so that it blocks"),
    Fault("-DLOG_IS_READ", "log.descriptor", "failed", "read from it"),
    Fault("-DLOG_IS_SHUT", "log.descriptor", "failed", "shut it down"),
    Fault("-DLOG_IS_UNCOUNTED", "log.full", "failed", "and counts none when the log is full"),
    Fault("-DLOG_WAITS", "log.full", "timed out", "did not return within 4 s from: create with no config"),
    Fault("-DWRITES_ITS_HOST", "log.host", "crashed", "SIGSEGV in: create with no config"),
    Fault("-DONE_THREAD", "threads.one", "crashed", "SIGABRT in: calls of one instance from 4 threads at once"),
    Fault("-DCREATE_RACES", "threads.many", "crashed", "SIGABRT in: instances created, called and destroyed on 4 threads"),
    Fault("-DSHARES_A_BUFFER", "threads.stable", "failed", "while others were calling; protect what calls share with a lock"),
    Fault("-DLEAKS", "memory.calls", "failed", "calls of each method, some"),
    Fault("-DLEAKS_INSTANCE", "memory.instances", "failed", "instances, some"),
    Fault("-DLEAKS_LATE", "memory.instances", "failed", "instances, some"),
    Fault("-DLEAVES_DESCRIPTOR", "left.descriptors", "failed", "20 instances left 20 descriptors open: /dev/null (20)"),
    Fault("-DLEAVES_THREAD", "left.threads", "failed", "20 instances left 20 threads running"),
]  # fmt: skip


@pytest.fixture(scope="session")
def compile_faulty(compiler: Compiler) -> Compiler:
    compiler.header(Faulty)
    return compiler


def test_a_plugin_without_a_fault_passes_every_check(compile_faulty: Compiler) -> None:
    report = conformance.run(compile_faulty.library("faulty.c", *HARDENED), Faulty)
    assert {
        (outcome.name, outcome.status, outcome.detail)
        for outcome in report.outcomes
        if outcome.status != "passed" and outcome.name != "load.time"
    } == set()
    assert [outcome.name for outcome in report.outcomes] == list(conformance.CHECKS)


def of(fault: Fault) -> str:
    """The name of a test."""
    return fault.words.removeprefix("-D").removeprefix("-Wl,")


def run(compile_faulty: Compiler, fault: Fault, only: Iterable[str] = ()) -> Report:
    library = compile_faulty.library("faulty.c", *HARDENED, fault.words)
    return conformance.run(library, Faulty, only=only, timeout=TIMEOUT if fault.status == "timed out" else 60.0, jobs=1)


SAMPLE = {fault.check: fault for fault in reversed(FAULTS) if not fault.check.startswith("memory.")}
"""One fault a check. Memory is watched for 10 s a fault, and on a busy machine finds less."""


@pytest.mark.parametrize("fault", SAMPLE.values(), ids=of)
def test_a_fault_fails_its_check(compile_faulty: Compiler, fault: Fault) -> None:
    [outcome] = run(compile_faulty, fault, [fault.check]).outcomes
    assert (outcome.name, outcome.status) == (fault.check, fault.status)
    assert fault.detail in outcome.detail


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS, ids=of)
def test_a_fault_fails_its_check_and_no_other(compile_faulty: Compiler, fault: Fault) -> None:
    report = run(compile_faulty, fault)
    found = {outcome.name: outcome.status for outcome in report.outcomes if outcome.status not in {"passed", "skipped"}}
    if fault.check != "load.time":  # may fail on a busy machine
        found.pop("load.time", None)
    assert found == {fault.check: fault.status}, [o for o in report.outcomes if o.name in found]
    [outcome] = [outcome for outcome in report.outcomes if outcome.name == fault.check]
    assert fault.detail in outcome.detail


def test_every_check_that_can_fail_has_a_fault(compile_faulty: Compiler) -> None:
    assert set(conformance.CHECKS) - {fault.check for fault in FAULTS} == {"file.glibc"}
