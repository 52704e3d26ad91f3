/* The wait for the other side of a channel, and the wake-up: one word for each direction, as _channel.h explains.
 *
 * A core that sleeps takes some 40 us to wake up, so whoever waits looks for a while before it sleeps, as long as that
 * has paid: on one core, beside busy processes or between rare calls it does not.
 */
#ifndef HARDPOINT_WAIT_H
#define HARDPOINT_WAIT_H

#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "_channel.h"
#include "_ticks.h"

enum {
    WAIT_PAUSES = 24,    /* before anything else: a caller in a loop has the next request ready by then */
    WAIT_LOOK = 5 * 8,   /* 1/8 us of looking, beside twice the time that is expected */
    WAIT_WAKING = 60 * 8, /* more, if the other side slept: what a core takes to wake up */
    WAIT_SLOW = 25 * 8,  /* expected, above which no look pays */
    WAIT_GAP = 50 * 8,   /* between two looks at the clock: another process had this core */
    WAIT_SAMPLE = 100 * 8, /* the longest that counts: a pause is not to be remembered for thirty calls */
    WAIT_FEWEST = 8, WAIT_MOST = 1024, /* sleeps without a look after one in vain, doubled each time */
    WAIT_TRIES = 1000 /* to write a word, where the other side may write to it all the time */
};

typedef struct {
    uint64_t ticks_in_8us;
    uint32_t expect; /* moving average of the time that the other side takes, in 1/8 us */
    uint32_t rest, backoff;
    uint16_t cpu; /* that the other side ran on */
    bool alone;   /* there is one processor to run on */
    bool woke;    /* the other side slept when it was last written to */
} Waiter;

static inline void waiter_open(Waiter *waiter, uint64_t ticks_in_8us) {
    cpu_set_t set;
    waiter->ticks_in_8us = ticks_in_8us;
    waiter->expect = 2 * WAIT_SLOW; /* nothing is known yet */
    waiter->rest = 0;
    waiter->backoff = WAIT_FEWEST;
    waiter->cpu = UINT16_MAX;
    waiter->alone = sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) == 1;
    waiter->woke = false;
}

/* Takes in what the other side said of itself. */
static inline void waiter_learn(Waiter *waiter, uint16_t cpu, uint16_t took) {
    const uint32_t sample = took < WAIT_SAMPLE ? took : WAIT_SAMPLE;
    waiter->cpu = cpu;
    waiter->expect = (7 * waiter->expect + sample) / 8;
}

/* True once a word is another than the one before. */
static inline bool word_left(const uint32_t *word, uint32_t before) {
    return (__atomic_load_n(word, __ATOMIC_ACQUIRE) & ~(uint32_t)CHANNEL_WAITING) != before;
}

static inline uint32_t wait_took(const Waiter *waiter, uint64_t span) {
    return ticks_short(span, waiter->ticks_in_8us);
}

/* Looks for another word; true if it came. */
static inline bool wait_look(Waiter *waiter, const uint32_t *word, uint32_t before) {
    const uint32_t limit = 2 * waiter->expect + WAIT_LOOK + (waiter->woke ? WAIT_WAKING : 0);
    const uint64_t start = ticks_now();
    uint64_t now = start;
    for (;;) {
        for (int pause = 0; pause < 8; pause++) {
            if (word_left(word, before)) {
                waiter->backoff = WAIT_FEWEST;
                return true;
            }
            channel_pause();
        }
        const uint64_t last = now;
        now = ticks_now();
        if (wait_took(waiter, now - start) > limit || wait_took(waiter, now - last) > WAIT_GAP) {
            waiter->rest = waiter->backoff;
            waiter->backoff = waiter->backoff < WAIT_MOST ? 2 * waiter->backoff : WAIT_MOST;
            return false;
        }
    }
}

/* Everything short of sleeping; true if another word came. */
static inline bool wait_awake(Waiter *waiter, const uint32_t *word, uint32_t before) {
    if (waiter->alone || sched_getcpu() == waiter->cpu) {
        return word_left(word, before); /* the other side needs this core to get on */
    }
    for (int pause = 0; pause < WAIT_PAUSES; pause++) {
        if (word_left(word, before)) {
            return true;
        }
        channel_pause();
    }
    if (waiter->expect > WAIT_SLOW) {
        return false;
    }
    if (waiter->rest > 0) {
        waiter->rest--;
        return false;
    }
    return wait_look(waiter, word, before);
}

/* Sleeps until the word is another than the one before. */
static inline void wait_asleep(uint32_t *word, uint32_t before) {
    uint32_t seen = __atomic_load_n(word, __ATOMIC_ACQUIRE);
    while ((seen & ~(uint32_t)CHANNEL_WAITING) == before) {
        if ((seen & CHANNEL_WAITING) != 0 ||
            __atomic_compare_exchange_n(word, &seen, seen | CHANNEL_WAITING, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE)) {
            syscall(SYS_futex, word, FUTEX_WAIT, seen | CHANNEL_WAITING, NULL, NULL, 0);
            seen = __atomic_load_n(word, __ATOMIC_ACQUIRE);
        }
    }
}

/* Puts a value in the place of a word that the other side writes to as well; false if that cannot be done. On AArch64
 * without LSE an exchange is a loop, in which a side that writes to the word all the time could keep the other for
 * ever. */
static inline bool word_exchange(uint32_t *word, uint32_t value, uint32_t *before) {
#if defined __aarch64__
    *before = __atomic_load_n(word, __ATOMIC_RELAXED);
    for (int tries = 0; tries < WAIT_TRIES; tries++) {
        if (__atomic_compare_exchange_n(word, before, value, true, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
            return true;
        }
    }
    return false;
#else
    *before = __atomic_exchange_n(word, value, __ATOMIC_ACQ_REL);
    return true;
#endif
}

static inline void word_wake(uint32_t *word) {
    syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* Writes a word behind all that was written before, and wakes the other side if it sleeps; false if it cannot be
 * written. */
static inline bool wait_publish(Waiter *waiter, uint32_t *word, uint32_t value) {
    uint32_t before;
    if (!word_exchange(word, value, &before)) {
        return false;
    }
    waiter->woke = (before & CHANNEL_WAITING) != 0;
    if (waiter->woke) {
        word_wake(word);
    }
    return true;
}

#endif
