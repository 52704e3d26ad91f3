/* A library with plugins for two majors of one contract. Variant: -DNEW_FIRST (reverse order of the headers). */
#ifdef NEW_FIRST
#include "greeter_v2.h"
#endif
#include "greeter.h"
#ifndef NEW_FIRST
#include "greeter_v2.h"
#endif

static hp_status greet(void *self, const char *name, size_t name_len, hp_out *out) {
    (void)self;
    return hp_write(out, name, name_len);
}

static hp_status lang(void *self, hp_out *out) {
    (void)self;
    return hp_puts(out, "old");
}

static hp_status welcome(void *self, const char *name, size_t name_len, int64_t times, hp_out *out) {
    (void)self;
    return hp_printf(out, "%.*s, %d times", (int)name_len, name, (int)times);
}

GREETER_V1_PLUGIN("old", "1.0.0", .greet = greet, .lang = lang);
GREETER_PLUGIN("new", "2.0.0", .welcome = welcome);
