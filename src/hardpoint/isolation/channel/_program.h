/* Declarations shared by the program's files: the zygote, which forks workers, and the worker, which runs one plugin.
 *
 * Both begin with a single thread; a worker then has one for each channel. An error of the program itself ends it, with
 * a line on stderr.
 */
#ifndef HARDPOINT_PROGRAM_H
#define HARDPOINT_PROGRAM_H

#include <stdbool.h>
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

/* Makes the kernel kill this process when its parent ends; ends it now if the parent has ended already. */
void die_with(pid_t parent);

/* ---- _message.c -------------------------------------------------------------------------------------------------- */

/* Receives a message of `size` bytes with at most `most` descriptors (up to 5), and sets *count to their number. False
 * at the end of the connection or for another size, and then no descriptor is left open. */
bool message_receive(int fd, void *message, size_t size, int *fds, unsigned most, unsigned *count);

/* Sends a message, with a descriptor unless `fd` is -1; false if the other side is gone. */
bool message_send(int socket, const void *message, size_t size, int fd);

/* ---- _title.c --------------------------------------------------------------------------------------------------- */

/* Keeps the memory of argv and environment for titles; the environment moves elsewhere. */
void title_keep(char **argv);

/* Sets the title in ps(1), and the process's name to the last 15 bytes of the title behind "hardpoint: ". */
void title_set(const char *title);

/* ---- _worker.c --------------------------------------------------------------------------------------------------- */

/* Serves the host on CONTROL_FD. */
_Noreturn void worker_main(void);

/* Ends the process, after "hardpoint: " and these words on stderr. */
_Noreturn void fail(const char *why);

/* Ends the process with EXIT_NO_MEMORY, after "hardpoint: out of memory" on stderr. */
_Noreturn void out_of_memory(void);

/* ---- _sandbox.c -------------------------------------------------------------------------------------------------- */

/* Sets the limits; returns 0, or the errno of the first that failed. */
int limits_apply(const Recipe *recipe);

/* Gives up the rights that the recipe names, and fills in `applied`. False if a step failed and all are required. */
bool sandbox_apply(const Recipe *recipe, Applied *applied);

/* ---- _crash.c ---------------------------------------------------------------------------------------------------- */

/* Writes to stderr; async-signal-safe. */
void say(const char *text);

/* Reports fatal signals on stderr, also in processes that are forked from this one. */
void crash_install(void);

/* Has frames of the library that is opened by that name said with its path; NULL once it is open. Kept, not copied. */
void crash_name(const char *name, const char *path);

/* Gives the calling thread a stack for the handler, for a stack overflow; NULL without memory for it. */
void *crash_guard(void);
void crash_unguard(void *stack);

#pragma GCC visibility pop

#endif
