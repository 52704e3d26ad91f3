"""A plugin in C."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING

from ..c_header import arguments, comment
from .common import header
from .makefile import build_rule, makefile
from .project import RELEASE

if TYPE_CHECKING:
    from ...definition.model import Method
    from .project import Project

NEEDS = "A C compiler: `apt-get install gcc libc6-dev make`."


def files(project: Project) -> dict[str, str]:
    """The source and the Makefile."""
    source = f"{project.name}.c"
    return {source: _source(project), **header(project), "Makefile": makefile(project, build_rule(project, source))}


def _source(project: Project) -> str:
    contract = project.contract
    functions = "\n".join(_function(project, method) for method in contract.methods)
    slots = ",\n".join(f"    .{method.name} = {project.identifier}_{method.name}" for method in contract.methods)
    return f"""\
/* {project.name}: a plugin for {contract}. TODO: say what it does.
 *
 * Each function gets its arguments from the host, and they are the host's again once it has returned. It writes its text
 * to `out` (hp_write, hp_puts, hp_printf), its number to `result`, and gives HP_OK back; or `hp_fail(out, HP_INVALID,
 * "why not")`. hardpoint.h has the rest: `hardpoint include` says where it is. */
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
    """A function's head in C or C++, in lines of 120 characters that end behind a comma."""
    glued = arguments.replace(" ", "\xa0").replace(",\xa0", ", ")
    text = fill(f"{start}{glued}", 120, subsequent_indent=" " * len(start), break_long_words=False)
    return text.replace("\xa0", " ")
