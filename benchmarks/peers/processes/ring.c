/* Calls through hardpoint's own channel, with C at both ends: the host's side is _host.c, and the worker does only what the
 * protocol asks of it. */
#include "program.h"

#include <limits.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "_host.h"
#include "_ticks.h"

enum { SPIN = 100000 }; /* ns that the worker polls for a request of another core, before it sleeps */

static hp_channel *channel;

static bool prepare(void) {
    int error;
    channel = hp_channel_open(CHANNEL_MAPPED, MOST + 64, &error);
    return channel != NULL;
}

static size_t call(uint32_t method, const void *data, size_t size, char *to) {
    const hp_value value = {data, size};
    hp_answer answer;
    int found = HP_INTERRUPTED;
    if (hp_channel_send(channel, method, &value, 1) != 0) {
        return 0;
    }
    while (found == HP_INTERRUPTED) {
        found = hp_channel_wait(channel, INT64_MAX);
    }
    if (found != HP_ANSWERED || hp_channel_answer(channel, &answer) != 0) {
        return 0;
    }
    hp_channel_read(channel, 1, 0, to, answer.len);
    hp_channel_trim(channel);
    return answer.len;
}

static uint32_t load(const uint32_t *word) {
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

/* Polls while the host runs on another core. */
static void spin(const Request *request, uint32_t last) {
    if (sched_getcpu() == request->cpu) {
        return;
    }
    const int64_t end = clock_now() + SPIN;
    while (load(&request->word) == last && clock_now() < end) {
        for (int pause = 0; pause < 16 && load(&request->word) == last; pause++) {
            channel_pause();
        }
    }
}

static uint32_t wait_for_request(Request *request, uint32_t last) {
    spin(request, last);
    while (load(&request->word) == last) {
        uint32_t before = last;
        if (__atomic_compare_exchange_n(&request->word, &before, last | CHANNEL_WAITING, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE)) {
            syscall(SYS_futex, &request->word, FUTEX_WAIT, last | CHANNEL_WAITING, NULL, NULL, 0);
        }
        uint32_t waiting = last | CHANNEL_WAITING; /* woken by a signal: as before */
        __atomic_compare_exchange_n(&request->word, &waiting, last, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
    }
    return load(&request->word);
}

static void *map_half(uint64_t offset) {
    const int fd = hp_channel_fd(channel);
    return mmap(NULL, CHANNEL_MAPPED, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);
}

static void serve(void) {
    Request *request = map_half(0); /* the host's own mappings do not survive the fork */
    Reply *reply = map_half(CHANNEL_MAPPED);
    if (request == MAP_FAILED || reply == MAP_FAILED) {
        return;
    }
    const char *data = (char *)request + channel_align(sizeof(Request) + 8);
    const uint64_t ticks_in_8us = ticks_measure();
    for (uint32_t word = 0; (word = wait_for_request(request, word)) != 0 && request->method != CHANNEL_HANG_UP;) {
        const uint64_t start = ticks_now();
        reply->status = 0;
        reply->len = answer(request->method, data, request->values[0], reply->text);
        reply->flags = 0;
        reply->cpu = (uint16_t)sched_getcpu();
        reply->service = ticks_short(ticks_now() - start, ticks_in_8us); /* for how long the host polls */
        if ((__atomic_exchange_n(&reply->word, word, __ATOMIC_ACQ_REL) & CHANNEL_WAITING) != 0) {
            syscall(SYS_futex, &reply->word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
        }
    }
}
