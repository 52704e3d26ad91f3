/* A greeter that speaks English. */
#include "greeter.h"

static hp_status greet(void *self, const char *name, size_t name_len, hp_out *out) {
    (void)self;
    hp_status status = hp_puts(out, "Hello, ");
    if (status == HP_OK) {
        status = hp_write(out, name, name_len);
    }
    return status == HP_OK ? hp_puts(out, "! Nice to meet you.") : status;
}

static hp_status lang(void *self, hp_out *out) {
    (void)self;
    return hp_puts(out, "English");
}

GREETER_PLUGIN("english", "1.0.0", .greet = greet, .lang = lang);
