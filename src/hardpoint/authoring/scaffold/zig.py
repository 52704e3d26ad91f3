"""A plugin in Zig: functions over the translated header, and hardpoint.zig."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .cmake import built_by
from .common import header_file, shipped_files
from .makefile import makefile
from .project import RELEASE, Needs, comment_lines

if TYPE_CHECKING:
    from ...definition.model import Method
    from .project import Project

NEEDS = Needs(
    "Zig 0.16 or newer: `pip install ziglang`; and `apt-get install make cmake`.", packages=("ziglang>=0.16",)
)

_KEYWORDS = frozenset(
    "addrspace align allowzero and anyframe anytype asm async await break callconv catch comptime const continue defer "
    "else enum errdefer error export extern false fn for if inline linksection noalias noinline nosuspend null opaque "
    "or orelse packed pub resume return struct suspend switch test threadlocal true try undefined union unreachable "
    "usingnamespace var volatile while "
    # primitive types
    "anyerror anyopaque bool comptime_float comptime_int f16 f32 f64 f80 f128 isize noreturn type usize void c_char "
    "c_short c_ushort c_int c_uint c_long c_ulong c_longlong c_ulonglong c_longdouble".split()
)
_INTEGERS = re.compile(r"[iu]\d+")


def files(project: Project) -> dict[str, str]:
    """Render the source and what it is built with."""
    source, zig = f"{project.name}.zig", "hardpoint.zig"
    commands = f"""\
# With a target, Zig compiles for every machine of its kind; without, for this processor and glibc alone.
set(TARGET ${{CMAKE_HOST_SYSTEM_PROCESSOR}}-linux-gnu CACHE STRING "such as x86_64-linux-gnu.2.17")
set(c ${{CMAKE_BINARY_DIR}}/c.zig)
add_custom_command(OUTPUT ${{c}} DEPENDS {project.header} contract/hardpoint.h WORKING_DIRECTORY ${{CMAKE_SOURCE_DIR}}
  COMMAND ${{ZIG}} translate-c -target ${{TARGET}} -lc -Icontract {project.header} > ${{c}} VERBATIM)
add_custom_command(OUTPUT ${{library}} DEPENDS {source} contract/{zig} ${{c}} WORKING_DIRECTORY ${{CMAKE_SOURCE_DIR}}
  COMMAND ${{ZIG}} build-lib -dynamic -O ReleaseSafe -fstrip -target ${{TARGET}} -lc --name {project.identifier}
    -femit-bin=${{library}} --dep c --dep hardpoint -Mroot={source} --dep c -Mhardpoint=contract/{zig} -Mc=${{c}}
  VERBATIM)
add_custom_target(plugin ALL DEPENDS ${{library}})
"""
    return {
        source: _source(project),
        "CMakeLists.txt": built_by(project, commands, "zig", "python-zig", install="pip install ziglang"),
        **shipped_files("contract", "hardpoint.h", zig),
        **header_file(project),
        "Makefile": makefile(project),
    }


def _source(project: Project) -> str:
    contract = project.contract
    functions = "\n".join(_function(project, method) for method in contract.methods)
    slots = "\n".join(
        f"        .{_name(method.name)} = {project.identifier}_{method.name}," for method in contract.methods
    )
    return f"""\
//! {project.name}: a plugin for {contract}. TODO: say what it does.
//!
//! A function's arguments belong to the host and are invalid after the return; `text[0..text_len]` is a slice. It
//! writes a text to `out` or a number to `result`, and returns c.HP_OK; or
//! `return hardpoint.fail(out, c.HP_INVALID, "not {{d}}", .{{number}});`. A panic ends the process. hardpoint.zig has
//! the rest.
const c = @import("c");
const hardpoint = @import("hardpoint");

pub const panic = hardpoint.panic;

{functions}
comptime {{
    hardpoint.plugin(c.{contract.struct}, c.{contract.struct.upper()}_MANIFEST("{project.name}", "{RELEASE}"), .{{
{slots}
    }});
}}
"""


def _function(project: Project, method: Method) -> str:
    arguments, unused = [("_", "?*anyopaque")], []
    for parameter in method.parameters:
        name = _parameter(project, parameter.name)
        arguments.append((name, parameter.kind.zig.parameter))
        unused.append(name)
        if parameter.kind.is_buffer:
            arguments.append((f"{parameter.name}_len", "usize"))
            unused.append(f"{parameter.name}_len")
    done = "c.HP_OK"
    if method.result.is_buffer:
        done = f"hardpoint.write(out, {method.result.zig.empty})"
    else:
        unused.append("out")
    lines = [f"_ = {name};" for name in unused]
    if method.result.is_value:
        arguments.append(("result", f"[*c]{method.result.zig.result}"))
        lines.append(f"result.* = {method.result.zig.empty};")
    arguments.append(("out", "[*c]c.hp_out"))
    text = "\n".join(f"/// {line}".rstrip() for line in comment_lines(method))
    body = "".join(f"    {line}\n" for line in lines)
    head = ", ".join(f"{name}: {kind}" for name, kind in arguments)
    if len(head) > 80:
        head = "".join(f"\n    {name}: {kind}," for name, kind in arguments) + "\n"
    return f"""\
{text}
fn {project.identifier}_{method.name}({head}) callconv(.c) c.hp_status {{
    // TODO: take out the `_ =` of what you use.
{body}    return {done};
}}
"""


def _name(name: str) -> str:
    """A contract's name as a Zig identifier: `test` is `@"test"`."""
    return f'@"{name}"' if name in _KEYWORDS or _INTEGERS.fullmatch(name) else name


def _parameter(project: Project, name: str) -> str:
    """A parameter's name, which must differ from those of the file's declarations."""
    declared = {"c", "hardpoint", "panic", *(f"{project.identifier}_{m.name}" for m in project.contract.methods)}
    return f"{name}__" if name in declared else _name(name)
