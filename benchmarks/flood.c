/* A plugin for flood.py: writes lines or log records as fast as it can, or computes for as long as that. */
#define _GNU_SOURCE
#include "noisy.h"

#include <time.h>
#include <unistd.h>

static const hp_host *host;

static hp_status create(const hp_host *given, const char *config, size_t config_len, void **self, hp_out *out) {
    (void)config, (void)config_len, (void)self, (void)out;
    host = given;
    return HP_OK;
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static hp_status lines(void *self, double length, int64_t *result, hp_out *out) {
    static const char line[] = "a line that nobody asked for, and another one, and then one more after that\n";
    const double end = seconds() + length;
    (void)self, (void)out;
    while (seconds() < end) {
        *result += write(1, line, sizeof line - 1) > 0;
    }
    return HP_OK;
}

static hp_status records(void *self, double length, int64_t *result, hp_out *out) {
    const double end = seconds() + length;
    (void)self, (void)out;
    while (seconds() < end) {
        hp_log(host, HP_LOG_WARNING, "record %lld that nobody asked for", (long long)++*result);
    }
    return HP_OK;
}

static hp_status compute(void *self, double length, int64_t *result, hp_out *out) {
    const double end = seconds() + length;
    (void)self, (void)out;
    while (seconds() < end) {
        ++*result;
    }
    return HP_OK;
}

NOISY_PLUGIN("flood", "1.0.0", .create = create, .lines = lines, .records = records, .compute = compute);
