/* A library with plugins for two contracts. Variant: -DASSIGNED (the form for C++17). */
#include "greeter.h"
#include "transformer.h"

static hp_status greet(void *self, const char *name, size_t name_len, hp_out *out) {
    (void)self;
    return hp_write(out, name, name_len);
}

static hp_status lang(void *self, hp_out *out) {
    (void)self;
    return hp_puts(out, "both");
}

static hp_status transform(void *self, const char *text, size_t text_len, hp_out *out) {
    (void)self;
    return hp_printf(out, "<%.*s>", (int)text_len, text);
}

#ifdef ASSIGNED
GREETER_PLUGIN("both", "1.0.0", p.greet = greet, p.lang = lang);
TRANSFORMER_PLUGIN("both-too", "2.0.0", p.transform = transform);
#else
GREETER_PLUGIN("both", "1.0.0", .greet = greet, .lang = lang);
TRANSFORMER_PLUGIN("both-too", "2.0.0", .transform = transform);
#endif
