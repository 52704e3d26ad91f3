/* Memory for results: grow, the block that is saved between calls, and the report of a call that failed. */
#include "_out.h"

enum { MOST_SAVED = 1 << 22 }; /* bytes in a block that is saved for the next large result */

/* The block of the last large result. Without it, the C library may return such memory to the kernel after each call,
 * and then a fresh page costs more than what is written to it. Exchanged as a whole, so no lock is needed. */
static Block *saved;

static Block *block_resize(Block *block, size_t room) {
    Block *larger = room > PTRDIFF_MAX - sizeof(Block) ? NULL : realloc(block, sizeof(Block) + room);
    if (larger != NULL) {
        larger->room = room;
    }
    return larger;
}

hp_status out_grow(hp_out *out, size_t need) {
    Out *mine = (Out *)out;
    if (need <= mine->cap) {
        return HP_OK;
    }
    const bool is_first = mine->data == mine->first;
    const size_t room = need > 2 * mine->cap ? need : 2 * mine->cap;
    Block *block = is_first ? __atomic_exchange_n(&saved, NULL, __ATOMIC_ACQUIRE) : mine->block;
    if (block == NULL || block->room < room) {
        Block *larger = block_resize(block, room);
        if (larger == NULL) {
            if (is_first) {
                free(block);
            }
            mine->failed = true;
            return HP_NO_MEMORY;
        }
        block = larger;
    }
    if (is_first) {
        memcpy(block->bytes, mine->first, out->len < mine->cap ? out->len : mine->cap);
    }
    mine->block = block;
    out->data = mine->data = block->bytes;
    out->cap = mine->cap = block->room;
    return HP_OK;
}

void out_release(Block *block) {
    if (block->room <= MOST_SAVED) {
        block = __atomic_exchange_n(&saved, block, __ATOMIC_RELEASE);
    }
    free(block);
}

PyObject *out_conclude(const Out *out, hp_status status, PyObject *conclude) {
    const bool intact = out_is_intact(out);
    const size_t len = !intact ? 0 : out->out.len < out->cap ? out->out.len : out->cap;
    return PyObject_CallFunction(conclude, "iy#KKOO", (int)status, out->data, (Py_ssize_t)len,
                                 (unsigned long long)out->out.len, (unsigned long long)out->cap,
                                 out->failed ? Py_True : Py_False, intact ? Py_True : Py_False);
}
