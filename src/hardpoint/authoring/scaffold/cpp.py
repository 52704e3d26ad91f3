"""A plugin in C++: a class, with hardpoint.hpp."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .c import wrapped
from .cmake import compiled
from .common import header_file, shipped_files
from .makefile import makefile
from .project import RELEASE, Needs, comment_lines

if TYPE_CHECKING:
    from ...definition.model import Method
    from .project import Project

NEEDS = Needs("A C++ compiler, make and CMake: `apt-get install g++ make cmake`.")


def files(project: Project) -> dict[str, str]:
    """Render the source and what it is built with."""
    source = f"{project.name}.cpp"
    return {
        source: _source(project),
        **compiled(project, "CXX", source),
        **shipped_files("contract", "hardpoint.h", "hardpoint.hpp", "hardpoint_json.h", "hardpoint.map"),
        **header_file(project),
        "Makefile": makefile(project),
    }


def _source(project: Project) -> str:
    contract, name = project.contract, project.type_name
    methods = "\n".join(map(_method, contract.methods))
    slots = ",\n".join(f"    p.{method.name} = plugin::method<&{name}::{method.name}>" for method in contract.methods)
    return f"""\
/* {project.name}: a plugin for {contract}. TODO: say what it does.
 *
 * Arguments belong to the host and are invalid after the return. `throw hp::Error(HP_INVALID, "why not")` fails a call.
 * A constructor may take the host and the config, which contract/hardpoint_json.h reads. contract/hardpoint.hpp has the
 * rest. */
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
