/* A plugin for isolation.py: returns its input, or computes for a while. */
#include "payload.h"

static hp_status echo(void *self, const uint8_t *data, size_t data_len, hp_out *out) {
    (void)self;
    return hp_write(out, (const char *)data, data_len);
}

static hp_status work(void *self, int64_t rounds, int64_t *result, hp_out *out) {
    (void)self;
    (void)out;
    uint64_t state = 1;
    for (int64_t done = 0; done < rounds; done++) state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    *result = (int64_t)(state >> 1);
    return HP_OK;
}

PAYLOAD_PLUGIN("payload", "1.0.0", .echo = echo, .work = work);
