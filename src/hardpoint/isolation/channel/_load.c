/* See _load.h. The host has checked the file; here what the dynamic linker made of it is compared with that. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "_load.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "_process_state.h"
#include "_program.h"
#include "_serve.h"

/* glibc compares names before it opens a file, and the number is used again once the library's descriptor is closed: so
 * a spelling that no plugin uses for a library of its own. */
#define BY_DESCRIPTOR "/proc/self/./fd/4"
_Static_assert(LIBRARY_FD == 4, "the name has its number");

enum { FIRST_SLOT = 3, MANIFEST = 1, FLAGS = 2 }; /* words of a vtable: head, manifest, flags, create... */
enum { DESTROY_SLOT = 1 };                        /* among the slots */
enum { STALE_BEFORE = 1, STALE_MAPPED = 2, STALE_AFTER = 3 }; /* `status` of STAGE_STALE: when it was noticed */
enum { CHANGED_SHIFT = 8 };                       /* in the reply's `scalar`, above the stage */

typedef struct {
    uint32_t stage;
    int32_t status;
    uint64_t slot; /* of a BROKEN_* */
    const char *text;
} Found;

static hp_host host = {
    .size = sizeof(hp_host), .abi_major = HP_ABI_MAJOR, .abi_minor = HP_ABI_MINOR, .name = "hardpoint",
    .log_fd = RECORDS_FD,
};

/* ---- the reply --------------------------------------------------------------------------------------------------- */

/* Appends to a text of the reply as much as there is room for. */
static void append(Channel *channel, const char *text, size_t size) {
    Reply *reply = channel->reply;
    const size_t mapped = channel->reply_mapped - sizeof(Reply), room = mapped < channel->room ? mapped : channel->room;
    size = size < room - reply->len ? size : room - reply->len;
    memcpy(reply->text + reply->len, text, size);
    reply->len += size;
}

void load_failed(Channel *channel, uint32_t stage, int32_t status, const char *text) {
    Reply *reply = channel->reply;
    reply->status = status;
    reply->scalar = stage;
    reply->flags = 0;
    reply->service = 0;
    reply->len = 0;
    if (text != NULL) {
        append(channel, text, strlen(text));
    }
    channel->has_reply = true;
}

/* The dynamic linker's words, with the library's path where they have the name that it was given. */
static void refused(Channel *channel, const Recipe *recipe, const char *words) {
    load_failed(channel, STAGE_REFUSED, 0, NULL);
    for (const char *name; (name = strstr(words, BY_DESCRIPTOR)) != NULL; words = name + sizeof BY_DESCRIPTOR - 1) {
        append(channel, words, (size_t)(name - words));
        append(channel, recipe->path, strlen(recipe->path));
    }
    append(channel, words, strlen(words));
}

/* ---- the file ---------------------------------------------------------------------------------------------------- */

static bool is_same(const Identity *identity, const struct stat *status) {
    const uint64_t modified = (uint64_t)status->st_mtim.tv_sec * 1000000000 + (uint64_t)status->st_mtim.tv_nsec;
    return identity->device == status->st_dev && identity->inode == status->st_ino &&
           identity->size == (uint64_t)status->st_size && identity->modified == modified;
}

/* True if the file is the one that the host checked; a sealed copy always is. */
static bool is_current(const Recipe *recipe) {
    struct stat status;
    if ((recipe->flags & RECIPE_PINNED) != 0) {
        return true;
    }
    if (fstat(LIBRARY_FD, &status) != 0 || !is_same(&recipe->identity, &status)) {
        return false;
    }
    return (recipe->flags & RECIPE_BY_DESCRIPTOR) != 0 ||
           (stat(recipe->path, &status) == 0 && is_same(&recipe->identity, &status));
}

typedef struct {
    unsigned major, minor;
    unsigned long inode;
} Mapping;

/* The file that is mapped at an address, by proc(5)'s maps; false with errno if that cannot be read. */
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

/* Whether the mapping at an address is of LIBRARY_FD: 1, 0, or -1 with errno. glibc compares names before it opens a
 * file. On overlayfs and btrfs device and inode differ from those of fstat(2), so the file is mapped once more there,
 * and the two mappings are compared. */
static int is_mapped(uintptr_t address) {
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

/* ---- the vtable -------------------------------------------------------------------------------------------------- */

/* True if the note's text is at an address; read only if all of it would be inside the library. */
static bool is_manifest(const Recipe *recipe, uintptr_t base, uintptr_t pointer) {
    const uint64_t offset = pointer - base, size = (uint64_t)recipe->manifest.size + 1;
    List mapped = recipe->mapped;
    for (; mapped.left > 0; mapped.left--) {
        const uint64_t start = take_u64(&mapped), end = take_u64(&mapped);
        if (start <= offset && offset < end && size <= end - offset) {
            const char *text = (const char *)pointer;
            return memcmp(text, recipe->manifest.data, size - 1) == 0 && text[size - 1] == '\0';
        }
    }
    return false;
}

/* Compares the slots with those of the file; the BROKEN_* and *slot, or 0. */
static int32_t check_slots(const Recipe *recipe, uintptr_t base, const uintptr_t *live, uint64_t *slot) {
    List slots = recipe->slots, methods = recipe->methods;
    const uint32_t count = slots.left;
    for (uint32_t index = 0; index < methods.left; index++) {
        List row = {.at = methods.at + index * METHOD_ROW, .end = methods.end};
        const uint32_t at = take_u32(&row);
        *slot = FIRST_SLOT + index;
        if (*take(&row, 1) != 0 && (at >= count || live[at] == 0)) {
            return BROKEN_EMPTY_SLOT;
        }
    }
    for (*slot = 0; *slot < count; ++*slot) {
        const uint64_t target = take_u64(&slots);
        if (target != UINT64_MAX && live[*slot] != (target == 0 ? 0 : base + target)) {
            return BROKEN_SLOT;
        }
    }
    return 0;
}

static int32_t check_vtable(const Recipe *recipe, uintptr_t base, const uintptr_t *vtable, uint64_t *slot) {
    if (vtable == NULL) {
        return BROKEN_NO_SYMBOL;
    }
    if ((uintptr_t)vtable != base + recipe->vtable) {
        return BROKEN_OTHER_LIBRARY;
    }
    if (vtable[0] != recipe->head || vtable[FLAGS] != recipe->vtable_flags) {
        return BROKEN_HEAD;
    }
    if (!is_manifest(recipe, base, vtable[MANIFEST])) {
        return BROKEN_MANIFEST;
    }
    return check_slots(recipe, base, vtable + FIRST_SLOT, slot);
}

/* Sets what the threads call. */
static void bind_methods(const Recipe *recipe, const uintptr_t *slots) {
    List rows = recipe->methods;
    const uint32_t count = rows.left;
    Method *methods = calloc(count + 1, sizeof *methods);
    if (methods == NULL) {
        out_of_memory();
    }
    for (uint32_t index = 0; index < count; index++) {
        Method *method = &methods[index];
        const uint32_t slot = take_u32(&rows);
        take(&rows, 1);
        method->function = slot == UINT32_MAX ? NULL : (hp_function)slots[slot];
        method->count = (uint8_t)*take(&rows, 1);
        method->result = *take(&rows, 1);
        memcpy(method->kinds, take(&rows, METHOD_KINDS), METHOD_KINDS);
        if (method->count > METHOD_KINDS) {
            fail("a malformed recipe: too many parameters");
        }
        method_plan(method);
    }
    instance.methods = methods;
    instance.count = count;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

/* Has the dynamic linker call the library by its path, for dladdr(3), debuggers and sanitizers. */
static void rename_library(struct link_map *link, const char *path) {
    if (strcmp(link->l_name, BY_DESCRIPTOR) == 0) {
        char *name = strdup(path);
        link->l_name = name == NULL ? link->l_name : name;
    }
}

/* Whether what was opened is the file; `opened` is its status from before. */
static bool check_file(const Recipe *recipe, const struct link_map *link, const struct stat *opened, Found *found) {
    struct stat now;
    if (fstat(LIBRARY_FD, &now) != 0 || now.st_dev != opened->st_dev || now.st_ino != opened->st_ino) {
        *found = (Found){.stage = STAGE_CLOSED};
        return false;
    }
    if ((recipe->flags & RECIPE_BY_DESCRIPTOR) == 0) {
        List mapped = recipe->mapped;
        const int is = is_mapped(link->l_addr + take_u64(&mapped));
        if (is < 0) {
            *found = (Found){.stage = STAGE_FAILED, .status = errno, .text = "open /proc/self/maps"};
        } else if (is == 0) {
            *found = (Found){.stage = STAGE_STALE, .status = STALE_MAPPED};
        }
        if (is != 1) {
            return false;
        }
    }
    if ((recipe->flags & RECIPE_PINNED) == 0 && !is_same(&recipe->identity, &now)) {
        *found = (Found){.stage = STAGE_STALE, .status = STALE_AFTER};
        return false;
    }
    return true;
}

static void *open_library(const Recipe *recipe, uint32_t *changed) {
    const char *name = (recipe->flags & RECIPE_BY_DESCRIPTOR) != 0 ? BY_DESCRIPTOR : recipe->path;
    State before;
    state_take(&before);
    void *handle = dlopen(name, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    *changed = state_restore(&before);
    return handle;
}

/* The vtable of the library, opened and checked; NULL with *found. */
static const uintptr_t *open_checked(const Recipe *recipe, uint32_t *changed, Found *found) {
    struct stat opened;
    struct link_map *link = NULL;
    if (!is_current(recipe) || fstat(LIBRARY_FD, &opened) != 0) {
        *found = (Found){.stage = STAGE_STALE, .status = STALE_BEFORE};
        return NULL;
    }
    if ((recipe->flags & RECIPE_BY_DESCRIPTOR) != 0 && access(BY_DESCRIPTOR, R_OK) != 0) {
        *found = (Found){.stage = STAGE_FAILED, .status = errno, .text = "open /proc/self/fd"};
        return NULL;
    }
    void *handle = open_library(recipe, changed);
    if (handle == NULL || dlinfo(handle, RTLD_DI_LINKMAP, &link) != 0) {
        const char *words = dlerror();
        *found = (Found){.stage = STAGE_REFUSED, .text = words == NULL ? "it gave no reason" : words};
        return NULL;
    }
    rename_library(link, recipe->path);
    if (!check_file(recipe, link, &opened, found)) {
        return NULL;
    }
    const uintptr_t *vtable = dlsym(handle, recipe->symbol);
    found->status = check_vtable(recipe, link->l_addr, vtable, &found->slot);
    if (found->status != 0) {
        found->stage = STAGE_BROKEN;
        return NULL;
    }
    return vtable;
}

/* ---- the instance ------------------------------------------------------------------------------------------------ */

/* Calls create, and writes the reply; true if there is an instance. */
static bool create(Channel *channel, const Recipe *recipe, const uintptr_t *slots, uint32_t changed) {
    const bool has_config = (recipe->flags & RECIPE_HAS_CONFIG) != 0;
    hp_status (*const call)(const hp_host *, const char *, size_t, void **, hp_out *) =
        (hp_status(*)(const hp_host *, const char *, size_t, void **, hp_out *))slots[0];
    void (*const destroy)(void *) = (void (*)(void *))slots[DESTROY_SLOT];
    hp_status status = HP_OK;
    Out out;
    out_open(&out, channel);
    if (call != NULL) {
        status = call(&host, has_config ? recipe->config.data : NULL, has_config ? recipe->config.size : 0,
                      &instance.self, &out.out);
    }
    reply_write(channel, &out, status, false, 0);
    if ((channel->reply->flags & REPLY_TOO_LONG) == 0) { /* else it is the room that there was, and the stage is plain */
        channel->reply->scalar = STAGE_LOADED | (uint64_t)changed << CHANGED_SHIFT;
    }
    channel->has_reply = true;
    if (status == HP_OK && channel->reply->flags == 0) {
        instance.destroy = destroy;
        return true;
    }
    if (status == HP_OK && destroy != NULL) {
        destroy(instance.self);
    }
    return false;
}

bool plugin_load(Channel *channel, const Recipe *recipe, uint64_t *dropped) {
    Found found = {.stage = STAGE_LOADED};
    uint32_t changed = 0;
    const uintptr_t *vtable = open_checked(recipe, &changed, &found);
    close(LIBRARY_FD);
    if (vtable != NULL) {
        host.version = strdup(recipe->host_version);
        host.log_dropped = dropped;
        if (host.version == NULL) {
            out_of_memory();
        }
        bind_methods(recipe, vtable + FIRST_SLOT);
        return create(channel, recipe, vtable + FIRST_SLOT, changed);
    }
    if (found.stage == STAGE_REFUSED) {
        refused(channel, recipe, found.text);
    } else {
        load_failed(channel, found.stage, found.status, found.text);
    }
    if (found.stage == STAGE_BROKEN) {
        channel->reply->len = found.slot; /* no text comes */
    }
    channel->reply->scalar |= (uint64_t)changed << CHANGED_SHIFT;
    return false;
}
