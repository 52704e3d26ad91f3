/* The other end of a channel, for tests: a worker of a few lines that obeys the rules, and that a test has break one of them.
 *
 * It runs in a forked process, as workers do, or in a thread, for ThreadSanitizer. Either way it maps the memory itself.
 */
#ifndef CHANNEL_PEER_H
#define CHANNEL_PEER_H

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "_channel.h"

#define CHECK(condition) ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition))

_Noreturn static inline void check_failed(const char *file, int line, const char *condition) {
    fprintf(stderr, "%s:%d: %s is false (errno %d)\n", file, line, condition, errno);
    _exit(1);
}

typedef struct Peer Peer;
struct Peer {
    void (*act)(Peer *); /* breaks a rule, once `good` requests were answered well and another one is there */
    int64_t value;       /* for act */
    int good;
    int fd;
    uint64_t half;
    Request *request;
    Reply *reply;
    uint32_t seen; /* word of the last request, and so of its answer */
    int stopped;   /* atomic */
    bool in_thread;
    pid_t pid;
    pthread_t thread;
};

static inline long peer_futex(uint32_t *word, int operation, uint32_t value, const struct timespec *time) {
    return syscall(SYS_futex, word, operation, value, time, NULL, FUTEX_BITSET_MATCH_ANY);
}

static inline void peer_nap(long microseconds) {
    const struct timespec time = {.tv_sec = microseconds / 1000000, .tv_nsec = microseconds % 1000000 * 1000};
    nanosleep(&time, NULL);
}

static inline bool peer_is_stopped(const Peer *peer) {
    return __atomic_load_n(&peer->stopped, __ATOMIC_ACQUIRE) != 0;
}

/* Waits for the next request by looking, so that nothing but the host's own waiting is tested. False: it is to end. */
static inline bool peer_await(Peer *peer) {
    for (;;) {
        const uint32_t word = __atomic_load_n(&peer->request->word, __ATOMIC_ACQUIRE);
        if (word != peer->seen) {
            peer->seen = word;
            return peer->request->method != CHANNEL_HANG_UP;
        }
        if (peer_is_stopped(peer)) {
            return false;
        }
        peer_nap(20);
    }
}

/* Writes all of the reply but its word. */
static inline void peer_write(Peer *peer, int32_t status, uint64_t len, uint64_t scalar, uint32_t flags) {
    Reply *reply = peer->reply;
    reply->status = status;
    reply->len = len;
    reply->scalar = scalar;
    reply->flags = flags;
    reply->cpu = UINT16_MAX;
    reply->service = 8;
}

static inline void peer_wake(Peer *peer) {
    peer_futex(&peer->reply->word, FUTEX_WAKE, 1000, NULL);
}

static inline void peer_put_word(Peer *peer, uint32_t word) {
    __atomic_exchange_n(&peer->reply->word, word, __ATOMIC_ACQ_REL);
    peer_wake(peer);
}

/* Answers well: "hello", and the first parameter as a scalar. */
static inline void peer_answer(Peer *peer) {
    memcpy(peer->reply->text, "hello", 5);
    peer_write(peer, 0, 5, peer->request->values[0], 0);
    peer_put_word(peer, peer->seen);
}

static inline void peer_run(Peer *peer) {
    const int access = PROT_READ | PROT_WRITE;
    char *memory = mmap(NULL, 2 * peer->half, access, MAP_SHARED | MAP_NORESERVE, peer->fd, 0);
    CHECK(memory != MAP_FAILED);
    peer->request = (Request *)(void *)memory;
    peer->reply = (Reply *)(void *)(memory + peer->half);
    int good = peer->good;
    while (peer_await(peer)) {
        if (good-- == 0 && peer->act != NULL) {
            peer->act(peer);
            break;
        }
        peer_answer(peer);
    }
    while (!peer_is_stopped(peer)) { /* a process ends by a signal */
        peer_nap(1000);
    }
    munmap(memory, 2 * peer->half);
}

static inline void *peer_thread(void *peer) {
    peer_run(peer);
    return NULL;
}

static inline void peer_start(Peer *peer) {
    peer->pid = -1;
    peer->stopped = 0;
    peer->seen = 0;
    if (peer->in_thread) {
        peer->fd = fcntl(peer->fd, F_DUPFD_CLOEXEC, 0); /* the host may close its own meanwhile */
        CHECK(peer->fd >= 0);
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for the host's thread */
        CHECK(pthread_create(&peer->thread, NULL, peer_thread, peer) == 0);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        return;
    }
    peer->pid = fork();
    CHECK(peer->pid >= 0);
    if (peer->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* it does not outlive a host whose check failed */
        peer_run(peer);
        _exit(0);
    }
}

static inline void peer_stop(Peer *peer) {
    __atomic_store_n(&peer->stopped, 1, __ATOMIC_RELEASE);
    if (peer->in_thread) {
        CHECK(pthread_join(peer->thread, NULL) == 0 && close(peer->fd) == 0);
    } else if (peer->pid > 0) {
        kill(peer->pid, SIGKILL);
        CHECK(waitpid(peer->pid, NULL, 0) == peer->pid);
    }
}

#endif
