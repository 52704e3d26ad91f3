/* The library's file, compared with the host's record of it. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "_file.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "_program.h"

bool file_is_same(const Identity *identity, const struct stat *status) {
    const uint64_t modified = (uint64_t)status->st_mtim.tv_sec * 1000000000 + (uint64_t)status->st_mtim.tv_nsec;
    return identity->device == status->st_dev && identity->inode == status->st_ino &&
           identity->size == (uint64_t)status->st_size && identity->modified == modified;
}

bool file_is_current(const Recipe *recipe) {
    struct stat status;
    if ((recipe->flags & RECIPE_PINNED) != 0) {
        return true;
    }
    if (fstat(LIBRARY_FD, &status) != 0 || !file_is_same(&recipe->identity, &status)) {
        return false;
    }
    return (recipe->flags & RECIPE_BY_DESCRIPTOR) != 0 ||
           (stat(recipe->path, &status) == 0 && file_is_same(&recipe->identity, &status));
}

typedef struct {
    unsigned major, minor;
    unsigned long inode;
} Mapping;

/* Finds the file that is mapped at an address (proc(5), maps); false with errno if that cannot be read. */
static bool mapping_at(uintptr_t address, Mapping *mapping) {
    char line[PATH_MAX + 128];
    uintptr_t start, end;
    FILE *maps = fopen("/proc/self/maps", "re");
    *mapping = (Mapping){0, 0, 0};
    if (maps == NULL) {
        return false;
    }
    while (fgets(line, sizeof line, maps) != NULL) {
        Mapping found;
        if (sscanf(line, "%lx-%lx %*s %*x %x:%x %lu", &start, &end, &found.major, &found.minor, &found.inode) == 5 &&
            start <= address && address < end) {
            *mapping = found;
            break;
        }
    }
    fclose(maps);
    return true;
}

int file_is_mapped(uintptr_t address) {
    Mapping there, again;
    struct stat status;
    if (!mapping_at(address, &there) || fstat(LIBRARY_FD, &status) != 0) {
        return -1;
    }
    if (there.major == major(status.st_dev) && there.minor == minor(status.st_dev) && there.inode == status.st_ino) {
        return 1;
    }
    void *more = mmap(NULL, 1, PROT_READ, MAP_PRIVATE, LIBRARY_FD, 0);
    if (more == MAP_FAILED) {
        return -1;
    }
    const bool read = mapping_at((uintptr_t)more, &again);
    munmap(more, 1);
    return !read ? -1 : memcmp(&there, &again, sizeof there) == 0;
}
