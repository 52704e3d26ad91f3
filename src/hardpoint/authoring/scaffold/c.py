"""A plugin in C."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING

from ..c_header import arguments, comment
from .cmake import compiled
from .common import header_file, shipped_files
from .makefile import makefile
from .project import RELEASE, Needs

if TYPE_CHECKING:
    from ...definition.model import Method
    from .project import Project

NEEDS = Needs("A C compiler, make and CMake: `apt-get install gcc libc6-dev make cmake`.")


def files(project: Project) -> dict[str, str]:
    """Render the source and what it is built with."""
    source = f"{project.name}.c"
    return {
        source: _source(project),
        **compiled(project, "C", source),
        **shipped_files("contract", "hardpoint.h", "hardpoint_json.h", "hardpoint.map"),
        **header_file(project),
        "Makefile": makefile(project),
    }


def _source(project: Project) -> str:
    contract = project.contract
    functions = "\n".join(_function(project, method) for method in contract.methods)
    slots = ",\n".join(f"    .{method.name} = {project.identifier}_{method.name}" for method in contract.methods)
    return f"""\
/* {project.name}: a plugin for {contract}. TODO: say what it does.
 *
 * A function's arguments belong to the host and are invalid after the return. It writes a text to `out` (hp_write,
 * hp_puts, hp_printf) or a number to `result`, and returns HP_OK; or `return hp_fail(out, HP_INVALID, "why not");`.
 * contract/hardpoint.h has the rest. For settings, contract/hardpoint_json.h reads the config in a `create`. */
#include "{contract.name}.h"

{functions}
{project.macro}("{project.name}", "{RELEASE}",
{slots});
"""


def _function(project: Project, method: Method) -> str:
    unused = ["self"]
    for parameter in method.parameters:
        unused += [parameter.name, f"{parameter.name}_len"] if parameter.kind.is_buffer else [parameter.name]
    done, empty = "return HP_OK;", method.result.c.empty
    if method.result.is_buffer:
        done = f"return hp_puts(out, {empty});"
    else:
        unused.append("out")
    if method.result.is_value:
        done = f"*result = {empty};\n    {done}"
    text = comment(f"{method.text}\n{method.doc}")
    head = wrapped(f"static hp_status {project.identifier}_{method.name}(", f"{arguments(method)}) {{")
    voids = "\n".join(f"    (void){name};" for name in unused)
    return f"""\
{text}\
{head}
    /* TODO: and take out the (void) of what you use. */
{voids}
    {done}
}}
"""


def wrapped(start: str, arguments: str) -> str:
    """The head of a function in C or C++, in lines of at most 120 characters that end in a comma."""
    glued = arguments.replace(" ", "\xa0").replace(",\xa0", ", ")
    text = fill(f"{start}{glued}", 120, subsequent_indent=" " * len(start), break_long_words=False)
    return text.replace("\xa0", " ")
