/* A transformer that reverses the characters (code points) of a text. */
#include "transformer.h"

static size_t character_size(unsigned char first) {
    return first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
}

static hp_status transform(void *self, const char *text, size_t text_len, hp_out *out) {
    (void)self;
    const hp_status status = hp_reserve(out, text_len);
    if (status != HP_OK) {
        return status;
    }
    size_t done = 0;
    while (done < text_len) {
        size_t size = character_size((unsigned char)text[done]);
        if (size > text_len - done) { /* a host sends valid UTF-8; other callers may not */
            size = text_len - done;
        }
        memcpy(out->data + text_len - done - size, text + done, size);
        done += size;
    }
    out->len = text_len;
    return HP_OK;
}

TRANSFORMER_PLUGIN("reverse", "1.0.0", .transform = transform);
