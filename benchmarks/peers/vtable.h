/* Open a library, pass an hp_out, read the result: shared by all compiled peers in C and C++, so that they differ only
 * in their bindings. */
#ifndef PEERS_VTABLE_H
#define PEERS_VTABLE_H

#include <dlfcn.h>
#include <stdlib.h>

#include "greeter.h"

/* An hp_out with room for 1 KiB on the stack, and memory from malloc beyond that. */
typedef struct room {
    hp_out out; /* first: grow gets its address */
    char *heap; /* NULL while the text is on the stack */
    char stack[1024];
} room;

static hp_status room_grow(hp_out *out, size_t need) {
    room *room_ = (room *)out;
    size_t cap = 2 * out->cap > need ? 2 * out->cap : need;
    char *data = (char *)realloc(room_->heap, cap);
    if (data == NULL) {
        return HP_NO_MEMORY;
    }
    if (room_->heap == NULL) {
        memcpy(data, room_->stack, out->len);
    }
    room_->heap = out->data = data;
    out->cap = cap;
    return HP_OK;
}

static inline void room_open(room *room_) {
    room_->heap = NULL;
    room_->out.data = room_->stack;
    room_->out.len = 0;
    room_->out.cap = sizeof room_->stack;
    room_->out.grow = room_grow;
}

static inline void room_close(room *room_) {
    if (room_->heap != NULL) {
        free(room_->heap);
    }
}

/* True if the call succeeded and the length is within the memory. */
static inline bool room_is_good(const room *room_, hp_status status) {
    return status == HP_OK && room_->out.len <= room_->out.cap;
}

/* The greeter's vtable in a library, or NULL with the reason in dlerror(). english.so has no create: `self` is NULL. */
static inline const greeter_v1 *open_greeter(const char *path) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    return library == NULL ? NULL : (const greeter_v1 *)dlsym(library, "hardpoint_greeter_v1");
}

#endif
