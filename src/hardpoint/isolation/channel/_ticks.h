/* Time for the spin policy: the processor's counter, whose reading takes a third of clock_gettime's 20 ns. */
#ifndef HARDPOINT_TICKS_H
#define HARDPOINT_TICKS_H

#include <stdint.h>
#include <time.h>

static inline int64_t clock_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline uint64_t ticks_now(void) {
#if defined __x86_64__
    return __builtin_ia32_rdtsc();
#elif defined __aarch64__
    uint64_t ticks;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
    return ticks;
#else
#error "hardpoint runs on x86-64 and AArch64"
#endif
}

/* Ticks in 8 us, at least 1. Measured once over 20 us on x86-64, where no register has it; a wrong value only makes
 * waits longer or shorter. */
static inline uint64_t ticks_measure(void) {
#if defined __aarch64__
    uint64_t hertz;
    __asm__ volatile("mrs %0, cntfrq_el0" : "=r"(hertz));
    const uint64_t found = hertz / 125000;
#else
    const int64_t start = clock_now();
    const uint64_t first = ticks_now();
    int64_t now = start;
    while (now - start < 20000) {
        now = clock_now();
    }
    const uint64_t found = (ticks_now() - first) * 8000 / (uint64_t)(now - start);
#endif
    return found > 0 ? found : 1;
}

/* A span in units of 1/8 us, at most 65535. */
static inline uint16_t ticks_short(uint64_t span, uint64_t ticks_in_8us) {
    const uint64_t eighths = span * 64 / ticks_in_8us;
    return eighths < UINT16_MAX ? (uint16_t)eighths : UINT16_MAX;
}

#endif
