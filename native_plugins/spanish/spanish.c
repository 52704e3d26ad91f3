/* A greeter that speaks Spanish. */
#include "greeter.h"

static hp_status greet(void *self, const char *name, size_t name_len, hp_out *out) {
    (void)self;
    hp_status status = hp_puts(out, "¡Hola, ");
    if (status == HP_OK) {
        status = hp_write(out, name, name_len);
    }
    return status == HP_OK ? hp_puts(out, "! Mucho gusto.") : status;
}

static hp_status lang(void *self, hp_out *out) {
    (void)self;
    return hp_puts(out, "Español");
}

GREETER_PLUGIN("spanish", "1.0.0", .greet = greet, .lang = lang);
