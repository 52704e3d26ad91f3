/* The library's file: LIBRARY_FD, the path of the recipe, and the mapping that the dynamic linker made. */
#ifndef HARDPOINT_FILE_H
#define HARDPOINT_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "_recipe.h"

#pragma GCC visibility push(hidden)

/* True if a file's status has the device, inode, size and time that the host recorded. */
bool file_is_same(const Identity *identity, const struct stat *status);

/* True if LIBRARY_FD, and the path if that is opened, are the file that the host checked; always for a sealed copy. */
bool file_is_current(const Recipe *recipe);

/* Returns 1 if the mapping at an address is of LIBRARY_FD, 0 if not, -1 with errno if that cannot be found out.
 *
 * glibc compares names before it opens a file, so dlopen may return an older library. On overlayfs and btrfs device and
 * inode differ from those of fstat(2): there the file is mapped once more, and the two mappings are compared. */
int file_is_mapped(uintptr_t address);

#pragma GCC visibility pop

#endif
