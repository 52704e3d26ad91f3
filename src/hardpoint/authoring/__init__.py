"""For plugin authors: compile a plugin, render a contract's header, start a project."""
