/* The plugin's vtable: checked, and its methods made callable. */
#ifndef HARDPOINT_VTABLE_H
#define HARDPOINT_VTABLE_H

#include <stdint.h>

#include "_recipe.h"

#pragma GCC visibility push(hidden)

enum { VTABLE_SLOTS = 3 }; /* words before the first slot: head, manifest, flags */

/* Compares the vtable of a library loaded at `base` with the recipe's; returns 0, or a BROKEN_* with *slot. */
int32_t vtable_check(const Recipe *recipe, uintptr_t base, const uintptr_t *vtable, uint64_t *slot);

/* Fills in the methods of `instance`, which live as long as the process. */
void vtable_bind(const Recipe *recipe, const uintptr_t *vtable);

#pragma GCC visibility pop

#endif
