"""The CMakeLists.txt of a project, which builds the library for `make` and for the wheel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..compiler import CXX, C
from .common import shipped_file

if TYPE_CHECKING:
    from .project import Project

_CONFIG = "cmake/hardpointConfig.cmake"
_FLAGS = {"C": ("-xc", *C.flags), "CXX": ("-xc++", *CXX.flags)}


def cmake_lists(project: Project, languages: str, body: str) -> str:
    """Render the file around `body`, which has a target `plugin` and installs the library into the folder `.`."""
    return f"""\
cmake_minimum_required(VERSION 3.18)
project({project.name} LANGUAGES {languages})

{body.strip()}
"""


def compiled(project: Project, language: str, source: str) -> dict[str, str]:
    """Render the files that build a source in C or C++, and those that an editor with clangd reads."""
    body = f"""\
find_package(hardpoint CONFIG REQUIRED PATHS contract/cmake NO_DEFAULT_PATH)
hardpoint_add_plugin(plugin {source})
target_compile_options(plugin PRIVATE -Wall -Wextra)
set_target_properties(plugin PROPERTIES OUTPUT_NAME {project.name})
install(TARGETS plugin LIBRARY DESTINATION .)
"""
    return {
        "CMakeLists.txt": cmake_lists(project, language, body),
        "compile_flags.txt": "\n".join([*_FLAGS[language], "-Wall", "-Wextra", "-Icontract", ""]),
        f"contract/{_CONFIG}": shipped_file(_CONFIG),
    }


def built_by(project: Project, commands: str, *names: str, install: str) -> str:
    """Render the file for a language whose own tool builds the library: a program of one of `names`.

    `install` says how to get it, where it is missing; `commands` define the target `plugin`, which makes `${library}`.
    """
    return cmake_lists(
        project,
        "NONE",
        f"""\
find_program({names[0].upper()} NAMES {" ".join(names)})
if(NOT {names[0].upper()})
  message(FATAL_ERROR "{names[0]} is missing: {install}")
endif()
set(library ${{CMAKE_BINARY_DIR}}/{project.name}.so)
{commands}
install(FILES ${{library}} DESTINATION .)
""",
    )
