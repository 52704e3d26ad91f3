"""Every error that hardpoint raises, and Problem, the reason that a file does not fit.

    HardpointError              .path
    ├── DefinitionError         a contract class that cannot be a contract (also a TypeError)
    ├── PluginNotFoundError     no such file, or no plugin of that name: mend path or name
    ├── NotAPluginError         a file, but no plugin library: choose another         .problems
    ├── IncompatibleError       a plugin, but not for this host or contract: rebuild  .problems
    ├── StaleError              the file changed since it was loaded, or found: restart, or look again
    ├── LoadError               the dynamic loader refused it: its own words are in the message
    ├── ContractBrokenError     the plugin did what the ABI forbids: report it to its author
    ├── PluginError             the plugin itself said no                             .status .text
    │   ├── CreateError         ... when an instance was made
    │   └── CallError           ... when a method was called
    ├── CrashedError            an isolated plugin's worker died    .signal .status .stderr
    ├── TimedOutError           an isolated plugin took too long (also a TimeoutError)
    └── ClosedError             the instance was closed, or belongs to the process before a fork

One class for each thing that a caller would do differently. Every one carries `path`, the file as the caller named
it (None where no file is involved), and a message that can be acted on alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .fields import Fields

if TYPE_CHECKING:
    from collections.abc import Sequence


class Problem(Fields):
    """One reason why a plugin does not fit: what is needed, what was found, what to do."""

    code: str
    """A stable name for this kind of problem, such as `abi-major`."""
    needs: str
    found: str
    fix: str
    fatal: bool = True
    """False for a warning: the file is loaded all the same."""

    @classmethod
    def of(cls, code: str, found: object, *, needs: str = "", fix: str = "", **values: object) -> Problem:
        """Make one from the row of its code; `needs` and `fix` replace the row's texts, `values` fill in their names."""
        from .problems import ROWS  # 0.2 ms that only a host with problems pays

        row = ROWS[code]
        return cls(code, needs or row.needs.format(**values), str(found), fix or row.fix.format(**values), row.fatal)

    def __str__(self) -> str:
        return f"needs {self.needs}, found {self.found}; {self.fix} [{self.code}]"


def reasons(problems: Sequence[Problem]) -> str:
    """What follows a message that says who does not fit: one problem on its line, several each on its own."""
    return f": {problems[0]}" if len(problems) == 1 else "".join(f"\n  - {problem}" for problem in problems)


class HardpointError(Exception):
    """The root of all errors here. `path` is the file concerned, as the caller named it, or None."""

    def __init__(self, message: str, *, path: str | None = None) -> None:
        super().__init__(message)
        self.path = path


class DefinitionError(HardpointError, TypeError):
    """A class, method or parameter that the contract language does not have."""


class PluginNotFoundError(HardpointError):
    """There is no file at that path, or no plugin of that name where it was looked for."""


class _RefusedError(HardpointError):
    """A file that was refused before any of its code ran; `problems` has every reason."""

    def __init__(self, message: str, *, path: str | None = None, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message, path=path)
        self.problems = tuple(problems)


class NotAPluginError(_RefusedError):
    """The file is not a plugin library at all: not a shared object for any host, or one without a manifest."""


class IncompatibleError(_RefusedError):
    """The file is a plugin library that does not fit this host, this machine or this contract."""


class StaleError(HardpointError):
    """The file has changed since it was loaded, and a library is never unloaded; or since a registry found it."""


class LoadError(HardpointError):
    """The dynamic loader refused the file, or the binding that was asked for cannot have it."""


class ContractBrokenError(HardpointError):
    """The plugin did what the ABI forbids: a status out of range, text that is not UTF-8, more than it had room for."""


class PluginError(HardpointError):
    """The plugin said no: `status` is its own (see hp_status in hardpoint.h), `text` its reason as it gave it."""

    def __init__(self, message: str, *, path: str | None = None, status: int = 1, text: str = "") -> None:
        super().__init__(message, path=path)
        self.status = status
        self.text = text


class CreateError(PluginError):
    """`create` failed: there is no instance."""


class CallError(PluginError):
    """A method failed, or the plugin does not have it."""


class CrashedError(HardpointError):
    """The worker of an isolated plugin died, or had to be killed for what it sent; the host is untouched.

    `signal` is the number of the signal that ended it, `status` its exit status if it exited (None where it is the other,
    or where nobody could tell), `stderr` the last lines that it wrote to stdout and stderr.
    """

    def __init__(
        self, message: str, *, path: str | None = None, signal: int | None = None, status: int | None = None,
        stderr: str = "",
    ) -> None:  # fmt: skip
        super().__init__(message, path=path)
        self.signal = signal
        self.status = status
        self.stderr = stderr


class TimedOutError(HardpointError, TimeoutError):
    """An isolated plugin took longer than it may; its worker was killed."""


class ClosedError(HardpointError):
    """The instance was closed, or it was made before this process was forked."""


class HardpointWarning(UserWarning):
    """Loading a library changed the process, and that was put right; `changed` names what, `path` the file."""

    def __init__(self, message: str, *, path: str | None = None, changed: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.path = path
        self.changed = tuple(changed)
