/* A plugin for the contract of tests/support/probe.py. Variants: -DSERIAL, -DWITHOUT_NEW (the @since slots are NULL),
 * -DSTATELESS (no create). */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "probe.h"

typedef struct {
    const hp_host *host;
    char *config;
    size_t config_len;
    atomic_int inside;
} probe;

static atomic_int instances;

static hp_status create(const hp_host *host, const char *config, size_t config_len, void **self, hp_out *out) {
    if (config_len == 6 && memcmp(config, "refuse", 6) == 0) {
        return hp_fail(out, HP_INVALID, "the config says %.*s", (int)config_len, config);
    }
    probe *made = calloc(1, sizeof *made);
    if (made == NULL) {
        return HP_NO_MEMORY;
    }
    made->host = host;
    if (config != NULL) {
        made->config = malloc(config_len + 1);
        if (made->config == NULL) {
            free(made);
            return HP_NO_MEMORY;
        }
        memcpy(made->config, config, config_len);
        made->config_len = config_len;
    }
    instances++;
    *self = made;
    return HP_OK;
}

static void destroy(void *self) {
    probe *gone = self;
    free(gone->config);
    free(gone);
    instances--;
}

static hp_status text(void *self, const char *value, size_t value_len, hp_out *out) {
    (void)self;
    return hp_write(out, value, value_len);
}

static hp_status raw(void *self, const uint8_t *value, size_t value_len, hp_out *out) {
    (void)self;
    return value == NULL ? hp_fail(out, HP_INVALID, "a NULL buffer") : hp_write(out, value, value_len);
}

static hp_status view(void *self, const uint8_t *value, size_t value_len, int64_t *result, hp_out *out) {
    (void)self;
    *result = (int64_t)value_len;
    return value == NULL ? hp_fail(out, HP_INVALID, "a NULL buffer") : HP_OK;
}

static hp_status flip(void *self, uint8_t *value, size_t value_len, hp_out *out) {
    (void)self;
    for (size_t i = 0; i < value_len; i++) {
        value[i] = (uint8_t)~value[i];
    }
    return value == NULL ? hp_fail(out, HP_INVALID, "a NULL buffer") : HP_OK;
}

static hp_status fill(void *self, uint8_t *value, size_t value_len, int64_t byte, int64_t *result, hp_out *out) {
    (void)self;
    if (value == NULL || byte < 0 || byte > 255) {
        return hp_fail(out, HP_INVALID, "%lld is not a byte", (long long)byte);
    }
    memset(value, (int)byte, value_len);
    *result = (int64_t)value_len;
    return HP_OK;
}

static hp_status add(void *self, int64_t left, int64_t right, int64_t *result, hp_out *out) {
    (void)self;
    (void)out;
    *result = (int64_t)((uint64_t)left + (uint64_t)right);
    return HP_OK;
}

static hp_status half(void *self, double value, double *result, hp_out *out) {
    (void)self;
    (void)out;
    *result = value / 2;
    return HP_OK;
}

static hp_status negate(void *self, bool value, bool *result, hp_out *out) {
    (void)self;
    (void)out;
    *result = !value;
    return HP_OK;
}

static hp_status mixed(void *self, int64_t a, double b, const char *c, size_t c_len, bool d, const uint8_t *e,
                       size_t e_len, uint8_t *f, size_t f_len, double g, int64_t h, hp_out *out) {
    (void)self;
    memset(f, 0, f_len);
    return hp_printf(out, "%lld %g %.*s %d %.*s %zu %g %lld", (long long)a, b, (int)c_len, c, d, (int)e_len,
                     (const char *)e, f_len, g, (long long)h);
}

static hp_status unnamed(void *self, int64_t left, int64_t right, int64_t *result, hp_out *out) {
    (void)self;
    (void)out;
    *result = left - right;
    return HP_OK;
}

static hp_status repeat(void *self, const char *piece, size_t piece_len, int64_t times, hp_out *out) {
    (void)self;
    for (int64_t i = 0; i < times; i++) {
        const hp_status status = hp_write(out, piece, piece_len);
        if (status != HP_OK) {
            return status;
        }
    }
    return HP_OK;
}

static hp_status fail(void *self, int64_t status, const char *reason, size_t reason_len, hp_out *out) {
    (void)self;
    const hp_status written = hp_write(out, reason, reason_len);
    return written == HP_OK ? (hp_status)status : written;
}

static hp_status break_rule(void *self, const char *rule, size_t rule_len, hp_out *out) {
    (void)self;
#define IS(text) (rule_len == sizeof(text) - 1 && memcmp(rule, text, sizeof(text) - 1) == 0)
    if (IS("utf-8")) {
        return hp_puts(out, "caf\xe9");
    }
    if (IS("length")) {
        out->len = out->cap + 1;
        return HP_OK;
    }
    if (IS("status-negative")) {
        return -1;
    }
    if (IS("status-large")) {
        return 65536;
    }
    if (IS("pointer")) { /* harmless, since the host has its own copies */
        const hp_status status = hp_puts(out, "fine");
        out->data = NULL;
        out->cap = 0;
        return status;
    }
    if (IS("grow-ignored")) { /* success after a refused grow */
        (void)!out->grow(out, SIZE_MAX / 2);
        return hp_puts(out, "all is well");
    }
    if (IS("huge-length")) { /* the host may copy what it has, and not what `len` says */
        hp_status status = hp_puts(out, "fine");
        for (int turn = 1; turn <= 3 && status == HP_OK; turn++) {
            out->len = SIZE_MAX / 2;
            status = out->grow(out, (size_t)3000 << 4 * turn);
        }
        out->len = 4;
        return status;
    }
    if (IS("no-memory")) {
        return hp_reserve(out, SIZE_MAX / 2);
    }
    return hp_fail(out, HP_UNSUPPORTED, "no such rule: %.*s", (int)rule_len, rule);
}

static hp_status config(void *self, hp_out *out) {
    const probe *p = self;
    return p == NULL || p->config == NULL ? hp_puts(out, "absent") : hp_write(out, p->config, p->config_len);
}

static hp_status count(void *self, int64_t *result, hp_out *out) {
    (void)self;
    (void)out;
    *result = instances;
    return HP_OK;
}

static hp_status log_here(void *self, int64_t level, const char *message, size_t message_len, hp_out *out) {
    (void)out;
    hp_log(((probe *)self)->host, (int)level, "%.*s", (int)message_len, message);
    return HP_OK;
}

typedef struct {
    const hp_host *host;
    int level;
    char message[200];
} record;

static void *log_there(void *argument) {
    const record *r = argument;
    hp_log(r->host, r->level, "%s", r->message);
    return NULL;
}

static hp_status log_from_thread(void *self, int64_t level, const char *message, size_t message_len, hp_out *out) {
    record r = {.host = ((probe *)self)->host, .level = (int)level};
    snprintf(r.message, sizeof r.message, "%.*s", (int)message_len, message);
    pthread_t thread;
    if (pthread_create(&thread, NULL, log_there, &r) != 0) {
        return hp_fail(out, HP_FAILED, "no thread");
    }
    pthread_join(thread, NULL);
    return HP_OK;
}

static hp_status overlap(void *self, int64_t milliseconds, int64_t *result, hp_out *out) {
    (void)out;
    probe *p = self;
    *result = ++p->inside;
    const struct timespec pause = {.tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000};
    nanosleep(&pause, NULL);
    if (p->inside > *result) {
        *result = p->inside;
    }
    p->inside--;
    return HP_OK;
}

static hp_status shout(void *self, const char *value, size_t value_len, hp_out *out) {
    (void)self;
    const hp_status status = hp_write(out, value, value_len);
    return status == HP_OK ? hp_puts(out, "!!!") : status;
}

#ifdef SERIAL
#define FLAGS .flags = HP_SERIAL,
#else
#define FLAGS
#endif
#ifdef STATELESS
#define LIFE
#else
#define LIFE .create = create, .destroy = destroy,
#endif
#ifdef WITHOUT_NEW
#define NEW
#else
#define NEW , .shout = shout, .whisper = text
#endif

PROBE_PLUGIN("probe", "1.2.0", FLAGS LIFE .text = text, .raw = raw, .view = view, .flip = flip, .fill = fill,
             .add = add, .half = half, .negate = negate, .mixed = mixed, .unnamed = unnamed, .repeat = repeat,
             .fail = fail, .break_rule = break_rule, .config = config, .instances = count, .log = log_here,
             .log_from_thread = log_from_thread, .overlap = overlap NEW);
