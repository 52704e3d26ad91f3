"""A plugin in C++: a class, with hardpoint.hpp."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .c import wrapped
from .common import header_file
from .makefile import build_rule, makefile
from .project import RELEASE, comment_lines

if TYPE_CHECKING:
    from ...definition.model import Method
    from .project import Project

NEEDS = "A C++ compiler: `apt-get install g++ make`."


def files(project: Project) -> dict[str, str]:
    """Render the source and the Makefile."""
    source = f"{project.name}.cpp"
    return {
        source: _source(project),
        **header_file(project),
        "Makefile": makefile(project, build_rule(project, source)),
    }


def _source(project: Project) -> str:
    contract, name = project.contract, project.type_name
    methods = "\n".join(map(_method, contract.methods))
    slots = ",\n".join(f"    p.{method.name} = plugin::method<&{name}::{method.name}>" for method in contract.methods)
    return f"""\
/* {project.name}: a plugin for {contract}. TODO: say what it does.
 *
 * Arguments belong to the host and are invalid after the return. `throw hp::Error(HP_INVALID, "why not")` fails a call.
 * A constructor may take the host and the config. hardpoint.hpp has the rest: `hardpoint include` prints its directory.
 */
#include <vector>

#include "{contract.name}.h"
#include "hardpoint.hpp"

namespace {{

class {name} {{
public:
{methods}}};

}} // namespace

using plugin = hp::Plugin<{name}>;

/* In C++20: .create = plugin::create, and so on. */
{project.macro}("{project.name}", "{RELEASE}",
    p.create = plugin::create,
    p.destroy = plugin::destroy,
{slots});
"""


def _method(method: Method) -> str:
    text = "\n".join(f"    // {line}".rstrip() for line in comment_lines(method))
    names = [f"{parameter.kind.cpp.parameter} /* {parameter.name} */" for parameter in method.parameters]
    head = wrapped(f"    {method.result.cpp.result} {method.name}(", f"{', '.join(names)}) {{")
    body = f" return {method.result.cpp.empty};" if method.result.cpp.empty else ""
    return f"{text}\n{head}\n       {body} // TODO\n    }}\n"
