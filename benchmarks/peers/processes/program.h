/* Two processes, host and worker, one of which calls the other: the part that ring.c, futex.c and socket.c share.
 *
 *     PROGRAM CPU CPU      pinned to these cores; -1 leaves the choice to the kernel
 *
 * A line "COUNT SIZE REST" on stdin asks for so many calls: of greet("World") if SIZE is 0, else of an echo of SIZE bytes,
 * each after REST microseconds of sleep. The answer is the time of the calls alone in nanoseconds.
 */
#ifndef PEERS_PROGRAM_H
#define PEERS_PROGRAM_H

#define _GNU_SOURCE

#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 1 << 20 };   /* bytes of an echo */
enum { GREET = 0, ECHO = 1 }; /* methods */

/* Each program has these: before the fork; the worker's loop; a call, whose result is copied to `to`. */
static bool prepare(void);
static void serve(void);
static size_t call(uint32_t method, const void *data, size_t size, char *to);

/* The methods: the result's size. */
static inline size_t answer(uint32_t method, const char *data, size_t size, char *to) {
    static const char before[] = "Hello, ", after[] = "! Nice to meet you.";
    if (method == ECHO) {
        memcpy(to, data, size);
        return size;
    }
    memcpy(to, before, sizeof before - 1);
    memcpy(to + sizeof before - 1, data, size);
    memcpy(to + sizeof before - 1 + size, after, sizeof after - 1);
    return sizeof before + sizeof after - 2 + size;
}

static int64_t nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void pin(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (cpu >= 0) {
        CPU_SET(cpu, &set);
        if (sched_setaffinity(0, sizeof set, &set) != 0) {
            perror("sched_setaffinity");
            _exit(1);
        }
    }
}

/* The time of so many calls, or -1 if the answer of one before them was wrong. */
static int64_t measure(unsigned count, unsigned size, unsigned rest) {
    static char to[MOST + 64], data[MOST];
    static const char greeting[] = "Hello, World! Nice to meet you.";
    const char *given = size == 0 ? "World" : data, *wanted = size == 0 ? greeting : data;
    const size_t input = size == 0 ? 5 : size, output = size == 0 ? sizeof greeting - 1 : size;
    int64_t taken = 0;
    memset(data, 'x', sizeof data);
    memset(to, 0, output);
    if (call(size != 0, given, input, to) != output || memcmp(to, wanted, output) != 0) { /* also wakes the worker */
        return -1;
    }
    if (rest == 0) {
        const int64_t start = nanoseconds();
        for (unsigned done = 0; done < count; done++) {
            call(size != 0, given, input, to);
        }
        taken = nanoseconds() - start;
    }
    for (unsigned done = 0; rest > 0 && done < count; done++) {
        usleep(rest);
        const int64_t start = nanoseconds();
        call(size != 0, given, input, to);
        taken += nanoseconds() - start;
    }
    return taken;
}

int main(int argc, char **argv) {
    if (argc != 3 || !prepare()) {
        return 2;
    }
    const pid_t parent = getpid(), worker = fork();
    if (worker < 0) {
        return 2;
    }
    pin(atoi(argv[worker == 0 ? 2 : 1]));
    if (worker == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent) {
            serve();
        }
        _exit(0);
    }
    unsigned count, size, rest;
    while (scanf("%u %u %u", &count, &size, &rest) == 3 && size <= MOST) {
        const int64_t taken = measure(count, size, rest);
        if (taken < 0) {
            return 1;
        }
        printf("%lld\n", (long long)taken);
        fflush(stdout);
    }
    return 0;
}

#endif
