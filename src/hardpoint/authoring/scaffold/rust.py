"""A plugin in Rust: a crate, with the contract's module and hardpoint.rs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..rust_module import identifier, render, signature, trait
from .cmake import built_by
from .common import shipped_files
from .makefile import makefile
from .project import RELEASE, Needs, comment_lines

if TYPE_CHECKING:
    from ...definition.model import Method
    from .project import Project

NEEDS = Needs(
    "Rust 1.82 or newer (`rustc` and `cargo`), and `apt-get install gcc libc6-dev make cmake`.",
    in_container="""\
before-all = "curl -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal"
environment = { PATH = "$HOME/.cargo/bin:$PATH" }
""",
)


def files(project: Project) -> dict[str, str]:
    """Render the crate and what it is built with."""
    module = f"src/{_module(project).removeprefix('r#')}.rs"
    commands = f"""\
add_custom_target(plugin ALL WORKING_DIRECTORY ${{CMAKE_SOURCE_DIR}} VERBATIM
  COMMAND ${{CARGO}} build --quiet --release --target-dir target
  COMMAND ${{CMAKE_COMMAND}} -E copy_if_different target/release/lib{_crate(project)}.so ${{library}})
"""
    return {
        "src/lib.rs": _source(project),
        module: render(project.contract),
        **shipped_files("src", "hardpoint.rs"),
        "Cargo.toml": _cargo(project),
        "CMakeLists.txt": built_by(project, commands, "cargo", install="see https://rustup.rs"),
        "Makefile": makefile(project, made="target", rust=module),
    }


def _module(project: Project) -> str:
    return identifier(project.contract.name)


def _crate(project: Project) -> str:
    """The crate's name. The suffix keeps it from being a keyword."""
    return f"{project.identifier}_plugin"


def _cargo(project: Project) -> str:
    return f"""\
[package]
name = "{_crate(project)}"
version = "{RELEASE}" # also the plugin's release
edition = "2021"
rust-version = "1.82"
publish = false

[lib]
crate-type = ["cdylib"]

[profile.release]
lto = true
codegen-units = 1
strip = true
"""


def _source(project: Project) -> str:
    contract, name = project.contract, project.type_name
    name += "Plugin" if name in {"Ok", "Result"} else ""  # the methods use these
    module, methods = _module(project), contract.methods
    own = "\n".join(_method(method) for method in methods if not method.since)
    later = "".join(
        f"\n// Since {contract.major}.{method.since}: without it, the contract's own body is called, if it has one.\n"
        f"impl {module}::since::{identifier(method.name)} for {name} {{\n{_method(method)}}}\n"
        for method in methods
        if method.since
    )
    return f"""\
//! {project.name}: a plugin for {contract}. TODO: say what it does.
//!
//! Arguments belong to the host; their lifetimes end with the call. `Err(hp::Error::invalid("why not"))` fails a call,
//! and so do `?` and a panic. An instance that has state implements `hp::Create`. hardpoint.rs has the rest.
{_allowed(project)}mod hardpoint;
mod {module};

use hardpoint as hp;

struct {name};

impl {module}::{trait(contract)} for {name} {{
{own}}}
{later}
{module}::plugin!({name}, "{project.name}", env!("CARGO_PKG_VERSION"));
"""


def _allowed(project: Project) -> str:
    names = "".join(parameter.name for method in project.contract.methods for parameter in method.parameters)
    return "#![allow(non_snake_case)] // the contract's names\n\n" if names != names.lower() else ""


def _method(method: Method) -> str:
    """A method that compiles; the names of its unused parameters start with `_`."""
    text = "\n".join(f"    /// {line}".rstrip() for line in comment_lines(method))
    empty = method.result.rust.empty
    body = empty if method.result.is_buffer else f"Ok({empty})"
    return f"{text}\n    {signature(method, unused='_')} {{\n        {body} // TODO\n    }}\n"
