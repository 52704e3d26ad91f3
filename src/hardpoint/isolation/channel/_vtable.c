/* The vtable in memory, compared with the one that the host read from the file. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "_vtable.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "_program.h"
#include "_serve.h"

enum { MANIFEST = 1, FLAGS = 2 }; /* words behind the head */

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

/* Compares the slots with those of the file; returns 0, or a BROKEN_* with *slot. */
static int32_t check_slots(const Recipe *recipe, uintptr_t base, const uintptr_t *live, uint64_t *slot) {
    List slots = recipe->slots, methods = recipe->methods;
    const uint32_t count = slots.left;
    for (uint32_t index = 0; index < methods.left; index++) {
        List row = {.at = methods.at + index * METHOD_ROW, .end = methods.end};
        const uint32_t at = take_u32(&row);
        *slot = VTABLE_SLOTS + index;
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

int32_t vtable_check(const Recipe *recipe, uintptr_t base, const uintptr_t *vtable, uint64_t *slot) {
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
    return check_slots(recipe, base, vtable + VTABLE_SLOTS, slot);
}

void vtable_bind(const Recipe *recipe, const uintptr_t *vtable) {
    const uintptr_t *slots = vtable + VTABLE_SLOTS;
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
        plan_method(method);
    }
    instance.methods = methods;
    instance.count = count;
}
