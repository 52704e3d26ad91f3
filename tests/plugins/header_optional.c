/* A plugin that leaves out all optional slots: flags, create, destroy, query and the method that is @since 1.1.
 * Variant: -DASSIGNED (the form for C++17). */
#include "growing.h"

static hp_status word(void *self, hp_out *out) { return self == NULL ? hp_puts(out, "old") : HP_FAILED; }

#ifdef ASSIGNED
GROWING_PLUGIN("optional", "1.0.0", p.word = word);
#else
GROWING_PLUGIN("optional", "1.0.0", .word = word);
#endif
