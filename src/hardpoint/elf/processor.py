"""The levels of x86-64 (psABI) that this processor has, and the folders with libraries for them that ld.so searches."""

from __future__ import annotations

import os
from functools import cache

from ..ffi.libc import ffi, libc

LEVELS: tuple[dict[str, tuple[int, int, int]], ...] = (
    {},
    {"sse3": (0, 2, 0), "ssse3": (0, 2, 9), "cx16": (0, 2, 13), "sse4.1": (0, 2, 19), "sse4.2": (0, 2, 20),
     "popcnt": (0, 2, 23), "lahf": (2, 2, 0)},
    {"fma": (0, 2, 12), "movbe": (0, 2, 22), "avx": (0, 2, 28), "f16c": (0, 2, 29), "bmi1": (1, 1, 3),
     "avx2": (1, 1, 5), "bmi2": (1, 1, 8), "lzcnt": (2, 2, 5)},
    {"avx512f": (1, 1, 16), "avx512dq": (1, 1, 17), "avx512cd": (1, 1, 28), "avx512bw": (1, 1, 30),
     "avx512vl": (1, 1, 31)},
)  # fmt: skip
"""The processor's features that each level adds: leaf, register and bit in <sys/platform/x86.h>. Every x86-64 processor
has the first level."""


@cache
def missing_features() -> tuple[tuple[str, ...], ...] | None:
    """Return each level's features that this process cannot use; None where glibc does not say (before 2.33).

    glibc is asked, not cpuid: the kernel or GLIBC_TUNABLES may have disabled some, and ld.so goes by the rest.
    """
    address = libc.dlsym(ffi.NULL, b"__x86_get_cpuid_feature_leaf")
    if address == ffi.NULL:
        return None
    leaf_at = ffi.cast("uint32_t *(*)(uint32_t)", address)
    leaves = [list(leaf_at(leaf)[4:8]) for leaf in range(3)]
    return tuple(
        tuple(name for name, (leaf, register, bit) in level.items() if not leaves[leaf][register] >> bit & 1)
        for level in LEVELS
    )


@cache
def variants() -> tuple[str, ...]:
    """Return the subfolders of `glibc-hwcaps` that the dynamic linker searches, the highest level first (ld.so(8)).

    There are none before glibc 2.33, and none for AArch64.
    """
    missing = missing_features() if os.uname().machine == "x86_64" else None
    if missing is None:
        return ()
    highest = next((level for level, names in enumerate(missing) if names), len(missing))
    return tuple(f"x86-64-v{level}" for level in range(highest, 1, -1))


@cache
def older_variants() -> tuple[str, ...]:
    """Return the subfolders that glibc up to 2.36 searches besides, in its order, such as `tls/x86_64`.

    They are all combinations of `tls`, the platform, and features of the processor.
    """
    try:
        version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()[-1].split(".")[:2]
        is_new = [*map(int, version)] >= [2, 37]
    except (ValueError, OSError, IndexError):  # not glibc
        return ()
    if is_new:
        return ()
    names = ["tls", "aarch64", "atomics"]
    if os.uname().machine == "x86_64":
        missing = missing_features() or LEVELS
        is_haswell = not any(missing[:3]) and _is_intel()
        names = ["tls", "haswell" if is_haswell else "x86_64", "x86_64"]
        if is_haswell and not missing[3]:
            names.insert(2, "avx512_1")
    bits = range(len(names) - 1, -1, -1)
    chosen = ([name for bit, name in zip(bits, names, strict=True) if number >> bit & 1]
              for number in range((1 << len(names)) - 1, 0, -1))  # fmt: skip
    return tuple(dict.fromkeys("/".join(each) for each in chosen))


def _is_intel() -> bool:
    try:
        with open("/proc/cpuinfo", "rb", buffering=0) as file:
            return b"GenuineIntel" in file.read(200)
    except OSError:
        return False
