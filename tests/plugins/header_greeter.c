/* A greeter that compiles as C and as C++. Variants: -DASSIGNED (the form for C++17), -DWITHOUT_LANG (a required slot
 * is missing), -DRELEASE=... (the release in the manifest). */
#include "greeter.h"

#ifndef RELEASE
#define RELEASE "1.0.0"
#endif

static hp_status greet(void *self, const char *name, size_t name_len, hp_out *out) {
    (void)self;
    const hp_status status = hp_puts(out, "Hello, ");
    return status == HP_OK ? hp_write(out, name, name_len) : status;
}

#ifndef WITHOUT_LANG
static hp_status lang(void *self, hp_out *out) {
    (void)self;
    return hp_printf(out, "dialect %d", 1);
}
#endif

#if defined ASSIGNED
GREETER_PLUGIN("dialect", RELEASE, p.greet = greet, p.lang = lang);
#elif defined WITHOUT_LANG
GREETER_PLUGIN("dialect", RELEASE, .greet = greet);
#else
GREETER_PLUGIN("dialect", RELEASE, .greet = greet, .lang = lang);
#endif
