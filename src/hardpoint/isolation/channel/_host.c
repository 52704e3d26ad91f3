/* The host's side of a channel; see _host.h. How it waits is in _wait.h, which the worker has as well. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "_host.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef F_ADD_SEALS /* glibc before 2.27 */
enum { F_ADD_SEALS = 1033, F_SEAL_SEAL = 1, F_SEAL_SHRINK = 2, F_SEAL_GROW = 4 };
#endif

enum {
    SLICE = 100000000, /* ns of one sleep: for a signal that came right before it, which nothing else would tell */
    MOST_WAKES = 1000
};

/* Measured once; atomic, as threads may open their first channels at the same time. */
static uint64_t ticks_of_process(void) {
    static uint64_t measured;
    uint64_t ticks = __atomic_load_n(&measured, __ATOMIC_RELAXED);
    if (ticks == 0) {
        ticks = ticks_measure();
        __atomic_store_n(&measured, ticks, __ATOMIC_RELAXED);
    }
    return ticks;
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static void *map_half(const hp_channel *channel, uint64_t offset) {
    void *half = mmap(NULL, CHANNEL_MAPPED, PROT_READ | PROT_WRITE, MAP_SHARED, channel->fd, (off_t)offset);
    if (half == MAP_FAILED) {
        return NULL;
    }
    madvise(half, CHANNEL_MAPPED, MADV_DONTFORK); /* a forked child shares neither channels nor plugins */
    return half;
}

/* True under strict overcommit (vm.overcommit_memory=2): there a page of shared memory that nobody has written to may
 * not be had, and whoever touches it dies of SIGBUS. */
static bool is_strict(void) {
    char mode = 0;
    const int fd = open("/proc/sys/vm/overcommit_memory", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        mode = read(fd, &mode, 1) == 1 ? mode : 0;
        close(fd);
    }
    return mode == '2';
}

/* Has all that is mapped be there, if that is not certain. */
static int reserve(const hp_channel *channel) {
    return is_strict() && (fallocate(channel->fd, 0, 0, CHANNEL_MAPPED) != 0 ||
                           fallocate(channel->fd, 0, (off_t)channel->half, CHANNEL_MAPPED) != 0)
               ? OPEN_MEMORY
               : 0;
}

static int prepare_memory(hp_channel *channel) {
    /* A worker that could shrink it would kill this process by SIGBUS. */
    const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    channel->fd = channel_memory("hardpoint", MEMORY_CLOSES | MEMORY_SEALS);
    if (channel->fd < 0) {
        return OPEN_MEMFD;
    }
    if (ftruncate(channel->fd, (off_t)(2 * channel->half)) != 0) {
        return OPEN_SIZE;
    }
    if (fcntl(channel->fd, F_ADD_SEALS, seals) != 0) {
        return OPEN_SEALS;
    }
    channel->request = map_half(channel, 0);
    channel->reply = channel->request == NULL ? NULL : map_half(channel, channel->half);
    return channel->reply == NULL ? OPEN_MAP : reserve(channel);
}

static void unmap(hp_channel *channel) {
    if (channel->request != NULL) {
        munmap(channel->request, CHANNEL_MAPPED);
    }
    if (channel->reply != NULL) {
        munmap(channel->reply, CHANNEL_MAPPED);
    }
    if (channel->fd >= 0) {
        close(channel->fd);
    }
    free(channel);
}

hp_channel *hp_channel_open(uint64_t half, uint64_t room, int *error) {
    hp_channel *channel = calloc(1, sizeof *channel);
    if (channel == NULL) {
        *error = ENOMEM << 8 | OPEN_MEMORY;
        return NULL;
    }
    channel->fd = -1;
    channel->owner = getpid();
    waiter_open(&channel->waiter, ticks_of_process());
    channel->half = half;
    channel->room = room < half - sizeof(Reply) ? room : half - sizeof(Reply);
    const int step = prepare_memory(channel);
    if (step != 0) {
        *error = errno << 8 | step;
        unmap(channel);
        return NULL;
    }
    return channel;
}

int hp_channel_fd(const hp_channel *channel) {
    return channel->fd;
}

int hp_channel_is_gone(const hp_channel *channel) {
    return __atomic_load_n(&channel->gone, __ATOMIC_ACQUIRE);
}

void hp_channel_abandon(hp_channel *channel) {
    uint32_t before;
    if (channel->owner == getpid() && __atomic_exchange_n(&channel->gone, 1, __ATOMIC_ACQ_REL) == 0) {
        /* Another word than a sleeper's, so that one who is about to sleep does not; and no answer of the next
         * billion. */
        const uint32_t word = __atomic_load_n(&channel->sent, __ATOMIC_RELAXED) + 0x80000000u;
        (void)word_exchange(&channel->reply->word, word, &before); /* else the sleeper sees it within its slice */
        word_wake(&channel->reply->word);
    }
}

void hp_channel_close(hp_channel *channel) {
    if (channel == NULL || channel->owner != getpid()) {
        return;
    }
    if (!hp_channel_is_gone(channel)) {
        (void)channel_publish(channel, CHANNEL_HANG_UP);
    }
    unmap(channel);
}

/* ---- the request ------------------------------------------------------------------------------------------------- */

static uint64_t first_offset(uint32_t count) {
    return channel_align(sizeof(Request) + 8 * (uint64_t)count);
}

uint64_t hp_channel_offset(const hp_value *values, uint32_t count, uint32_t index) {
    uint64_t offset = first_offset(count);
    for (uint32_t at = 0; at < index; at++) {
        offset = values[at].data == NULL ? offset : channel_align(offset + values[at].value);
    }
    return offset;
}

int channel_store(const hp_channel *channel, uint64_t offset, const void *data, uint64_t size) {
    if (size > channel->half || offset > channel->half - size) {
        return EFBIG;
    }
    if (offset + size <= CHANNEL_MAPPED) {
        memcpy((char *)channel->request + offset, data, size);
        return 0;
    }
    while (size > 0) {
        const ssize_t written = pwrite(channel->fd, data, size, (off_t)offset);
        if (written < 0 && errno != EINTR) {
            return errno;
        }
        const uint64_t done = written < 0 ? 0 : (uint64_t)written;
        data = (const char *)data + done;
        offset += done;
        size -= done;
    }
    return 0;
}

int channel_publish(hp_channel *channel, uint32_t method) {
    Request *request = channel->request;
    const int cpu = sched_getcpu();
    if (hp_channel_is_gone(channel)) {
        return EPIPE;
    }
    request->method = method;
    request->cpu = channel->cpu = cpu < 0 ? UINT16_MAX : (uint16_t)cpu;
    request->think = ticks_short(ticks_now() - channel->answered_at, channel->waiter.ticks_in_8us);
    __atomic_store_n(&channel->sent, channel->sent + 2, __ATOMIC_RELAXED); /* another thread may abandon it */
    channel->wakes = 0;
    channel->looked = false;
    return wait_publish(&channel->waiter, &request->word, channel->sent) ? 0 : EPROTO;
}

int hp_channel_send(hp_channel *channel, uint32_t method, const hp_value *values, uint32_t count) {
    uint64_t offset = first_offset(count);
    if (hp_channel_is_gone(channel) || channel->owner != getpid()) { /* an argument's conversion may have forked */
        return EPIPE;
    }
    for (uint32_t index = 0; index < count; index++) {
        channel->request->values[index] = values[index].value;
        if (values[index].data != NULL) {
            const int error = channel_store(channel, offset, values[index].data, values[index].value);
            if (error != 0) {
                return error;
            }
            offset = channel_align(offset + values[index].value);
        }
    }
    channel->used = offset;
    return channel_publish(channel, method);
}

/* ---- the wait ---------------------------------------------------------------------------------------------------- */

/* HP_ANSWERED, HP_GONE, HP_MALFORMED, or -1 while the worker is at it. */
static int look(hp_channel *channel) {
    const uint32_t word = __atomic_load_n(&channel->reply->word, __ATOMIC_ACQUIRE), before = channel->sent - 2;
    if (word == channel->sent) {
        return HP_ANSWERED;
    }
    if (hp_channel_is_gone(channel)) {
        return HP_GONE;
    }
    return (word & ~(uint32_t)CHANNEL_WAITING) == before ? -1 : HP_MALFORMED;
}

bool channel_poll(hp_channel *channel, unsigned pauses) {
    if (channel->waiter.alone || channel->cpu == channel->waiter.cpu) {
        return false; /* the worker needs this core to get on */
    }
    for (; pauses > 0; pauses--) {
        if (__atomic_load_n(&channel->reply->word, __ATOMIC_ACQUIRE) == channel->sent) {
            return true;
        }
        channel_pause();
    }
    return false;
}

/* Sets WAITING, if the reply is not there yet. Weak: on AArch64 without LSE a worker that writes to the word all the
 * time could keep a strong one in its loop for ever; here each failure is a wake in vain, of which there are
 * MOST_WAKES. */
static bool announce(hp_channel *channel) {
    uint32_t before = channel->sent - 2;
    return __atomic_compare_exchange_n(&channel->reply->word, &before, before | CHANNEL_WAITING, true, __ATOMIC_ACQ_REL,
                                       __ATOMIC_ACQUIRE) ||
           before == ((channel->sent - 2) | CHANNEL_WAITING);
}

/* Sleeps until the word changes, a slice is over or a signal comes. */
static int sleep_once(hp_channel *channel, int64_t deadline) {
    const int64_t now = clock_now(), slice = now + SLICE, until = deadline < slice ? deadline : slice;
    const struct timespec time = {.tv_sec = until / 1000000000, .tv_nsec = until % 1000000000};
    if (now >= deadline) {
        return HP_TIMED_OUT;
    }
    channel->wakes++; /* each further round was for nothing: a wake without an answer, or a word that goes to and fro */
    if (!announce(channel)) {
        return -1;
    }
    const uint32_t word = (channel->sent - 2) | CHANNEL_WAITING;
    if (syscall(SYS_futex, &channel->reply->word, FUTEX_WAIT_BITSET, word, &time, NULL, FUTEX_BITSET_MATCH_ANY) == 0) {
        return -1;
    }
    if (errno == EINTR || (errno == ETIMEDOUT && until != deadline)) {
        channel->wakes--;
        return HP_INTERRUPTED;
    }
    return -1;
}

int hp_channel_wait(hp_channel *channel, int64_t deadline) {
    if (!channel->looked) {
        channel->looked = true;
        (void)wait_awake(&channel->waiter, &channel->reply->word, channel->sent - 2);
    } else if (channel->owner != getpid()) {
        return HP_GONE; /* a signal handler forked, and this is the child, where the memory is not */
    }
    for (;;) {
        const int found = look(channel);
        if (found >= 0) {
            return found;
        }
        if (channel->wakes > MOST_WAKES) {
            return HP_MALFORMED;
        }
        const int slept = sleep_once(channel, deadline);
        if (slept >= 0) {
            const int last = look(channel); /* an answer that came with the signal, or right at the deadline */
            return last >= 0 ? last : slept;
        }
    }
}

int hp_channel_why(const hp_channel *channel) {
    return channel->wakes > MOST_WAKES ? MALFORMED_WAKES : MALFORMED_WORD;
}

/* ---- the answer -------------------------------------------------------------------------------------------------- */

/* True if a text's memory was written to. A hole costs the worker nothing, and to read it takes memory of the
 * machine. */
static bool is_written(const hp_channel *channel, uint64_t len) {
    struct stat status;
    const uint64_t beyond = len + sizeof(Reply) - CHANNEL_MAPPED;
    return fstat(channel->fd, &status) == 0 && (uint64_t)status.st_blocks * 512 >= beyond;
}

static int check(const hp_channel *channel, const hp_answer *answer) {
    if ((answer->flags & ~(uint32_t)REPLY_FLAGS) != 0) {
        return MALFORMED_FLAGS;
    }
    const bool is_free = (answer->flags & (REPLY_BAD_STATUS | REPLY_NO_THREAD)) != 0;
    if (!is_free && (answer->status < 0 || answer->status > 65535)) {
        return MALFORMED_STATUS;
    }
    if ((answer->flags & REPLY_TOO_LONG) != 0) {
        return answer->len > answer->scalar ? 0 : MALFORMED_LENGTH; /* no text comes */
    }
    if (answer->len > channel->room) {
        return MALFORMED_LENGTH;
    }
    return answer->len + sizeof(Reply) > CHANNEL_MAPPED && !is_written(channel, answer->len) ? MALFORMED_HOLES : 0;
}

int hp_channel_answer(hp_channel *channel, hp_answer *answer) {
    const char *reply = (const char *)channel->reply;
    const uint64_t first = channel_load(reply), rest = channel_load(reply + offsetof(Reply, flags));
    answer->status = (int32_t)(first >> 32);
    answer->len = channel_load(reply + offsetof(Reply, len));
    answer->scalar = channel_load(reply + offsetof(Reply, scalar));
    answer->flags = (uint32_t)rest & ~(uint32_t)REPLY_LARGE;
    waiter_learn(&channel->waiter, (uint16_t)(rest >> 32), (uint16_t)(rest >> 48));
    channel->answered = sizeof(Reply) + (answer->len < channel->room ? answer->len : channel->room);
    if (((uint32_t)rest & REPLY_LARGE) != 0) {
        channel->answered = channel->half;
    }
    channel->answered_at = ticks_now();
    return check(channel, answer);
}

int hp_channel_read(const hp_channel *channel, int reply, uint64_t offset, void *to, uint64_t size) {
    const char *half = reply != 0 ? (const char *)channel->reply : (const char *)channel->request;
    offset += reply != 0 ? sizeof(Reply) : 0;
    if (size > channel->half || offset > channel->half - size) {
        return EFBIG;
    }
    if (offset + size <= CHANNEL_MAPPED) {
        memcpy(to, half + offset, size);
        __asm__ volatile("" ::: "memory");
        return 0;
    }
    offset += reply != 0 ? channel->half : 0;
    while (size > 0) {
        const ssize_t got = pread(channel->fd, to, size, (off_t)offset);
        if (got == 0 || (got < 0 && errno != EINTR)) {
            return got == 0 ? EIO : errno; /* the end of the file, which the seals rule out */
        }
        const uint64_t done = got < 0 ? 0 : (uint64_t)got;
        to = (char *)to + done;
        offset += done;
        size -= done;
    }
    return 0;
}

static void punch(const hp_channel *channel, uint64_t from, uint64_t end) {
    if (end > CHANNEL_LARGE && channel->owner == getpid()) { /* it fails where the file system can't, and then the memory stays */
        (void)fallocate(channel->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(from + CHANNEL_MAPPED),
                        (off_t)(channel->half - CHANNEL_MAPPED));
    }
}

void hp_channel_trim(hp_channel *channel) {
    punch(channel, 0, channel->used);
    punch(channel, channel->half, channel->answered);
}
