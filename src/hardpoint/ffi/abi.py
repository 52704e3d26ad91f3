"""Numbers of contract/hardpoint.h that the host uses; a test compares them with the header."""

ABI = (1, 0)
"""The ABI that this host speaks."""
HEAD_SIZE = 48
"""Bytes in a vtable before its methods: sizeof(hp_vtable)."""
SERIAL = 1 << 32
"""The vtable flag HP_SERIAL."""
OUT_SIZE = 1024
"""Bytes of room in a fresh hp_out; the ABI promises 512."""
OK, NO_MEMORY, UNSUPPORTED = 0, 4, 3
STATUS_NAMES = {1: "HP_FAILED", 2: "HP_INVALID", 3: "HP_UNSUPPORTED", 4: "HP_NO_MEMORY"}
AUTHOR, LAST_STATUS = 256, 65535
