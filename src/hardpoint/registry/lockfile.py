"""The lock file: a JSON list of plugins with the SHA-256 of their files."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from ..errors import HardpointError
from ..file import digest, read_small, tilde_hint
from ..preflight.manifest import without_duplicates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..file import LibraryFile
    from ..preflight.manifest import Manifest

FORMAT = 1
FIELDS = ("contract", "plugin", "release", "file", "sha256")
_LARGEST = 16 << 20
"""Bytes of the largest lock file: 60,000 plugins."""


def lock_entry(file: LibraryFile, manifest: Manifest) -> dict[str, str]:
    """Make the entry for a plugin in the open file."""
    values = (manifest.contract, manifest.plugin, manifest.release, os.path.basename(file.path), digest(file))
    return dict(zip(FIELDS, values, strict=True))


def read_lock(path: str) -> list[dict[str, str]]:
    """Return the entries of a lock file. Raises HardpointError if it is missing, unreadable or malformed."""
    import json  # 3 ms, for hosts with a lock alone

    try:
        content = json.loads(read_small(path, _LARGEST).decode(), object_pairs_hook=without_duplicates)
    except FileNotFoundError:
        raise HardpointError(
            f"{path}: lock file not found; write it with `hardpoint lock`{tilde_hint(path)}", path=path
        ) from None
    except OSError as error:
        fix = "give the path of a lock file that this user can read"
        raise HardpointError(f"{path} cannot be read: {error.strerror}; {fix}", path=path) from error
    except (ValueError, RecursionError) as error:
        fix = "write it again with `hardpoint lock`"
        raise HardpointError(f"{path} cannot be read as a lock file: {error}; {fix}", path=path) from error
    entries = (
        content.get("plugins") if isinstance(content, dict) and _is_format(content.get("hardpoint-lock")) else None
    )
    if not isinstance(entries, list) or not all(map(_is_entry, entries)):
        raise HardpointError(f"{path} is not a lock file of `hardpoint lock`; write it again with that", path=path)
    return [{**entry, "sha256": entry["sha256"].lower()} for entry in entries]  # an editor may have left upper case


def _is_format(number: object) -> bool:
    return type(number) is int and number == FORMAT  # neither true nor 1.0


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and sorted(entry) == sorted(FIELDS)
        and all(isinstance(value, str) for value in entry.values())
        and len(entry["sha256"]) == 64
        and not entry["sha256"].strip("0123456789abcdefABCDEF")
    )


def write_lock(path: str, entries: Sequence[dict[str, str]]) -> None:
    """Write a lock file by rename, so that a host reading meanwhile sees the old one or the new one. Raises OSError."""
    import json  # 3 ms, which hosts without a lock do not pay

    path = os.path.realpath(path)  # rename(2) would replace a symbolic link itself, even /dev/stdout
    if os.path.exists(path) and not os.path.isfile(path):
        raise FileExistsError(errno.EEXIST, "not a regular file", path)

    text = json.dumps({"hardpoint-lock": FORMAT, "plugins": list(entries)}, indent=2)
    new = f"{path}.{os.getpid()}"
    with open(new, "x", encoding="ascii") as file:  # in a folder like /tmp, others may have put a link or a FIFO there
        try:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
            os.replace(new, path)
        except BaseException:
            os.unlink(new)
            raise
