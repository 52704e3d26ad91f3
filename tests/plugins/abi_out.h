/* An hp_out whose allocation has exactly `cap` bytes, so that a sanitizer detects an overflow by one byte. */
#include "hardpoint.h"

#include <stdlib.h>

static int failures, checks;
#define CHECK(condition)                                                                                               \
    (checks++, (condition) ? (void)0 : (void)(failures++, printf("line %d: %s\n", __LINE__, #condition)))

static int grown;
static size_t wanted;

static hp_status grow_well(hp_out *out, size_t need) {
    grown++;
    wanted = need;
    char *data = need < SIZE_MAX / 2 ? malloc(need) : NULL; /* always moves, and copies only the first `len` bytes */
    if (data == NULL) {
        return HP_NO_MEMORY;
    }
    memcpy(data, out->data, out->len);
    free(out->data);
    out->data = data;
    out->cap = need;
    return HP_OK;
}

static hp_status grow_never(hp_out *out, size_t need) {
    (void)out;
    grown++;
    wanted = need;
    return HP_NO_MEMORY;
}

static hp_out start(size_t cap, hp_status (*grow)(hp_out *, size_t)) {
    hp_out out = {.data = malloc(cap), .len = 0, .cap = cap, .grow = grow};
    if (out.data == NULL) {
        abort();
    }
    memset(out.data, 'u', cap);
    grown = 0;
    return out;
}

static inline bool holds(const hp_out *out, const char *text) {
    return out->len == strlen(text) && memcmp(out->data, text, out->len) == 0;
}
