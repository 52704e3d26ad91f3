/* The host's side of a channel: send a request, wait for the answer, check it, read it.
 *
 * A channel is used by one thread at a time; only hp_channel_abandon may be called by any other meanwhile. Nothing here
 * needs Python. The worker is not trusted: it can write to the whole memory at any time.
 */
#ifndef HARDPOINT_CHANNEL_HOST_H
#define HARDPOINT_CHANNEL_HOST_H

#include <stdbool.h>
#include <string.h>

#include "_channel.h"
#include "_wait.h"

typedef struct hp_channel {
    Request *request;
    Reply *reply;
    uint64_t half, room;
    uint64_t used;          /* bytes of the request half that the last request took */
    uint64_t answered;      /* bytes of the reply half that the last answer took */
    uint64_t answered_at;   /* ticks of the last answer */
    uint32_t sent;          /* the word of the last request, and so of its answer; written atomically */
    uint32_t wakes;         /* wakes since the last request that brought no answer */
    Waiter waiter;          /* of the answer */
    int fd;
    int owner;    /* the process that opened it: a forked child has neither the memory nor, perhaps, the descriptor */
    int gone;     /* atomic: the worker is gone */
    uint16_t cpu; /* that the host sent from */
    bool looked;  /* this wait has looked for the answer already, and sleeps from now on */
} hp_channel;

/* A parameter: a buffer of `value` bytes at `data`, or, if `data` is NULL, the value. */
typedef struct {
    const void *data;
    uint64_t value;
} hp_value;

typedef struct {
    int32_t status;
    uint32_t flags; /* REPLY_* */
    uint64_t len, scalar;
} hp_answer;

enum { HP_ANSWERED = 0, HP_INTERRUPTED = 1, HP_TIMED_OUT = 2, HP_GONE = 3, HP_MALFORMED = 4 };

/* The step in the low 8 bits of hp_channel_open's error; errno is above them. */
enum { OPEN_MEMFD = 1, OPEN_SIZE = 2, OPEN_SEALS = 3, OPEN_MAP = 4, OPEN_MEMORY = 5 };

#define HP_CHANNEL_API __attribute__((visibility("default")))

/* Makes a channel of two halves of `half` bytes (a multiple of CHANNEL_MAPPED), whose answers have at most `room`
 * bytes. NULL with *error set. Owner: the caller. */
HP_CHANNEL_API hp_channel *hp_channel_open(uint64_t half, uint64_t room, int *error);

/* The descriptor of the memory, for the worker. */
HP_CHANNEL_API int hp_channel_fd(const hp_channel *channel);

/* Ends the wait of whoever uses the channel, now and later: its worker is gone. Any thread. */
HP_CHANNEL_API void hp_channel_abandon(hp_channel *channel);

/* True once the channel was abandoned. */
HP_CHANNEL_API int hp_channel_is_gone(const hp_channel *channel);

/* Has the worker's thread end, unmaps the memory and frees the channel. Nothing, for NULL and in a forked child. */
HP_CHANNEL_API void hp_channel_close(hp_channel *channel);

/* Writes a request and wakes the worker. 0, or an errno with nothing published: EPIPE for a worker that is gone, EPROTO
 * for one that keeps the host from publishing, EFBIG for arguments that are larger than a half, else pwrite(2)'s. */
HP_CHANNEL_API int hp_channel_send(hp_channel *channel, uint32_t method, const hp_value *values, uint32_t count);

/* Waits until CLOCK_MONOTONIC has `deadline` nanoseconds, or INT64_MAX. HP_INTERRUPTED: a signal came, or 100 ms went
 * by; call it again once signals were handled. */
HP_CHANNEL_API int hp_channel_wait(hp_channel *channel, int64_t deadline);

/* Copies the head of an answer and checks it: 0, or a MALFORMED_*. MALFORMED_WORD says why hp_channel_wait gave
 * HP_MALFORMED. */
HP_CHANNEL_API int hp_channel_answer(hp_channel *channel, hp_answer *answer);

/* Which MALFORMED_* made hp_channel_wait give HP_MALFORMED. */
HP_CHANNEL_API int hp_channel_why(const hp_channel *channel);

/* Copies bytes of the request half (`reply` 0), from a buffer's hp_channel_offset on, or of the answer's text. 0, or an
 * errno. */
HP_CHANNEL_API int hp_channel_read(const hp_channel *channel, int reply, uint64_t offset, void *to, uint64_t size);

/* Gives memory back after a call that took more than 4 MiB. */
HP_CHANNEL_API void hp_channel_trim(hp_channel *channel);

/* The offset in the request half of the buffer that is parameter `index`. */
HP_CHANNEL_API uint64_t hp_channel_offset(const hp_value *values, uint32_t count, uint32_t index);

/* ---- pieces of the above for the native binding ------------------------------------------------------------------ */

#pragma GCC visibility push(hidden)

/* Writes beyond what is mapped; 0 or an errno. */
int channel_store(const hp_channel *channel, uint64_t offset, const void *data, uint64_t size);

/* Publishes the request that was written, and wakes the worker if it sleeps: 0, EPIPE if it is gone, or EPROTO if it
 * keeps the host from writing the word. */
int channel_publish(hp_channel *channel, uint32_t method);

/* True if the answer is there, after at most so many pauses. */
bool channel_poll(hp_channel *channel, unsigned pauses);

#pragma GCC visibility pop

/* Reads 8 bytes, at a multiple of 8, of memory that the worker can change at any time: once, which is why it is atomic.
 * A compiler may read plain memory again. */
static inline uint64_t channel_load(const void *from) {
    typedef uint64_t __attribute__((may_alias)) word;
    return __atomic_load_n((const word *)from, __ATOMIC_RELAXED);
}

#endif
