/* The recipe that the host makes for a worker: what to give up, what to open, what to find there, how to call it.
 *
 * Bytes, little-endian, without padding; a text is a length (u32) and its bytes, a list is a count (u32) and its rows.
 * Everything points into the one copy that was read. It comes from the host and is not checked beyond its bounds.
 */
#ifndef HARDPOINT_RECIPE_H
#define HARDPOINT_RECIPE_H

#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

enum { RECIPE_MAGIC = 0x31525048 };

enum {
    RECIPE_SANDBOX = 1,
    RECIPE_REQUIRED = 2,      /* all of the sandbox, or the plugin is not loaded */
    RECIPE_BY_DESCRIPTOR = 4, /* open the library by its descriptor; else by its path */
    RECIPE_HAS_CONFIG = 8,
    RECIPE_PINNED = 16        /* the descriptor is that of a sealed copy */
};

typedef struct {
    char *data;
    uint32_t size;
} Text;

/* Rows that are read one after the other. */
typedef struct {
    char *at, *end;
    uint32_t left;
} List;

typedef struct {
    uint64_t device, inode, size, modified; /* the last in nanoseconds */
} Identity;

enum { METHOD_KINDS = 8, METHOD_ROW = 15 };

typedef struct {
    uint32_t flags;
    char *title, *path, *symbol, *host_version; /* NUL-terminated */
    Identity identity;
    List limits; /* u32 resource, u64 soft, u64 hard */
    uint32_t landlock_abi; /* 0: none */
    uint64_t handled_files, handled_network, scoped;
    List rules; /* u64 rights, text path */
    uint32_t capabilities; /* that stay, of the lower 32 */
    uint32_t placeholder;  /* stands in `bpf` for the pid */
    Text bpf;
    uint64_t vtable, head, vtable_flags; /* the vtable's place behind the library's base; size and ABI; flags */
    Text manifest;
    List mapped;  /* u64 start, u64 end behind the base: what can be read */
    List slots;   /* u64: 0 empty, UINT64_MAX any, else the place behind the base */
    List methods; /* u32 slot or UINT32_MAX, u8 required, u8 count, char result, char kinds[8] */
    Text config;
    void *memory; /* of all of this */
    size_t memory_size;
} Recipe;

/* Reads `size` bytes at an offset of a file, and takes them apart; ends the process if they are not a recipe. */
void recipe_read(Recipe *recipe, int fd, uint64_t offset, uint64_t size);

/* Gives the memory back. */
void recipe_drop(Recipe *recipe);

/* The next number or text of a row; ends the process at the end of the recipe. */
uint32_t take_u32(List *list);
uint64_t take_u64(List *list);
Text take_text(List *list);

/* The next `size` bytes. */
char *take(List *list, size_t size);

#pragma GCC visibility pop

#endif
