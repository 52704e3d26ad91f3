/* The host's side of one hp_out: where a method writes its text, and the memory behind it. */
#ifndef HARDPOINT_OUT_H
#define HARDPOINT_OUT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "../contracts/hardpoint.h"

#pragma GCC visibility push(hidden)

enum { OUT_SIZE = 1024 }; /* room in a fresh hp_out; the ABI promises 512 */

/* Memory of a result that is larger than OUT_SIZE. */
typedef struct {
    size_t room; /* of `bytes` */
    _Alignas(max_align_t) char bytes[];
} Block;

typedef struct {
    hp_out out;   /* what the plugin sees; it could write to all of it */
    char *data;   /* the host's own copies of out.data and out.cap */
    size_t cap;
    Block *block; /* whose bytes `data` is; not set while `data` is `first`, which saves a store of 1 ns a call */
    bool failed;  /* a grow was refused */
    char first[OUT_SIZE];
} Out;

/* hp_out.grow. Needs no GIL: a plugin may hold a lock over it that a call which keeps the GIL waits for. */
hp_status out_grow(hp_out *out, size_t need);

/* Frees a block, or saves it for the next large result. */
void out_release(Block *block);

/* Calls conclude(status, text, length, cap, failed, intact) in Python, for a call that did not simply succeed. */
PyObject *out_conclude(const Out *out, hp_status status, PyObject *conclude);

static inline void out_open(Out *out) {
    out->out = (hp_out){.data = out->first, .len = 0, .cap = OUT_SIZE, .grow = out_grow};
    out->data = out->first;
    out->cap = OUT_SIZE;
    out->failed = false;
}

static inline void out_close(Out *out) {
    if (out->data != out->first) {
        out_release(out->block);
    }
}

/* True if data and cap in the plugin's struct are still those that the host wrote. */
static inline bool out_is_intact(const Out *out) {
    return out->out.data == out->data && out->out.cap == out->cap;
}

/* True if the call succeeded and its hp_out is valid. */
static inline bool out_is_fine(const Out *out, hp_status status) {
    return status == HP_OK && !out->failed && out_is_intact(out) && out->out.len <= out->cap;
}

#pragma GCC visibility pop

#endif
