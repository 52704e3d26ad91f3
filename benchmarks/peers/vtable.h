/* What every compiled peer does around a call: opens the library, gives the plugin an hp_out, reads what it left.
 * C and C++. It stands here once so that all of them do the same, and so that they differ in their glue alone. */
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

/* Whether the text is a result: the status is success and the length is one that fits. */
static inline bool room_is_good(const room *room_, hp_status status) {
    return status == HP_OK && room_->out.len <= room_->out.cap;
}

/* The vtable of the greeter in a library, or NULL, and dlerror() says why. english.so has no create, so `self` is NULL. */
static inline const greeter_v1 *open_greeter(const char *path) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    return library == NULL ? NULL : (const greeter_v1 *)dlsym(library, "hardpoint_greeter_v1");
}

#endif
