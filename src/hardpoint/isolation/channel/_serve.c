/* The thread that serves one channel: wait for a request, call the plugin, reply. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "_serve.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "_program.h"

enum { STACK = 2 << 20 }; /* bytes; private memory, which counts for RLIMIT_DATA as a whole */

Instance instance;

static uint64_t ticks_in_8us;
static pthread_key_t serving; /* set while a thread serves a channel */

/* Ends the process: without the thread no answer would come, and the host would wait for ever. */
static void on_thread_end(void *channel) {
    (void)channel;
    fail("the plugin ended a thread of its caller (pthread_exit)");
}

void serve_prepare(void) {
    ticks_in_8us = ticks_measure();
    if (pthread_key_create(&serving, on_thread_end) != 0) {
        out_of_memory();
    }
}

void plan_method(Method *method) {
    int words = 2, doubles = 0; /* self and the hp_out */
    for (int index = 0; index < method->count; index++) {
        const char kind = method->kinds[index];
        doubles += kind == 'f';
        words += kind == 'f' ? 0 : kind == 'i' || kind == '?' ? 1 : 2;
    }
    words += method->result == 'i' || method->result == 'f' || method->result == '?';
    method->shape = hp_shape_of(words, doubles);
}

/* ---- a call ------------------------------------------------------------------------------------------------------ */

/* The words and doubles of a call, and where the next of each go. */
typedef struct {
    hp_call call;
    uint64_t *word;
    double *number;
} Placed;

/* Fills in those of the parameters; returns where in the request half the last of them ends. */
HP_HOT uint64_t place(const Channel *channel, const Method *method, Placed *placed) {
    const uint64_t *values = channel->request->values;
    uint64_t offset = sizeof(Request) + 8 * (uint64_t)method->count, *word = placed->call.words + 1;
    double *number = placed->call.doubles;
    for (int index = 0; index < method->count; index++) {
        switch (method->kinds[index]) {
        case 'i':
        case '?':
            *word++ = values[index];
            break;
        case 'f':
            memcpy(number++, &values[index], sizeof *number);
            break;
        default:
            offset = channel_align(offset);
            *word++ = (uint64_t)(uintptr_t)channel->request + offset; /* not NULL, also if it is empty */
            *word++ = values[index];
            offset += values[index];
        }
    }
    placed->word = word;
    placed->number = number;
    return offset;
}

static inline bool has_scalar_result(const Method *method) {
    return method->result == 'i' || method->result == 'f' || method->result == '?';
}

static void call_method(Channel *channel, const Method *method) {
    Placed placed;
    ReplyOut out;
    uint64_t scalar = 0;
    const uint64_t end = place(channel, method, &placed);
    if (end > channel->request_mapped) {
        channel_reach(channel, end);
        place(channel, method, &placed);
    }
    placed.call.words[0] = (uint64_t)(uintptr_t)instance.self;
    if (has_scalar_result(method)) {
        *placed.word++ = (uint64_t)(uintptr_t)&scalar;
    }
    *placed.word++ = (uint64_t)(uintptr_t)&out.out;
    reply_out_open(&out, channel);
    hp_call_close(&placed.call, method->shape, placed.word, placed.number);
    const uint64_t start = ticks_now();
    const hp_status status = hp_call_function(method->function, method->shape, &placed.call);
    const uint64_t took = ticks_now() - start;
    if (method->result == '?') {
        scalar &= 0xFF; /* the plugin stored one byte; little-endian */
    }
    reply_write(channel, &out, status, method->result == 's' || method->result == 'b', scalar);
    channel->reply->service = ticks_short(took, ticks_in_8us);
}

/* Replies to CHANNEL_HELLO, and to the number of a method that the plugin does not have, which a host never sends. */
static void reply_empty(Channel *channel, hp_status status) {
    ReplyOut out;
    reply_out_open(&out, channel);
    reply_write(channel, &out, status, false, 0);
}

/* Answers a request; false if the host hangs up. */
static bool answer(Channel *channel) {
    const uint32_t number = channel->request->method;
    if (number == CHANNEL_HANG_UP) {
        return false;
    }
    if (number < instance.count && instance.methods[number].function != NULL) {
        call_method(channel, &instance.methods[number]);
    } else {
        reply_empty(channel, number == CHANNEL_HELLO ? HP_OK : HP_UNSUPPORTED);
    }
    return true;
}

/* ---- the thread -------------------------------------------------------------------------------------------------- */

static void next_request(Channel *channel) {
    uint32_t *word = &channel->request->word;
    if (!wait_awake(&channel->waiter, word, channel->word)) {
        wait_asleep(word, channel->word);
    }
    /* Not always the next one: a host that gives up a call hangs up over a request that nobody has looked at. */
    channel->word = __atomic_load_n(word, __ATOMIC_ACQUIRE) & ~(uint32_t)CHANNEL_WAITING;
    waiter_learn(&channel->waiter, channel->request->cpu, channel->request->think);
}

static void *serve(void *argument) {
    Channel *channel = argument;
    void *stack = crash_guard();
    pthread_setspecific(serving, channel);
    waiter_open(&channel->waiter, ticks_in_8us);
    if (channel->has_reply) {
        reply_publish(channel);
    }
    for (;;) {
        next_request(channel);
        if (!answer(channel)) {
            break;
        }
        reply_publish(channel);
        channel_shrink(channel);
    }
    channel_close(channel);
    pthread_setspecific(serving, NULL);
    crash_unguard(stack);
    return NULL;
}

/* pthread_create says EAGAIN for a lack of memory as well. */
static int true_cause(int error) {
    void *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack == MAP_FAILED) {
        return ENOMEM;
    }
    munmap(stack, STACK);
    return error;
}

int serve_start(Channel *channel) {
    pthread_attr_t attributes;
    pthread_t thread;
    int error = pthread_attr_init(&attributes);
    if (error == 0) {
        pthread_attr_setstacksize(&attributes, STACK);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        error = pthread_create(&thread, &attributes, serve, channel);
        pthread_attr_destroy(&attributes);
    }
    return error == EAGAIN ? true_cause(error) : error;
}
