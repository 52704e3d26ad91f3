/* Looks at what a host passes, and reports what breaks a promise of docs/abi.md. */
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "promises.h"

static const hp_host *the_host;
static char found[4096];
static uint64_t count[2];

#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition) && sizeof found - strlen(found) > sizeof #condition + 1) {                                    \
            strcat(strcat(found, #condition), "\n");                                                                   \
        }                                                                                                              \
    } while (0)

static void look_at_out(const hp_out *out) {
    EXPECT(out->data != NULL);
    EXPECT(out->len == 0);
    EXPECT(out->cap >= 512);
    EXPECT(out->grow != NULL);
}

static void look_at_grow(hp_out *out) {
    const hp_out before = *out;
    EXPECT(out->grow(out, 0) == HP_OK);
    EXPECT(out->grow(out, out->cap) == HP_OK);
    EXPECT(out->data == before.data && out->cap == before.cap && out->len == 0);
    memset(out->data, 'x', out->cap);
    out->len = out->cap;
    EXPECT(out->grow(out, out->cap + 100000) == HP_OK);
    EXPECT(out->cap >= before.cap + 100000 && out->len == before.cap);
    EXPECT(out->data[0] == 'x' && out->data[out->len - 1] == 'x');
    out->data[out->cap - 1] = 'y';
    out->len = 0;
}

static hp_status create(const hp_host *host, const char *config, size_t config_len, void **self, hp_out *out) {
    the_host = host;
    EXPECT(host != NULL && host->size >= 48);
    EXPECT(host->abi_major == 1);
    EXPECT(host->name != NULL && host->name[0] != 0 && host->version != NULL && host->version[0] != 0);
    EXPECT(host->log_dropped != NULL);
    EXPECT(host->log_fd < 0 || send(host->log_fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1);
    EXPECT(host->reserved == 0);
    EXPECT(self != NULL && *self == NULL);
    EXPECT(config_len == 0 || config != NULL);
    look_at_out(out);
    look_at_grow(out);
    *self = malloc(1);
    if (config_len == 1 && *config == '-') {
        return -1;
    }
    if (config_len == 1 && *config == '>') {
        out->len = out->cap + 1;
        return HP_FAILED;
    }
    if (config_len > 0) {
        return hp_fail(out, HP_INVALID, "refused, with something in *self");
    }
    return HP_OK;
}

static void destroy(void *self) {
    count[1]++;
    free(self);
}

static hp_status look(void *self, const char *text, size_t text_len, const uint8_t *data, size_t data_len, uint8_t *change,
                      size_t change_len, bool flag, int64_t *result, hp_out *out) {
    (void)self;
    EXPECT(text != NULL && data != NULL && change != NULL);
    EXPECT(text_len <= PTRDIFF_MAX && data_len <= PTRDIFF_MAX && change_len <= PTRDIFF_MAX);
    EXPECT(*(const unsigned char *)&flag <= 1);
    EXPECT(*result == 0);
    EXPECT(the_host->abi_major == 1);
    look_at_out(out);
    look_at_grow(out);
    *result = 1;
    return HP_OK;
}

static hp_status half(void *self, double *result, hp_out *out) {
    (void)self;
    EXPECT(*result == 0);
    look_at_out(out);
    *result = 0.5;
    return HP_OK;
}

static hp_status two(void *self, bool *result, hp_out *out) {
    (void)self;
    EXPECT(*(unsigned char *)result == 0);
    look_at_out(out);
    memset(result, 2, 1);
    return HP_OK;
}

/* The most that there is: refused, with everything as before. */
static hp_status most(void *self, hp_out *out) {
    (void)self;
    const hp_out before = *out;
    EXPECT(out->grow(out, SIZE_MAX) == HP_NO_MEMORY);
    EXPECT(out->data == before.data && out->cap == before.cap && out->len == before.len && out->grow == before.grow);
    return HP_NO_MEMORY;
}

static hp_status rubbish(void *self, hp_out *out) {
    (void)out;
    const struct {
        hp_log_record head;
        char text[4];
    } record = {{the_host->log_source, HP_LOG_WARNING, 0}, "caf\xe9"};
    send(the_host->log_fd, "", 0, MSG_DONTWAIT | MSG_NOSIGNAL);
    send(the_host->log_fd, "short", 5, MSG_DONTWAIT | MSG_NOSIGNAL);
    send(the_host->log_fd, &record, 15, MSG_DONTWAIT | MSG_NOSIGNAL);
    send(the_host->log_fd, &record, sizeof record.head + sizeof record.text, MSG_DONTWAIT | MSG_NOSIGNAL);
    hp_log(the_host, HP_LOG_WARNING, "the end");
    (void)self;
    return HP_OK;
}

/* Not atomic: with HP_SERIAL, each call sees what the one before wrote. */
static hp_status add(void *self, int64_t times, int64_t *result, hp_out *out) {
    (void)self;
    (void)out;
    for (int64_t i = 0; i < times; i++) {
        count[0] += 1;
    }
    *result = (int64_t)count[0];
    return HP_OK;
}

static hp_status destroyed(void *self, int64_t *result, hp_out *out) {
    (void)self;
    (void)out;
    *result = (int64_t)count[1];
    return HP_OK;
}

static hp_status beyond(void *self, int64_t status, hp_out *out) {
    (void)self;
    out->len = out->cap + 1;
    return (hp_status)status;
}

static hp_status report(void *self, hp_out *out) {
    (void)self;
    return hp_puts(out, found);
}

PROMISES_PLUGIN("promises", "1.0.0", .flags = HP_SERIAL, .create = create, .destroy = destroy, .look = look, .half = half,
                .two = two, .most = most, .rubbish = rubbish, .add = add, .destroyed = destroyed, .beyond = beyond, .report = report);
