/* A scorer that requires answers of a minimum length. Its config has that length, in bytes: {"wanted": 10}. */
#include <stdlib.h>

#include "hardpoint_json.h"
#include "scorer.h"

typedef struct {
    size_t wanted;
} exam;

static hp_status create(const hp_host *host, const char *config, size_t config_len, void **self, hp_out *out) {
    hp_json json = hp_json_parse(config, config_len, out);
    const int64_t wanted = hp_json_int(&json, "wanted", 10);
    if (json.status != HP_OK) {
        return json.status;
    }
    exam *made = malloc(sizeof *made);
    if (made == NULL) {
        return HP_NO_MEMORY;
    }
    made->wanted = wanted > 0 ? (size_t)wanted : 0;
    hp_log(host, HP_LOG_INFO, "answers need %zu bytes", made->wanted);
    *self = made;
    return HP_OK;
}

static void destroy(void *self) { free(self); }

static hp_status score(void *self, const uint8_t *answer, size_t answer_len, int64_t points, double weight,
                       bool strict, double *result, hp_out *out) {
    const exam *e = self;
    (void)answer; /* only its length counts */
    if (points < 0) {
        return hp_fail(out, HP_INVALID, "%lld points cannot be earned", (long long)points);
    }
    const bool enough = answer_len >= e->wanted;
    *result = enough ? (double)points * weight : strict ? 0.0 : (double)points * weight / 2;
    return HP_OK;
}

static hp_status censor(void *self, uint8_t *text, size_t text_len, int64_t *result, hp_out *out) {
    (void)self;
    (void)out;
    *result = 0;
    for (size_t i = 0; i < text_len; i++) {
        if (text[i] >= '0' && text[i] <= '9') {
            text[i] = 'x';
            ++*result;
        }
    }
    return HP_OK;
}

SCORER_PLUGIN("exam", "1.0.0", .create = create, .destroy = destroy, .score = score, .censor = censor);
