"""The exceptions that hardpoint raises, and Problem, the reason why a file does not fit.

    HardpointError              .path .plugin .method
    ├── DefinitionError         a class that cannot be a contract (also a TypeError)
    ├── PluginNotFoundError     no file at that path, or no plugin of that name: correct the path or name
    ├── NotAPluginError         the file is not a plugin library: choose another      .problems
    ├── IncompatibleError       a plugin, but not for this host or contract: rebuild  .problems
    ├── StaleError              the file changed since it was loaded or found: restart, or search again
    ├── LoadError               the dynamic linker refused the file: its message is quoted    .problems
    ├── ContractBrokenError     the plugin violated the ABI: report it to its author
    ├── PluginError             the plugin reported a failure                         .status .text
    │   ├── CreateError         ... when an instance was created
    │   └── CallError           ... when a method was called
    ├── CrashedError            an isolated plugin's worker died    .signal .status .stderr
    ├── TimedOutError           an isolated plugin took too long (also a TimeoutError)
    └── ClosedError             the instance was closed, or was made before this process was forked

There is one class for each thing that a caller would do differently. All have `path`, the file as the caller named it
(None if no file is involved), and a message that suffices to act on. Errors of a plugin that was loaded have `plugin`,
its name, and errors of a call have `method`, the method's name, or `create`; both are None in other errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .fields import Fields

if TYPE_CHECKING:
    from collections.abc import Sequence


_HARMLESS = frozenset("\xa0\u2002\u2003\u2009\u200a\u200c\u200d\u202f\u3000")
"""Spaces and joiners of ordinary text, which str.isprintable does not count as printable."""


def one_line(text: str) -> str:
    """Escape what could forge a line or drive a terminal: newlines, control characters, marks that reverse the text.

    For text of plugins and files, such as names, reasons and log records.
    """
    return printable(text, keep="")


def printable(text: str, *, keep: str = "\n\t") -> str:
    """Escape what a terminal would obey, for text of several lines."""
    if text.isprintable():
        return text
    return "".join(
        char
        if char.isprintable() or char in keep or char in _HARMLESS
        else char.encode("unicode_escape", "surrogatepass").decode()
        for char in text
    )


def shortened(name: str, most: int = 200) -> str:
    """Cut a name that is longer than any file's: in a crafted file it can have kilobytes."""
    return name if len(name) <= most else f"{name[:most]}… ({len(name)} characters)"


class Problem(Fields):
    """One reason why a plugin does not fit: what is needed, what was found, how to fix it."""

    code: str
    """A name that stays the same in later releases, such as `abi-major`."""
    needs: str
    found: str
    fix: str
    fatal: bool = True
    """False for a warning: the file is loaded all the same."""

    @classmethod
    def of(cls, code: str, found: object, *, needs: str = "", fix: str = "", **values: object) -> Problem:
        """Make one from its row in problems.py; `needs` and `fix` replace the row's, `values` fill in their names.

        Each is one line without control characters, whatever the file has in the place of a name.
        """
        from .problems import ROWS  # 0.4 ms that only a host with problems pays

        row = ROWS[code]
        needs, fix = needs or row.needs.format(**values), fix or row.fix.format(**values)
        return cls(code, one_line(needs), one_line(str(found)), one_line(fix), row.fatal)

    def __str__(self) -> str:
        return f"needs {self.needs}, found {self.found}; {self.fix} [{self.code}]"


def reasons(problems: Sequence[Problem]) -> str:
    """Format problems as the end of a message: a single one on the same line, several on a line each."""
    return f": {problems[0]}" if len(problems) == 1 else "".join(f"\n  - {problem}" for problem in problems)


class HardpointError(Exception):
    """The base of all errors of hardpoint.

    `path` is the file concerned, as the caller named it, `plugin` the plugin's name, and `method` the method that was
    called, or `create`; each is None if there is none.
    """

    def __init__(
        self, message: str, *, path: str | None = None, plugin: str | None = None, method: str | None = None
    ) -> None:
        super().__init__(message)
        self.path = path
        self.plugin = plugin
        self.method = method

    def __str__(self) -> str:
        """The message without control characters, with its path on one line: files are named by whoever made them."""
        message = super().__str__()
        if self.path and not self.path.isprintable():
            message = message.replace(self.path, one_line(self.path))
        return printable(message)


class DefinitionError(HardpointError, TypeError):
    """A class, method or parameter that is not valid in a contract."""


class PluginNotFoundError(HardpointError):
    """No file at that path, or no plugin of that name was found."""


class _RefusedError(HardpointError):
    """A file was refused before any of its code ran; `problems` has every reason."""

    def __init__(self, message: str, *, problems: Sequence[Problem] = (), **about: str | None) -> None:
        super().__init__(message, **about)
        self.problems = tuple(problems)


class NotAPluginError(_RefusedError):
    """The file is not a plugin library: not a valid shared object, or one without a manifest."""


class IncompatibleError(_RefusedError):
    """The file is a plugin library, but does not fit this host, this machine or this contract."""


class StaleError(HardpointError):
    """The file changed since it was loaded (a library is never unloaded), or since a registry found it."""


class LoadError(HardpointError):
    """The dynamic linker refused the file, or the requested binding cannot be used.

    `problems` has the reasons of the dynamic linker, as `hardpoint check` finds them; it is empty in other cases.
    """

    def __init__(self, message: str, *, problems: Sequence[Problem] = (), **about: str | None) -> None:
        super().__init__(message, **about)
        self.problems = tuple(problems)


class ContractBrokenError(HardpointError):
    """The plugin violated the ABI: a status out of range, invalid UTF-8, more bytes than there was room for."""


class PluginError(HardpointError):
    """The plugin reported a failure: `status` is its hp_status (see hardpoint.h), `text` its reason, unchanged."""

    def __init__(self, message: str, *, status: int = 1, text: str = "", **about: str | None) -> None:
        super().__init__(message, **about)
        self.status = status
        self.text = text

    def __str__(self) -> str:
        """The message on one line: it ends in the plugin's own reason."""
        return one_line(Exception.__str__(self))


class CreateError(PluginError):
    """`create` failed, so there is no instance."""


class CallError(PluginError):
    """A method failed, or the plugin does not have it."""


class CrashedError(HardpointError):
    """The worker of an isolated plugin died, or was killed for sending a malformed answer; the host is unharmed.

    `signal` is the number of the signal that killed it, `status` its exit status if it exited (each is None in the
    other case, and both are if neither is known), `stderr` the last lines that it wrote to stdout and stderr.
    """

    def __init__(
        self, message: str, *, signal: int | None = None, status: int | None = None, stderr: str = "",
        **about: str | None,
    ) -> None:  # fmt: skip
        super().__init__(message, **about)
        self.signal = signal
        self.status = status
        self.stderr = stderr


class TimedOutError(HardpointError, TimeoutError):
    """An isolated plugin exceeded its time limit; its worker was killed."""


class ClosedError(HardpointError):
    """The instance was closed, or was made before this process was forked."""


class HardpointWarning(UserWarning):
    """Loading a library changed the process, or a registry could not search a folder; `path` is the file or folder.

    A change of the process was undone; `changed` lists what changed. The name of what could not be undone ends in
    `(which cannot be put back)`.
    """

    def __init__(self, message: str, *, path: str | None = None, changed: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.path = path
        self.changed = tuple(changed)
