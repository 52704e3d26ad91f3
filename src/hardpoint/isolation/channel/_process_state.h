/* State of the process that opening a library may change: saved before, compared after, and restored. */
#ifndef HARDPOINT_PROCESS_STATE_H
#define HARDPOINT_PROCESS_STATE_H

#include <limits.h>
#include <locale.h>
#include <signal.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/types.h>

#pragma GCC visibility push(hidden)

enum { STATE_SIGNALS = 64, STATE_LIMITS = 4, STATE_TIMERS = 3 };

/* The kernel's own struct sigaction, which is the same on both machines and a fifth of glibc's. */
typedef struct {
    uint64_t handler, flags, restorer, mask;
} Handler;

/* Floating point and the signal mask are this thread's. */
typedef struct {
    uint64_t floating;
    Handler handlers[STATE_SIGNALS];
    sigset_t blocked;
    char *locale, *environment; /* the latter as texts behind each other, the last one empty */
    locale_t thread_locale;
    mode_t umask;
    struct itimerval timers[STATE_TIMERS];
    struct rlimit limits[STATE_LIMITS];
    char folder[PATH_MAX]; /* "" where there is none */
} State;

void state_take(State *state);

/* Puts back what differs; returns its CHANGED_* bits. Frees what `state` holds. */
uint32_t state_restore(State *state);

#pragma GCC visibility pop

#endif
