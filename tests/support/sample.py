"""The slow tests of which the quick suite runs a sample: the others get the marker `long`.

The others are still run by `./build.sh test --all`, and by CI. Tests with a sample of another kind, such as a share of
all libraries, have the marker where they are defined.
"""

from __future__ import annotations

KEPT: dict[str, tuple[str, ...]] = {
    # projects of `hardpoint new`: each is built, tested and packed, by a compiler of its language
    "test_new.py::test_it_builds_and_passes_its_tests_at_once": ("[c-greeter]",),
    "test_new.py::test_the_wheel_has_the_library_and_is_found": ("[c]",),
    "test_new.py::test_make_test_fails_when_release_and_version_differ": (),
    "test_new.py::test_names_that_are_keywords_in_the_language": ("[c-self]",),
    "test_new.py::test_a_plugin_may_be_called_as_its_contracts_module": (),
    "test_new.py::test_an_sdist_builds_too": (),
    "test_new.py::test_a_mistake_does_not_build": ("[a parameter is missing]",),
    "test_new.py::test_a_crash_fails_one_test": (),
    "test_new.py::test_an_editor_compiles_with_the_flags_of_the_build": ("[c]",),
    "test_new.py::test_nothing_in_a_project_needs_a_published_hardpoint": ("[c]",),
    "test_new.py::test_the_workflow_is_cibuildwheels": (),
    "test_new_languages.py::test_it_builds_and_passes_its_tests_at_once": ("[zig-greeter]",),
    "test_new_languages.py::test_the_readme_says_how_to_update_copied_files": ("[zig-greeter]", "[go-greeter]"),
    "test_new_languages.py::test_a_changed_contract_is_regenerated": (),
    "test_new_languages.py::test_the_wheel_has_the_library_and_no_python": (),
    "test_new_languages.py::test_names_that_are_keywords_in_the_language": (),
    "test_new_languages.py::test_the_conformance_kit_finds_nothing": (),
    # other build systems, with an editable installation and with an installed wheel
    "test_foreign_builds.py::test_make_with_the_flags": ("[editable]",),
    "test_foreign_builds.py::test_make_with_pkg_config": ("[editable-pkgconf]",),
    "test_foreign_builds.py::test_cmake": ("[editable-C-",),
    "test_foreign_builds.py::test_meson": (),
    # build.sh in a copy of the tree, which makes environments
    "test_package.py::test_build_rebuilds_only_changed_files": (),
    "test_package.py::test_build_fails_when_pip_does": (),
    "test_package.py::test_build_fails_when_the_compiler_does": (),
    # a wheel in an environment of its own, repaired by auditwheel
    "test_shipping.py::test_the_projects_own_tests_pass_where_hardpoint_is_installed": (),
    "test_shipping.py::test_auditwheel_brings_the_other_library_along": (),
    "test_shipping.py::test_it_is_found_where_the_plugin_is_called": (),
    "test_shipping.py::test_a_digest_does_not_cover_the_other_library": (),
    "test_wheels.py::test_a_wheel_for_every_glibc_since_2_17": (),
    "test_wheels.py::test_a_wheel_of_the_sdist_is_the_trees": (),
    "test_writing_plugins.py::test_the_tour": (),
    "test_writing_plugins.py::test_shipping": (),
    "test_writing_plugins.py::test_shipping_for_an_old_glibc": (),
    # compilers and standards: the oldest C and the newest C++ that the headers promise
    "test_header.py::test_a_header_compiles_alone": ("system-c11]", "clang-c++17]", "system-c++20]"),
    "test_cpp.py::test_a_method_that_does_not_match_is_an_error": ("-g++]", "[type-zig]"),
    "test_cpp.py::test_no_number_is_narrowed": ("[narrow]", "[unsigned]", "[void]"),
    "test_build.py::test_a_mistake_does_not_build": ("[undeclared-cc]", "[missing-parameter-cc]", "[no-parameters-cc]"),
    "test_conformance.py::test_the_native_plugins_pass": ("[english]",),
    "test_conformance_faults.py::test_a_plugin_without_a_fault_passes_every_check": (),
    "test_languages.py::test_the_conformance_kit_finds_nothing": ("[zig]",),
    "test_process_state.py::test_the_kit_reports_it": ("[apart-mask", "[in process-prints", "[apart-writes"),
    # each is built, and checked by eight commands
    "test_verdicts.py::test_every_command_gives_the_same_verdict": ("[an undefined variable]", "[a second", "[flags"),
    "test_loader.py::test_a_linker_that_gives_no_answer": ("[dies]", "[hangs]"),
    "test_loader.py::test_names_with_spaces_and_colons": ("[a dir: b/a b:c.so]",),
    "test_loader.py::test_a_note_that_lost_its_place": ("[bfd-tool0]",),
    "test_loader.py::test_a_file_system_that_is_mounted_noexec": (),
    "test_bench.py::test_every_kind_of_argument_and_a_config": (),
    "test_benchmarks.py::test_isolation_is_measured_beside_c": (),
    "test_build.py::test_fast_math_leaves_the_hosts_floats_alone": ("[-Ofast]",),
    "test_benchmarks.py::test_the_peers_are_in_one_table": (),
    "test_cpp.py::test_a_thread_can_be_cancelled_in_a_method": (),
    "test_typing.py::test_mypy_finds_errors_on_exactly_the_marked_lines": (),
    "test_typing.py::test_pyright_finds_errors_on_exactly_the_marked_lines": (),
    "test_typing.py::test_pyright_accepts_every_use_and_rejects_every_misuse": (),
    "test_travel.py::test_a_million_strings_in_a_dask_cluster": (),
    "test_isolation_leaks.py::test_loads_leave_no_memory_behind": (),
    "test_isolation_leaks.py::test_nothing_is_left_behind": ("[crash]",),
    "test_bindings.py::test_exceptions_at_any_point_leave_no_lock_and_no_instance_behind": ("[native]", "[cffi]"),
    "test_references.py::test_no_call_leaves_anything_behind": ("[native]",),
    "test_references.py::test_a_turn_leaves_nothing": ("[native]",),
    "test_references.py::test_older_plugins_leave_nothing": ("[native]",),
    "test_references.py::test_isolated_calls_leave_nothing_in_the_worker": (),
    "test_references.py::test_every_call_lets_go_of_its_instance_and_its_buffers": ("[native]",),
    "test_descriptors.py::test_the_zygote_is_started_while_others_are_open": (),
    "test_descriptors.py::test_a_host_without_standard_streams": (),
    "test_descriptors.py::test_a_signal_to_the_hosts_group_reaches_no_worker": (),
    "test_descriptors.py::test_workers_start_with_the_defaults_of_signals": (),
    "test_isolation_together.py::test_the_first_loads_of_a_host_share_one_zygote": (),
}
"""For each test, parts of the ids that stay in the quick suite; an empty tuple moves it whole."""


def is_long(nodeid: str) -> bool:
    """True for a test with a sample, of which this is not one."""
    test, bracket, parameters = nodeid.partition("[")
    kept = KEPT.get(test.removeprefix("tests/"))
    return kept is not None and not any(part in bracket + parameters for part in kept)
