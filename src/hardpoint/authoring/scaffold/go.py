"""A plugin in Go: exported functions, the C that writes the plugin over them, and hardpoint.go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .cmake import built_by
from .common import header_file, shipped_files
from .makefile import makefile
from .project import RELEASE, Needs, comment_lines

if TYPE_CHECKING:
    from ...definition.model import Method
    from .project import Project

NEEDS = Needs(
    """\
Go 1.19 or newer and a C compiler: `apt-get install golang-go gcc libc6-dev make cmake`.
  A `HardpointWarning` when the plugin is loaded is expected: Go's runtime sets handlers of signals, and hosts put
  theirs back.""",
    in_container='before-all = "dnf install -y golang"\n',
)

_TAKEN = frozenset(
    "break case chan const continue default defer else fallthrough for func go goto if import interface map package "
    "range return select struct switch type var "
    # names that the functions' bodies and hardpoint.go use
    "C append bool byte call copy error fail false int len make nil string text true unsafe view buffer write".split()
)


def files(project: Project) -> dict[str, str]:
    """Render the package and what it is built with."""
    commands = """\
# Without the version script, functions with an //export, and cgo's own, would be exported too.
set(extldflags -Wl,--version-script=../contract/hardpoint.map,-z,relro,-z,now,-z,noexecstack)
add_custom_target(plugin ALL WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}/src VERBATIM
  COMMAND ${CMAKE_COMMAND} -E env CGO_ENABLED=1 ${GO} build -buildmode=c-shared -trimpath -buildvcs=false
    "-ldflags=-s -w -extldflags ${extldflags}" -o ${library}.new .
  COMMAND ${CMAKE_COMMAND} -E copy_if_different ${library}.new ${library})
"""
    return {
        "src/plugin.go": _source(project),
        "src/plugin.c": _plugin(project),
        **shipped_files("src", "hardpoint.go"),
        "src/go.mod": f"module {project.identifier}_plugin\n\ngo 1.19\n",
        **shipped_files("contract", "hardpoint.h", "hardpoint.map"),
        **header_file(project),
        "CMakeLists.txt": built_by(project, commands, "go", install="apt-get install golang-go"),
        "Makefile": makefile(project),
    }


def _plugin(project: Project) -> str:
    slots = ",\n".join(f"    .{m.name} = {project.identifier}_{m.name}" for m in project.contract.methods)
    return f"""\
/* The note and the vtable, which Go cannot express. */
#include "_cgo_export.h"

{project.macro}("{project.name}", "{RELEASE}",
{slots});
"""


def _source(project: Project) -> str:
    contract = project.contract
    functions = "\n".join(_function(project, method) for method in contract.methods)
    return f"""\
// {project.name}: a plugin for {contract}. TODO: say what it does.
//
// Arguments belong to the host and are invalid after the return: text copies a str, view and buffer do not copy. A body
// passes its text to write, or stores its number in result; an error that it returns, such as
// Failure{{C.HP_INVALID, "why not"}}, is the reason of a failed call, and so is a panic. hardpoint.go has the rest.
package main

/*
#cgo CFLAGS: -O2 -I${{SRCDIR}}/../contract
#include "{contract.name}.h"

// What a slot takes; without names, cgo drops the const.
typedef const char hp_char;
typedef const uint8_t hp_byte;
*/
import "C"

import "unsafe"

{functions}"""


def _function(project: Project, method: Method) -> str:
    arguments = ["self unsafe.Pointer"]
    for parameter in method.parameters:
        name = f"{parameter.name}__" if parameter.name in _TAKEN else parameter.name
        arguments.append(f"{name} {parameter.kind.go.parameter}")
        if parameter.kind.is_buffer:
            arguments.append(f"{parameter.name}_len C.size_t")
    if method.result.is_value:
        arguments.append(f"result *{method.result.go.result}")
    text = "\n".join(f"// {line}".rstrip() for line in comment_lines(method))
    name = f"{project.identifier}_{method.name}"
    return f"""\
{text}
//
//export {name}
func {name}({", ".join(arguments)}, out *C.hp_out) C.hp_status {{
\treturn call(out, func() error {{
\t\t{_body(method)}
\t}})
}}
"""


def _body(method: Method) -> str:
    """A body that compiles, with an empty result."""
    if method.result.is_buffer:
        return f"return write(out, {method.result.go.empty}) // TODO"
    if method.result.is_value:
        return f"*result = {method.result.go.empty} // TODO\n\t\treturn nil"
    return "return nil // TODO"
