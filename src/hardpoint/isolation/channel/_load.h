/* The plugin: opened, compared with what the host found in its file, and its instance created. */
#ifndef HARDPOINT_LOAD_H
#define HARDPOINT_LOAD_H

#include <stdbool.h>

#include "_recipe.h"
#include "_served.h"

#pragma GCC visibility push(hidden)

/* Opens LIBRARY_FD's library, fills in `instance`, and writes the channel's reply. True if there is an instance to
 * call. `dropped` is the plugin's counter of log records that were dropped, for as long as the process lives. */
bool plugin_load(Channel *channel, const Recipe *recipe, uint64_t *dropped);

/* Writes the reply to CHANNEL_LOAD; `text` may be NULL. */
void load_failed(Channel *channel, uint32_t stage, int32_t status, const char *text);

#pragma GCC visibility pop

#endif
