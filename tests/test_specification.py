"""docs/abi.md: each requirement has a test that shows it, and the page's tables and programs do as the host does."""

from __future__ import annotations

import ast
import keyword
import re
import struct
import subprocess
import sys
from typing import TYPE_CHECKING, Any, cast

import pytest
from conftest import ROOT, TESTS
from notes import library, note
from pages import blocks, written
from test_manifest import ACCEPTED, GOOD, MALFORMED, changed
from test_manifest import note as described
from test_notes import GREETER, SINGER, read

import hardpoint
from hardpoint.definition.canonical_text import contract_from_texts
from hardpoint.elf.constants import EM_AARCH64, EM_X86_64
from hardpoint.elf.relocations import RELOCATION_TYPES
from hardpoint.preflight.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PAGE = "docs/abi.md"


# -- the page's own reader ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def by_the_page(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], list[dict[str, Any]]]:
    """The function `manifests` of the page."""
    folder, names = tmp_path_factory.mktemp("page"), dict[str, Any]({"__name__": "page"})
    [code] = [block.text for block in blocks("docs/abi.md") if block.file == "manifests.py"]
    [words] = [block.text for block in blocks("docs/abi.md") if block.file == "words"]
    (folder / "words").write_text(words)
    exec(compile(code.replace('"words"', repr(str(folder / "words"))), "manifests.py", "exec"), names)
    return cast("Callable[[bytes], list[dict[str, Any]]]", names["manifests"])


def _cases() -> dict[str, bytes]:
    """Libraries, good and bad, by what is special about them."""
    cases = {f"manifest: {name}": library(note(case[0])) for name, case in MALFORMED.items()}
    cases |= {
        f"manifest: {name}": library(note(changed(**fields).replace(b"Infinity", b"1e999")))
        for name, fields in ACCEPTED.items()
    }
    cases |= {
        f"without {name}": library(note(described({k: v for k, v in GOOD.items() if k != name}))) for name in GOOD
    }
    for align in (0, 1, 2, 3, 4, 8, 16, 1 << 63):
        for shift in (0, 2, 4):
            segment = note(GREETER, step=8 if align == 8 else 4)
            cases[f"align {align}, shift {shift}"] = library(segment, note(SINGER), align=align, shift=shift)
            cases[f"empty, align {align}, shift {shift}"] = library(b"", align=align, shift=shift)
    for size in range(0, 40, 4):
        cases[f"gap of {size}"] = library(note(GREETER) + bytes(size) + note(SINGER))
        cases[f"tail of {size}"] = library(note(GREETER) + bytes(size) + b"\1")
    whole = library(note(GREETER), note(SINGER))
    cases |= {f"cut to {size}": whole[:size] for size in range(0, len(whole), 37)}
    for at in range(0x440, 0x460, 4):
        for value in (0, 1, 7, 0x7FFFFFFF, 0xFFFFFFFF):
            data = bytearray(whole)
            data[at : at + 4] = value.to_bytes(4, "little")
            cases[f"{value:#x} at {at:#x}"] = bytes(data)
    return cases


def test_the_pages_reader_and_the_host_accept_the_same_libraries(
    tmp_path: Path, by_the_page: Callable[[bytes], list[dict[str, Any]]]
) -> None:
    differ: dict[str, Any] = {}
    accepted = 0
    for name, data in _cases().items():
        try:
            theirs: Any = [(each["contract"], tuple(each["methods"])) for each in by_the_page(data)]
        except (ValueError, struct.error):
            theirs = None
        try:
            found = read(tmp_path, data)
            ours: Any = (
                None
                if any(isinstance(each, hardpoint.Problem) for each in found)
                else [(each.contract, each.methods) for each in found if isinstance(each, Manifest)]
            )
        except hardpoint.HardpointError as error:
            ours = [] if "manifest-missing" in str(error) else None
        accepted += bool(ours)
        if ours != theirs:
            differ[name] = (ours, theirs)
    assert differ == {}
    assert accepted > 20


def test_reserved_words_do_not_depend_on_the_version_of_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """The list is frozen: a keyword of a later Python is a name like others, and one that is dropped stays reserved."""
    monkeypatch.setattr(keyword, "kwlist", ["newword"])
    monkeypatch.setattr(keyword, "iskeyword", "newword".__eq__)
    for name in ("newword", "match", "type"):
        contract_from_texts("letters", "1.0", (f"{name}() -> int",))
    with pytest.raises(ValueError, match="taken by Python"):
        contract_from_texts("letters", "1.0", ("lambda() -> int",))


# -- every requirement has a test --------------------------------------------------------------------------------------

FITS, FAULT = (
    "test_refusals.py::test_a_plugin_that_does_not_fit",
    "test_conformance_faults.py::test_a_fault_fails_its_check",
)
ENTRY, KIND = (
    "test_integrity.py::test_a_dynamic_entry_with_a_wrong_value",
    "test_integrity.py::test_a_dynamic_entry_of_another_kind",
)
HEADER, RELOCATION = "test_integrity.py::test_a_damaged_program_header", "test_integrity.py::test_a_damaged_relocation"
SYMBOL, LIVE = (
    "test_integrity.py::test_a_damaged_symbol",
    "test_library.py::test_a_vtable_that_changes_when_it_is_loaded",
)
MALFORMED_ONE = "test_manifest.py::test_a_malformed_manifest_is_a_problem"
SHOWN: dict[str, str] = {
    # The start of each sentence with MUST, or the number of a row; the tests that show it.
    "A host MUST meet every requirement of its level": "test_specification.py::test_every_requirement_is_shown_by_a_test",
    "For each contract it MUST have one note": f"test_refusals.py::test_a_library_without_a_manifest {FITS}[symbol missing]",
    "It MAY hold plugins for several contracts": f"{FITS}[two notes] test_abi.py::test_two_notes_in_one_library_are_both_read",
    "It MUST NOT request an executable stack": f"test_refusals.py::test_an_executable_stack {FAULT}_and_no_other[execstack]",
    "Its section SHOULD be named `.note.hardpoint`, and MUST have the type `SHT_NOTE`": "test_notes.py::test_a_note_in_a_section_of_data_is_not_found",
    "Every `PT_NOTE` segment of the library MUST": "test_notes.py::test_notes_with_another_alignment_than_4_and_8_are_refused test_notes.py::test_a_segment_of_notes_at_an_address_that_is_not_aligned_is_refused test_notes.py::test_a_contract_does_not_vanish_in_the_gap_between_two_notes",
    "All bytes that are left MUST be 0": "test_notes.py::test_bytes_after_the_last_note_are_refused_unless_they_are_zero test_notes.py::test_a_gap_of_zeros_between_two_notes_is_refused",
    "It MUST end within the segment": "test_notes.py::test_a_note_that_ends_after_its_segment_is_refused",
    "The manifest is a JSON text": f"test_manifest.py::test_a_missing_field_is_named {MALFORMED_ONE}[no JSON] {MALFORMED_ONE}[no UTF-8] {MALFORMED_ONE}[list]",
    "It MUST NOT contain:": MALFORMED_ONE,
    "a byte order mark": f"{MALFORMED_ONE}[byte order mark] {MALFORMED_ONE}[NUL inside] {MALFORMED_ONE}[two NULs]",
    "two members of the same name": f"{MALFORMED_ONE}[field twice] {MALFORMED_ONE}[field twice within another] {MALFORMED_ONE}[one escaped, one not]",
    "more than 32 levels": f"{MALFORMED_ONE}[33 levels of lists] {MALFORMED_ONE}[33 levels of objects] test_manifest.py::test_valid_manifests[32 levels, and many more side by side]",
    "an escape of a surrogate": f"{MALFORMED_ONE}[half a character in an unknown field] {MALFORMED_ONE}[half a character in an unknown name] test_manifest.py::test_valid_manifests[both halves of a character]",
    "what is not JSON": f"{MALFORMED_ONE}[NaN] {MALFORMED_ONE}[infinity] {MALFORMED_ONE}[no JSON] test_manifest.py::test_a_number_may_have_any_number_of_digits",
    "A plugin MUST NOT list a method": "test_versions.py::test_a_method_that_is_newer_than_its_manifest_is_refused_by_the_host_and_the_kit",
    "A manifest MUST NOT use a reserved name": f"{MALFORMED_ONE}[contract of C's] test_cli.py::test_check_explains_an_invalid_method_in_a_manifest test_signature.py::test_a_methods_name_that_a_class_cannot_have_is_refused_in_texts test_signature.py::test_a_parameters_name_that_a_class_cannot_have_is_refused_in_texts",
    "The library MUST export the vtable": f"{FITS}[symbol missing] {FITS}[symbol a function] test_refusals.py::test_the_symbol_is_in_a_dependency_only",
    "Its value MUST be a multiple of 8": f"{FITS}[vtable that is not aligned]",
    "Its size MUST be 48": f"{FITS}[vtable too small]",
    "The vtable MUST be a constant": f"{FITS}[a vtable that running code would fill] {FITS}[a slot that is no function]",
    "The plugin MUST NOT change the vtable": LIVE,
    "All other bits MUST be 0": f"{FITS}[flags that must be known]",
    "It MUST return NULL for every `id`": f"{FAULT}_and_no_other[QUERY_KNOWS_ALL]",
    "A plugin MUST NOT read or write outside of a buffer": f"{FAULT}_and_no_other[READS_BEHIND] {FAULT}_and_no_other[WRITES_CONST]",
    "A plugin MUST NOT store another `bool`": f"{FAULT}_and_no_other[BOOL_IS_TWO] {FAULT}_and_no_other[BOOL_IS_WIDE]",
    "A plugin MUST NOT return any other value": f"{FAULT}_and_no_other[STATUS_IS_NEGATIVE] test_bindings.py::test_a_violation_of_the_abi_is_an_error_and_not_a_crash[status-large] test_bindings.py::test_a_method_that_fails_with_each_status",
    "After a failure, `out` MUST hold the reason": f"{FAULT}_and_no_other[REASON_IS_LATIN_1]",
    "It MUST NOT write outside of `data`": f"{FAULT}_and_no_other[WRITES_BEHIND] {FAULT}_and_no_other[WRITES_BEFORE] {FAULT}_and_no_other[CHANGES_OUT] {FAULT}_and_no_other[SAYS_TOO_MUCH]",
    "A plugin MUST NOT write to it": f"{FAULT}_and_no_other[WRITES_ITS_HOST]",
    "If the send fails, it MUST add 1": f"{FAULT}_and_no_other[LOG_IS_UNCOUNTED] test_abi.py::test_the_helpers_at_their_limits",
    "Each packet MUST have this form": f"{FAULT}_and_no_other[LOG_HAS_NO_HEADER]",
    "The plugin MUST NOT read from the socket": f"{FAULT}_and_no_other[LOG_IS_READ] {FAULT}_and_no_other[LOG_IS_CLOSED] {FAULT}_and_no_other[LOG_BLOCKS] {FAULT}_and_no_other[LOG_IS_SHUT]",
    "A plugin MUST NOT write to them while": FAULT,
    "The plugin MUST check `cap` afterwards": f"{FAULT}_and_no_other[IGNORES_REFUSAL] {FAULT}_and_no_other[STALE_DATA]",
    "A plugin MUST NOT use the others after the return": f"{FAULT}_and_no_other[KEEPS_INPUT]",
    "A plugin MUST NOT depend on which thread": f"{FAULT}_and_no_other[BOUND_TO_ITS_THREAD]",
    "A plugin MUST protect what its calls share": f"{FAULT}_and_no_other[ONE_THREAD] {FAULT}_and_no_other[CREATE_RACES] {FAULT}_and_no_other[SHARES_A_BUFFER]",
    "Threads that belong to an instance MUST have ended": f"{FAULT}_and_no_other[LEAVES_THREAD]",
    "A plugin MUST NOT exit the process": f"{FAULT}_and_no_other[EXITS_ON_EMPTY] {FAULT}_and_no_other[LEAVES_ITS_FOLDER] {FAULT}_and_no_other[LOAD_ROUNDS] {FAULT}_and_no_other[LOAD_HANDLES] test_library.py::test_changed_process_state_is_restored_and_named",
    "C1": "test_library.py::test_the_library_stays_loaded_when_every_object_is_gone test_promises.py::test_a_library_is_opened_for_itself_alone",
    "C2": "test_refusals.py::test_a_path_that_the_dynamic_loader_would_change test_library.py::test_a_relative_path_is_resolved_at_load",
    "C3": "test_library.py::test_the_library_stays_loaded_when_every_object_is_gone",
    "C4": f"{FITS}[vtable of another ABI] {FITS}[vtable with another size in it] {FITS}[flags that must be known]",
    "C5": f"{FITS}[a NULL slot] {LIVE}[greet = NULL]",
    "C6": "test_versions.py::test_a_slot_of_minor_0_is_never_empty_and_later_ones_may_be test_bindings.py::test_since_with_and_without_the_method",
    "C7": "test_promises.py::test_a_plugin_gets_what_the_page_promises",
    "C8": "test_bindings.py::test_a_lone_surrogate_is_an_error_that_names_the_argument test_promises.py::test_a_plugin_gets_what_the_page_promises test_bindings.py::test_bools",
    "C9": "test_promises.py::test_a_plugin_gets_what_the_page_promises",
    "C10": "test_promises.py::test_a_plugin_gets_what_the_page_promises test_abi.py::test_the_host_keeps_what_the_header_promises",
    "C11": "test_promises.py::test_a_plugin_gets_what_the_page_promises test_bindings.py::test_an_error_in_grow_is_raised_after_the_plugin_returned",
    "C12": "test_bindings.py::test_out_of_memory[grow-ignored]",
    "C13": "test_promises.py::test_a_length_beyond_the_capacity_is_a_violation_after_failures_too test_promises.py::test_a_create_is_held_to_the_same_rules test_bindings.py::test_a_plugin_that_changes_the_struct_does_no_harm test_bindings.py::test_a_violation_of_the_abi_is_an_error_and_not_a_crash[length]",
    "C14": "test_promises.py::test_a_create_is_held_to_the_same_rules test_bindings.py::test_a_violation_of_the_abi_is_an_error_and_not_a_crash[status-negative] test_bindings.py::test_a_method_that_fails_with_each_status",
    "C15": "test_bindings.py::test_a_violation_of_the_abi_is_an_error_and_not_a_crash[utf-8]",
    "C16": "test_promises.py::test_a_bool_result_is_a_bool_whatever_the_byte_is",
    "C17": "test_bindings.py::test_a_create_that_fails test_promises.py::test_a_failed_create_is_not_destroyed",
    "C18": "test_bindings.py::test_close_destroys_only_that_instance_and_once test_bindings.py::test_close_waits_for_a_call_of_another_thread test_bindings.py::test_an_unreferenced_object_is_destroyed",
    "C19": "test_bindings.py::test_serial_runs_one_call_at_a_time",
    "C20": "test_bindings.py::test_serial_refuses_recursion_on_the_same_thread",
    "C21": "test_promises.py::test_serial_calls_see_what_the_one_before_wrote",
    "C22": "test_bindings.py::test_after_a_fork_the_parents_instances_are_closed_and_new_ones_work",
    "C23": "test_bindings.py::test_a_plugin_without_create",
    "C24": "test_promises.py::test_rubbish_in_the_log_is_ignored_or_shown",
    "M1": "test_elf.py::test_a_header_that_says_something_else test_elf.py::test_object_files_archives_programs_and_debug_companions test_refusals.py::test_an_executable test_refusals.py::test_another_machine test_refusals.py::test_32_bits",
    "M2": "test_notes.py::test_notes_of_others_are_skipped_and_every_segment_is_read test_elf.py::test_each_way_to_link_a_plugin_can_be_read_and_loaded[without",
    "M3": "test_specification.py::test_the_pages_reader_and_the_host_accept_the_same_libraries test_integrity.py::test_a_truncated_library_is_refused_at_every_length test_elf_bytes.py::test_random_flips_give_a_result_or_an_error",
    "M4": "test_notes.py::test_notes_with_another_alignment_than_4_and_8_are_refused test_notes.py::test_a_segment_of_notes_at_an_address_that_is_not_aligned_is_refused",
    "M5": "test_notes.py::test_bytes_after_the_last_note_are_refused_unless_they_are_zero test_notes.py::test_a_note_that_ends_after_its_segment_is_refused",
    "M6": f"{MALFORMED_ONE} test_manifest.py::test_a_field_that_is_not_a_string test_manifest.py::test_a_missing_field_is_named test_refusals.py::test_a_malformed_manifest_of_another_contract_is_refused",
    "M7": "test_manifest.py::test_valid_manifests[a field that is not known yet] test_notes.py::test_notes_of_others_are_skipped_and_every_segment_is_read",
    "M8": f"{FITS}[two notes] {FITS}[other contract] {FITS}[contract major 2]",
    "M9": f"{FITS}[ABI major 2] {FITS}[ABI minor 9]",
    "M10": "test_versions.py::test_the_matrix_of_versions test_versions.py::test_a_slot_of_minor_0_is_never_empty_and_later_ones_may_be",
    "M11": "test_cli.py::test_check_explains_an_invalid_method_in_a_manifest test_signature.py::test_an_invalid_text_is_quoted test_signature.py::test_texts_that_are_not_a_contract test_signature.py::test_a_text_of_an_impossible_method_says_why",
    "M12": f"{FITS}[symbol missing] {FITS}[symbol a function] {FITS}[vtable too small] {FITS}[vtable that is not aligned] test_refusals.py::test_the_symbol_is_in_a_dependency_only",
    "M13": "test_library.py::test_an_older_file_that_other_code_opened_is_noticed test_refusals.py::test_the_symbol_is_in_a_dependency_only",
    "M14": LIVE,
    "F1": "test_refusals.py::test_special_files test_refusals.py::test_a_device",
    "F2": "test_elf.py::test_a_header_that_says_something_else[54 test_elf.py::test_a_header_that_says_something_else[56 test_integrity.py::test_a_truncated_library_is_refused_at_every_length",
    "F3": "test_refusals.py::test_a_library_of_constants_alone test_refusals.py::test_a_debug_companion",
    "F4": f"{HEADER}[PT_LOAD-40 {HEADER}[PT_LOAD-48 {HEADER}[PT_LOAD-4- test_integrity.py::test_a_truncated_library_is_refused_at_every_length",
    "F5": "test_integrity.py::test_segments_that_overlap test_refusals.py::test_segments_for_smaller_pages",
    "F6": f"{HEADER}[PT_GNU_STACK",
    "F7": f"{HEADER}[PT_NOTE-40 {HEADER}[PT_GNU_RELRO {HEADER}[PT_GNU_EH_FRAME-16",
    "F8": f"{HEADER}[PT_DYNAMIC-40 {HEADER}[PT_GNU_EH_FRAME-0 test_integrity.py::test_notes_that_are_padded_in_the_file_alone",
    "F9": "test_integrity.py::test_thread_local_storage_that_cannot_be_allocated",
    "F10": "test_refusals.py::test_an_executable_stack",
    "F11": "test_integrity.py::test_a_dynamic_section_without_an_end test_integrity.py::test_a_dynamic_section_of_zeros",
    "F12": f"{KIND}[FINI-17 {KIND}[FINI-32 {KIND}[FINI-2147483647",
    "F13": f"{KIND}[RELASZ {KIND}[RELAENT {KIND}[PLTRELSZ {KIND}[PLTREL {KIND}[JMPREL {KIND}[INIT_ARRAYSZ",
    "F14": f"{ENTRY}[SYMENT {ENTRY}[RELAENT {ENTRY}[PLTREL {ENTRY}[RELASZ-25",
    "F15": f"test_integrity.py::test_a_string_table_without_an_end test_integrity.py::test_a_string_table_elsewhere {SYMBOL}[0- {KIND}[FINI-1- {KIND}[FINI-14",
    "F16": "test_integrity.py::test_a_first_symbol_that_is_not_empty test_integrity.py::test_without_section_headers_everything_else_is_still_looked_at",
    "F17": "test_integrity.py::test_a_damaged_gnu_hash_table",
    "F18": "test_integrity.py::test_a_damaged_hash_table test_integrity.py::test_a_hash_table_with_a_circle",
    "F19": f"{SYMBOL}[4-<B {SYMBOL}[5-<B {SYMBOL}[8-<Q",
    "F20": f"{SYMBOL}[4-<IQ-65562 {SYMBOL}[4-<IQ-65542 {SYMBOL}[4-<IQ-65618",
    "F21": "test_integrity.py::test_a_version_that_is_not_in_the_table test_integrity.py::test_a_version_of_a_library_that_is_not_needed test_integrity.py::test_without_section_headers_everything_else_is_still_looked_at",
    "F22": f"{RELOCATION}[-1-8-<I-5 {RELOCATION}[-1-12-<I-900 {RELOCATION}[-1-8-<Q test_specification.py::test_the_table_of_relocations_is_the_hosts",
    "F23": f"{RELOCATION}[1-0-<Q-16 test_integrity.py::test_a_relocation_of_the_dynamic_section",
    "F24": f"test_integrity.py::test_two_relocations_of_one_word {ENTRY}[RELACOUNT-4000 {ENTRY}[RELACOUNT-9",
    "F25": "test_integrity.py::test_packed_relocations_that_go_back_and_out",
    "F26": f"{RELOCATION}[0-16-<Q-8 {ENTRY}[INIT-1 test_integrity.py::test_without_section_headers_everything_else_is_still_looked_at",
    "F27": f"test_integrity.py::test_a_segment_of_other_bytes_of_the_file {ENTRY}[INIT_ARRAYSZ {ENTRY}[SYMTAB {ENTRY}[GNU_HASH {ENTRY}[RELASZ-24",
    "F28": "test_refusals.py::test_a_library_for_musl test_refusals.py::test_a_missing_library test_refusals.py::test_a_version_that_a_library_does_not_have test_weak_versions.py::test_a_version_that_only_weak_symbols_need_is_not_required test_refusals.py::test_a_damaged_library_beside_the_plugin",
    "F29": f"{FITS}[a slot that is no function] {FITS}[a NULL slot] {FITS}[manifest and vtable disagreeing] {FITS}[vtable of another ABI] {FITS}[a vtable that running code would fill]",
    "F30": "test_library.py::test_an_older_file_that_other_code_opened_is_noticed test_library.py::test_a_file_that_is_rewritten_while_it_is_loaded_is_refused test_library.py::test_a_replaced_file_keeps_running_and_is_refused_when_loaded_again",
    "F31": LIVE,
    "F32": f"{LIVE}[greet = NULL] {LIVE}[lang = (__typeof__(SYMBOL.lang))(void (*)(void))SYMBOL.greet]",
}  # fmt: skip


def requirements() -> Iterator[str]:
    """Yield each sentence of the page with MUST, each item of a list that one introduces, and each numbered row."""
    text = re.sub("<!--.*?-->", "", written(PAGE), flags=re.DOTALL)
    for block in blocks(PAGE):
        text = text.replace(block.text, "\n")
    listed = False
    for part in re.split(r"\n\s*\n|\n(?=\s*(?:- |[0-9]+\. |\||#))", text):
        paragraph = " ".join(part.split())
        if row := re.match(r"\| ([CMF][0-9]+) \| .", paragraph):
            yield row[1]
            continue
        if item := re.match("- (.*)", paragraph) if listed else None:
            yield item[1]
            continue
        if paragraph.startswith(("The key words MUST", "| |")):  # what the words mean, and the heads of tables
            continue
        sentences = [each for each in re.split(r"(?<=[.;:]) (?=[A-Z`*])", paragraph) if re.search(r"\bMUST\b", each)]
        yield from (sentence.removeprefix("- ") for sentence in sentences)
        listed = bool(sentences) and paragraph.endswith(":")


def _tests_of(named: str) -> list[str]:
    return re.split(r" (?=test_\w+\.py::)", named)


def test_every_requirement_is_shown_by_a_test() -> None:
    page = list(requirements())
    assert len(page) > 100
    unshown = [
        each for each in page if sum(each == key if key[1:].isdigit() else each.startswith(key) for key in SHOWN) != 1
    ]
    assert unshown == [], "give each the tests that show it, in SHOWN"
    gone = [
        key for key in SHOWN if not any(each == key if key[1:].isdigit() else each.startswith(key) for each in page)
    ]
    assert gone == [], "the page does not say this any more"


def test_the_tests_that_show_a_requirement_exist() -> None:
    functions: dict[str, set[str]] = {}
    for named in SHOWN.values():
        for test in _tests_of(named):
            file, _, function = test.partition("[")[0].partition("::")
            if file not in functions:
                tree = ast.parse((TESTS / file).read_text())
                functions[file] = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
            assert function in functions[file], test


@pytest.mark.long
def test_their_parameters_exist() -> None:
    tests = {test for named in SHOWN.values() for test in _tests_of(named)}
    files = sorted({str(TESTS / test.partition("::")[0]) for test in tests})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "", "-p", "no:cacheprovider", *files]
    done = subprocess.run([*command, "--no-header"], cwd=ROOT, capture_output=True, text=True, check=True)
    collected = [line.removeprefix("tests/") for line in done.stdout.splitlines()]
    for test in tests:
        function, _, parameter = test.removesuffix("]").partition("[")
        assert any(each.partition("[")[0] == function and parameter in each for each in collected), test


def test_the_page_uses_the_words_of_bcp_14_and_no_others() -> None:
    text = re.sub("<!--.*?-->", "", written(PAGE), flags=re.DOTALL)
    for block in blocks(PAGE):
        text = text.replace(block.text, "")
    assert re.findall(r"\b(?:SHALL|REQUIRED|RECOMMENDED|OPTIONAL|must|shall)\b", text) == []


def test_the_table_of_relocations_is_the_hosts() -> None:
    part = (ROOT / PAGE).read_text().split("\n### Relocations\n")[1].split("\n#")[0]
    table = dict(re.findall(r"^\| ([a-zA-Z -]+) \| (.*)$", part, re.MULTILINE))
    for column, machine in enumerate((EM_X86_64, EM_AARCH64)):
        numbers = {
            name: {int(number) for number in re.findall(r"\(([0-9]+)\)", cells.split("|")[column])}
            for name, cells in table.items()
        }
        types = RELOCATION_TYPES[machine]
        own = {kind for each in types for kind in ({each} if isinstance(each, int) else each)}
        assert set().union(*numbers.values()) == own | {0}
        assert (numbers["relative"], numbers["address"]) == ({types.relative}, {types.address})
        assert (numbers["indirect"], numbers["TLS descriptor"]) == ({types.indirect}, {types.descriptor})
        assert numbers["thread-local"] | numbers["TLS descriptor"] == types.thread_local
