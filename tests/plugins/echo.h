/* Building blocks for plugins of random contracts. Each method reports its exact arguments, and its behaviour depends
 * on all of them. tests/support/echo.py computes the same in Python: change both together. */
#ifndef ECHO_H
#define ECHO_H

#include <stdlib.h>

#include "hardpoint.h"

/* Side effects of a method, in addition to its answer. */
typedef enum { PLAIN, GROWS, FAILS, BREAKS } echo_habit;

typedef struct {
    hp_out *out;
    char *text; /* every argument, rendered */
    size_t len;
    uint64_t hash;  /* of the text */
    uint64_t state; /* of echo_draw */
    const char *wrong; /* violation of the ABI by the host, or NULL */
} echo;

static int echo_instance; /* create returns its address */

static hp_status echo_create(const hp_host *host, const char *config, size_t config_len, void **self, hp_out *out) {
    (void)config_len;
    *self = &echo_instance;
    return host == NULL || config != NULL ? hp_fail(out, HP_INVALID, "not called as load calls it") : HP_OK;
}

static inline void echo_put(echo *e, const void *data, size_t len) {
    char *text = realloc(e->text, e->len + len + 1);
    if (text == NULL) {
        abort();
    }
    if (len > 0) {
        memcpy(text + e->len, data, len);
    }
    e->text = text;
    e->len += len;
}

static inline void echo_open(echo *e, const char *name, const void *self, hp_out *out) {
    *e = (echo){.out = out};
    e->wrong = self != &echo_instance                                        ? "self is not what create gave"
               : out->data == NULL || out->grow == NULL || out->cap < 512 ? "the hp_out is not ready"
               : out->len != 0                                               ? "there is something in the hp_out"
                                                                             : NULL;
    echo_put(e, name, strlen(name));
}

static inline void echo_buffer(echo *e, char kind, const void *data, size_t len) {
    char piece[40];
    if (data == NULL) {
        e->wrong = "a buffer is NULL";
        return;
    }
    echo_put(e, piece, (size_t)snprintf(piece, sizeof piece, " %c%zu:", kind, len));
    char *hex = malloc(2 * len + 1);
    if (hex == NULL) {
        abort();
    }
    for (size_t i = 0; i < len; i++) {
        hex[2 * i] = "0123456789abcdef"[((const uint8_t *)data)[i] >> 4];
        hex[2 * i + 1] = "0123456789abcdef"[((const uint8_t *)data)[i] & 15];
    }
    echo_put(e, hex, 2 * len);
    free(hex);
}

static inline void echo_int(echo *e, int64_t value) {
    char piece[40];
    echo_put(e, piece, (size_t)snprintf(piece, sizeof piece, " i%lld", (long long)value));
}

/* Render the bits, since printf does not show all of a NaN. */
static inline void echo_float(echo *e, double value) {
    char piece[40];
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    echo_put(e, piece, (size_t)snprintf(piece, sizeof piece, " f%016llx", (unsigned long long)bits));
}

/* Render the byte, which has to be 0 or 1. */
static inline void echo_bool(echo *e, bool value) {
    char piece[40];
    uint8_t byte;
    memcpy(&byte, &value, sizeof byte);
    echo_put(e, piece, (size_t)snprintf(piece, sizeof piece, " ?%d", byte));
}

/* Called after the last argument. */
static inline void echo_end(echo *e) {
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < e->len; i++) {
        crc ^= (uint8_t)e->text[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
        }
    }
    e->hash = e->state = (uint64_t)(uint32_t)~crc * 0x9e3779b97f4a7c15;
}

static inline void echo_change(const echo *e, uint8_t *data, size_t len) {
    for (size_t i = 0; i < len; i++) {
        data[i] ^= (uint8_t)((e->hash >> 8 * (i % 8)) + i);
    }
}

/* Return a number below `limit` that depends on every argument. */
static inline uint32_t echo_draw(echo *e, uint32_t limit) {
    const uint32_t drawn = (uint32_t)(e->state >> 33) % limit;
    e->state = e->state * 6364136223846793005 + 1442695040888963407;
    return drawn;
}

static inline hp_status echo_write(echo *e, const char *tail) {
    const hp_status status = hp_write(e->out, e->text, e->len);
    return status == HP_OK ? hp_puts(e->out, tail) : status;
}

/* Store the answer of kind `kind` in the result. Always leaves text in the hp_out. */
static inline hp_status echo_answer(echo *e, char kind, void *result, size_t size) {
    static const uint64_t odd[] = {0x7ff8000000000000, 0x7ff0000000000000, 0x8000000000000000, 1};
    const uint64_t bits = echo_draw(e, 4) == 0 ? odd[echo_draw(e, 4)] : e->hash;
    const bool truth = echo_draw(e, 2);
    const hp_status status = echo_write(e, "");
    if (kind == 'i') {
        memcpy(result, &e->hash, size); /* its low bytes: every machine here is little-endian */
    } else if (kind == 'f') {
        memcpy(result, &bits, sizeof bits);
    } else if (kind == '?') {
        memcpy(result, &truth, sizeof truth);
    }
    return status == HP_OK && kind == 'b' ? hp_write(e->out, &e->hash, sizeof e->hash) : status;
}

/* Fill the output to exactly `size` bytes or a few more, around the sizes of the host's allocations. */
static inline hp_status echo_pad(echo *e, size_t size) {
    const size_t more = size > e->out->len ? size - e->out->len : 3;
    const hp_status status = hp_reserve(e->out, more);
    if (status == HP_OK) {
        memset(e->out->data + e->out->len, '.', more);
        e->out->len += more;
    }
    return status;
}

static inline hp_status echo_grow(echo *e, char kind, void *result, size_t size) {
    static const size_t sizes[] = {511, 512, 513, 1023, 1024, 1025, 1032, 2047, 2048, 2049, 65536, 65537};
    hp_status status = echo_answer(e, kind, result, size);
    if (echo_draw(e, 2)) {
        return status == HP_OK ? echo_pad(e, sizes[echo_draw(e, 12)]) : status;
    }
    const uint32_t times = echo_draw(e, 40);
    if (status == HP_OK && echo_draw(e, 2)) {
        status = e->out->grow(e->out, e->out->len + (size_t)times * e->len);
    }
    for (uint32_t i = 0; status == HP_OK && i < times; i++) {
        status = echo_write(e, "");
    }
    return status;
}

static inline hp_status echo_fail(echo *e, char kind, void *result, size_t size) {
    static const hp_status statuses[] = {1, 2, 3, 4, 5, 255, 256, 257, 65535};
    const hp_status status = statuses[echo_draw(e, 9)];
    hp_status written = echo_answer(e, kind, result, size);
    e->out->len = 0;
    switch (echo_draw(e, 4)) {
    case 0:
        return status;
    case 1:
        return hp_fail(e->out, status, "%.*s", (int)e->len, e->text);
    case 2:
        return written == HP_OK && (written = echo_write(e, "\xff\xe2\x82")) == HP_OK ? status : written;
    default:
        for (int i = 0; i < 30 && written == HP_OK; i++) {
            written = echo_write(e, "\n");
        }
        return written == HP_OK ? status : written;
    }
}

static inline hp_status echo_break(echo *e, char kind, void *result, size_t size) {
    hp_status status;
    hp_out *out = e->out;
    switch (kind == 's' && echo_draw(e, 2) ? 0 : echo_draw(e, 9)) {
    case 0: /* str only */
        return echo_write(e, "\xe9");
    case 1:
        return -1 - (hp_status)echo_draw(e, 1000);
    case 2:
        return 65536 + (hp_status)echo_draw(e, 1000);
    case 3:
        return INT32_MIN;
    case 4: /* len > cap, and any status */
        status = (hp_status)echo_draw(e, 3) - 1;
        out->len = out->cap + (echo_draw(e, 2) ? 1 + echo_draw(e, 100) : SIZE_MAX / 2);
        return status;
    case 5:
        status = echo_answer(e, kind, result, size);
        out->data = (char *)(uintptr_t)echo_draw(e, 2);
        out->cap = echo_draw(e, 2) ? out->cap : 7;
        return status;
    case 6:
        (void)!out->grow(out, SIZE_MAX / 2);
        return echo_answer(e, kind, result, size);
    case 7:
        return hp_reserve(out, SIZE_MAX / 2);
    default: /* no output, or a bool other than 0 and 1 */
        if (kind == '?' && echo_draw(e, 2)) {
            memset(result, 2, 1);
        }
        return HP_OK;
    }
}

/* Return the status of the method, whose result has `size` bytes. One call in `every` has the side effect `habit`. */
static inline hp_status echo_close(echo *e, char kind, void *result, size_t size, echo_habit habit, uint32_t every) {
    static const char nothing[8];
    hp_status status;
    if (result != NULL && memcmp(result, nothing, size) != 0) {
        e->wrong = "the result is not 0 on entry";
    }
    if (e->wrong != NULL) {
        status = hp_fail(e->out, 65535, "%s", e->wrong);
    } else if (echo_draw(e, every) > 0 || habit == PLAIN) {
        status = echo_answer(e, kind, result, size);
    } else {
        status = habit == GROWS   ? echo_grow(e, kind, result, size)
                 : habit == FAILS ? echo_fail(e, kind, result, size)
                                  : echo_break(e, kind, result, size);
    }
    free(e->text);
    return status;
}

#endif
