/* See _load.h. The host has checked the file; the checks here find a library that differs from it once it is loaded. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "_load.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "_file.h"
#include "_process_state.h"
#include "_program.h"
#include "_serve.h"
#include "_vtable.h"

/* glibc compares names before it opens a file, and a plugin may get the same number for another library later: hence a
 * spelling that no plugin uses. */
#define BY_DESCRIPTOR "/proc/self/./fd/4"
_Static_assert(LIBRARY_FD == 4, "the name has its number");

enum { CREATE_SLOT = 0, DESTROY_SLOT = 1 };
enum { STALE_BEFORE = 1, STALE_MAPPED = 2, STALE_AFTER = 3 }; /* `status` of STAGE_STALE: when it was noticed */
enum { CHANGED_SHIFT = 8 }; /* in the reply's `scalar`, above the stage */

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

/* Appends as much of a text to the reply's as there is room for. */
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

/* Replies with the dynamic linker's message, in which BY_DESCRIPTOR is replaced by the library's path. */
static void refused(Channel *channel, const Recipe *recipe, const char *words) {
    load_failed(channel, STAGE_REFUSED, 0, NULL);
    for (const char *name; (name = strstr(words, BY_DESCRIPTOR)) != NULL; words = name + sizeof BY_DESCRIPTOR - 1) {
        append(channel, words, (size_t)(name - words));
        append(channel, recipe->path, strlen(recipe->path));
    }
    append(channel, words, strlen(words));
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

/* Gives the library its path as its name, for dladdr(3), debuggers and sanitizers. */
static void rename_library(struct link_map *link, const char *path) {
    if (strcmp(link->l_name, BY_DESCRIPTOR) == 0) {
        char *name = strdup(path);
        link->l_name = name == NULL ? link->l_name : name;
    }
}

/* True if dlopen opened the file that the host checked; `opened` is the file's status before dlopen. */
static bool check_file(const Recipe *recipe, const struct link_map *link, const struct stat *opened, Found *found) {
    struct stat now;
    if (fstat(LIBRARY_FD, &now) != 0 || now.st_dev != opened->st_dev || now.st_ino != opened->st_ino) {
        *found = (Found){.stage = STAGE_CLOSED};
        return false;
    }
    if ((recipe->flags & RECIPE_BY_DESCRIPTOR) == 0) {
        List mapped = recipe->mapped;
        const int is = file_is_mapped(link->l_addr + take_u64(&mapped));
        if (is < 0) {
            *found = (Found){.stage = STAGE_FAILED, .status = errno, .text = "open /proc/self/maps"};
        } else if (is == 0) {
            *found = (Found){.stage = STAGE_STALE, .status = STALE_MAPPED};
        }
        if (is != 1) {
            return false;
        }
    }
    if ((recipe->flags & RECIPE_PINNED) == 0 && !file_is_same(&recipe->identity, &now)) {
        *found = (Found){.stage = STAGE_STALE, .status = STALE_AFTER};
        return false;
    }
    return true;
}

static void *open_library(const Recipe *recipe, uint32_t *changed) {
    const char *name = (recipe->flags & RECIPE_BY_DESCRIPTOR) != 0 ? BY_DESCRIPTOR : recipe->path;
    State before;
    state_take(&before);
    crash_name(name, recipe->path);
    void *handle = dlopen(name, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    crash_name(NULL, NULL);
    *changed = state_restore(&before);
    return handle;
}

/* Opens the library and checks it; returns its vtable, or NULL with *found. */
static const uintptr_t *open_checked(const Recipe *recipe, uint32_t *changed, Found *found) {
    struct stat opened;
    struct link_map *link = NULL;
    if (!file_is_current(recipe) || fstat(LIBRARY_FD, &opened) != 0) {
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
    found->status = vtable_check(recipe, link->l_addr, vtable, &found->slot);
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
        (hp_status(*)(const hp_host *, const char *, size_t, void **, hp_out *))slots[CREATE_SLOT];
    void (*const destroy)(void *) = (void (*)(void *))slots[DESTROY_SLOT];
    hp_status status = HP_OK;
    ReplyOut out;
    reply_out_open(&out, channel);
    if (call != NULL) {
        status = call(&host, has_config ? recipe->config.data : NULL, has_config ? recipe->config.size : 0,
                      &instance.self, &out.out);
    }
    reply_write(channel, &out, status, false, 0);
    if ((channel->reply->flags & REPLY_TOO_LONG) == 0) { /* else `scalar` is the room */
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
        vtable_bind(recipe, vtable);
        return create(channel, recipe, vtable + VTABLE_SLOTS, changed);
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
