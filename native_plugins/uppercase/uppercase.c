/* A transformer that converts ASCII letters to upper case. */
#include "transformer.h"

static hp_status transform(void *self, const char *text, size_t text_len, hp_out *out) {
    (void)self;
    const hp_status status = hp_reserve(out, text_len);
    if (status != HP_OK) {
        return status;
    }
    for (size_t i = 0; i < text_len; i++) {
        const char c = text[i];
        out->data[i] = c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
    }
    out->len = text_len;
    return HP_OK;
}

TRANSFORMER_PLUGIN("uppercase", "1.0.0", .transform = transform);
