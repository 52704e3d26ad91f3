/* lowgerman: a plugin for greeter 1.0. It replaces the source that `hardpoint new` writes. */
#include "greeter.h"

static hp_status greet(void *self, const char *name, size_t name_len, hp_out *out) {
    (void)self;
    return hp_printf(out, "Moin, %.*s!", (int)name_len, name);
}

static hp_status lang(void *self, hp_out *out) {
    (void)self;
    return hp_puts(out, "Plattdüütsch");
}

GREETER_PLUGIN("lowgerman", "0.1.0", .greet = greet, .lang = lang);
