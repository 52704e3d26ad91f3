/* What the files of the program share: the zygote, which forks workers, and the worker, which runs one plugin.
 *
 * Both are one single-threaded process at first; a worker then has a thread for each channel. Errors of the program's
 * own end it, with a line on stderr: there is nobody else to tell.
 */
#ifndef HARDPOINT_PROGRAM_H
#define HARDPOINT_PROGRAM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "_channel.h"
#include "_recipe.h"

#pragma GCC visibility push(hidden)

/* Numbers of descriptors. The library's is closed once it is loaded. */
enum { CONTROL_FD = 3, LIBRARY_FD = 4, RECORDS_FD = 5 };

/* ---- _zygote.c --------------------------------------------------------------------------------------------------- */

/* Closes all descriptors from `first` on. */
void close_from(unsigned first);

/* Has this process killed when its parent ends; ends it if that has happened already. */
void die_with(pid_t parent);

/* Receives a message with at most `most` descriptors, whose number is put into *count. 0 at the end of the connection
 * or for another size, and then no descriptor is left open. */
int message_receive(int fd, void *message, size_t size, int *fds, unsigned most, unsigned *count);

/* ---- _title.c --------------------------------------------------------------------------------------------------- */

/* Keeps the memory of argv and environment for titles; the environment moves elsewhere. */
void title_keep(char **argv);

/* Sets what ps(1) shows, and the name of the process: the end of the title behind "hardpoint: ". */
void title_set(const char *title);

/* ---- _worker.c --------------------------------------------------------------------------------------------------- */

/* Serves the host on CONTROL_FD. */
_Noreturn void worker_main(void);

/* Ends the process, after "hardpoint: " and these words on stderr. */
_Noreturn void fail(const char *why);

/* Ends the process: there is no memory for its own work. */
_Noreturn void out_of_memory(void);

/* ---- _sandbox.c -------------------------------------------------------------------------------------------------- */

/* Sets the limits; the errno of the one that failed, or 0. */
int limits_apply(const Recipe *recipe);

/* Gives up what the recipe says, and fills in `applied`. False if something is lacking and all is required. */
int sandbox_apply(const Recipe *recipe, Applied *applied);

/* ---- _crash.c ---------------------------------------------------------------------------------------------------- */

/* Writes to stderr; async-signal-safe. */
void say(const char *text);

/* Has fatal signals told on stderr, also in processes that are forked from this one. */
void crash_install(void);

/* Gives the calling thread a stack for the handler, for the day that its own is full; NULL if it has to do without. */
void *crash_guard(void);
void crash_unguard(void *stack);

#pragma GCC visibility pop

#endif
