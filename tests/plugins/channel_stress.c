/* The wake protocol of a channel under random delays: `channel_stress one|two quiet|signals|abandon ROUNDS SECONDS SEED`, on one core or on
 * two.
 *
 * A host and a worker in two processes, each with the waiting code that it really has, send requests and answers to and fro. System calls
 * on futexes go through `watched` here, which delays them at random and takes the slices of 100 ms away: so a wake-up that is
 * lost is not made good, but found. With `signals` each side gets a thousand a second; those would make up for lost wake-ups. With
 * `abandon` there is no worker, and another thread abandons each channel.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "_channel.h" /* whose system calls are not watched */

static long watched(long number, uint32_t *word, int operation, uint32_t value, const struct timespec *time, void *other,
                    uint32_t mask);
static void delay(void);

#ifdef BROKEN /* a publisher that does not exchange the word: the wake-ups that it loses must be found */
static uint32_t read_and_store(uint32_t *word, uint32_t value) {
    const uint32_t before = __atomic_load_n(word, __ATOMIC_SEQ_CST);
    delay();
    __atomic_store_n(word, value, __ATOMIC_SEQ_CST);
    return before;
}
#define __atomic_exchange_n(word, value, order) read_and_store((uint32_t *)(word), value)
enum { LOST_AFTER = 300 };
#else
enum { LOST_AFTER = 5000 }; /* ms: longer than any pause of a busy machine */
#endif

#define syscall watched
#include "_host.c"
#include "_wait.h"
#undef syscall

typedef struct {
    uint64_t sleeps, wakes, signals, lost;
} Counts;

static Counts *counts; /* of this process, in memory that both share */
static uint64_t state; /* of the random numbers */

static uint64_t draw(uint64_t below) { /* xorshift64* */
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (state * 2685821657736338717u >> 32) % below;
}

static void spin_for(int64_t nanoseconds) {
    for (const int64_t end = clock_now() + nanoseconds; clock_now() < end;) {
        channel_pause();
    }
}

/* Mostly short, so that a million rounds take seconds, and up to 100 us. */
static void delay(void) {
    const struct timespec shortest = {0, 1};
    switch (draw(256)) {
    case 0:
        nanosleep(&shortest, NULL);
        break;
    case 1:
        spin_for((int64_t)draw(100000));
        break;
    case 2:
    case 3:
        sched_yield();
        break;
    default:
        spin_for(draw(4) == 0 ? (int64_t)draw(3000) : 0);
    }
}

static long watched(long number, uint32_t *word, int operation, uint32_t value, const struct timespec *time, void *other,
                    uint32_t mask) {
    struct timespec late;
    (void)time;
    (void)other;
    (void)mask;
    delay();
    if (operation == FUTEX_WAKE) {
        counts->wakes++;
        return syscall(number, word, operation, value, NULL, NULL, 0);
    }
    clock_gettime(CLOCK_MONOTONIC, &late);
    late.tv_sec += (late.tv_nsec + LOST_AFTER % 1000 * 1000000) / 1000000000 + LOST_AFTER / 1000;
    late.tv_nsec = (late.tv_nsec + LOST_AFTER % 1000 * 1000000) % 1000000000;
    const long result = syscall(number, word, FUTEX_WAIT_BITSET, value, &late, NULL, FUTEX_BITSET_MATCH_ANY);
    const int why = errno;
    counts->sleeps += result == 0;
    counts->lost += result != 0 && why == ETIMEDOUT && __atomic_load_n(word, __ATOMIC_ACQUIRE) != value;
    errno = why;
    return result;
}

static void count_signal(int number) {
    (void)number;
    counts->signals++;
}

static void take_signals(void) {
    const struct sigaction action = {.sa_handler = count_signal, .sa_flags = SA_RESTART};
    const struct itimerval often = {{0, 1000}, {0, 1000}};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
}

/* ---- the worker -------------------------------------------------------------------------------------------------- */

_Noreturn static void serve(int fd, uint64_t half) {
    const int access = PROT_READ | PROT_WRITE;
    Request *request = mmap(NULL, CHANNEL_MAPPED, access, MAP_SHARED, fd, 0);
    Reply *reply = mmap(NULL, CHANNEL_MAPPED, access, MAP_SHARED, fd, (off_t)half);
    Waiter waiter;
    waiter_open(&waiter, ticks_measure());
    for (uint32_t word = 0;;) {
        delay();
        waiter.rest = (uint32_t)draw(2); /* sleeps come more often than they would */
        if (!wait_awake(&waiter, &request->word, word)) {
            wait_asleep(&request->word, word);
        }
        word = __atomic_load_n(&request->word, __ATOMIC_ACQUIRE) & ~(uint32_t)CHANNEL_WAITING;
        if (request->method == CHANNEL_HANG_UP) {
            _exit(0);
        }
        waiter_learn(&waiter, request->cpu, request->think);
        reply->scalar = request->values[0] * 3;
        reply->cpu = (uint16_t)sched_getcpu();
        reply->service = (uint16_t)draw(100);
        delay();
        wait_publish(&waiter, &reply->word, word);
    }
}

/* ---- the host ---------------------------------------------------------------------------------------------------- */

/* Sends a number and waits for three times it; true if that came. */
static bool exchange(hp_channel *channel) {
    const hp_value value = {NULL, draw(1u << 31)};
    hp_answer answer;
    int found;
    delay();
    if (hp_channel_send(channel, 1, &value, 1) != 0) {
        return false;
    }
    delay();
    channel->waiter.rest = (uint32_t)draw(2);
    do {
        found = hp_channel_wait(channel, INT64_MAX);
    } while (found == HP_INTERRUPTED);
    return found == HP_ANSWERED && hp_channel_answer(channel, &answer) == 0 && answer.scalar == value.value * 3;
}

static void choose_cores(bool one) {
    cpu_set_t all, set;
    CPU_ZERO(&set);
    if (one && sched_getaffinity(0, sizeof all, &all) == 0) {
        for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
            if (CPU_ISSET(cpu, &all)) {
                CPU_SET(cpu, &set);
                sched_setaffinity(0, sizeof set, &set);
                return;
            }
        }
    }
}

static uint64_t exchange_all(hp_channel *channel, const Counts *both, uint64_t rounds, int64_t end, uint64_t *wrong) {
    uint64_t done = 0;
    while (done < rounds && (done % 256 != 0 || clock_now() < end) && *wrong + both[0].lost + both[1].lost == 0) {
        *wrong += !exchange(channel);
        done++;
    }
    return done;
}

/* ---- abandoned --------------------------------------------------------------------------------------------------- */

static hp_channel *waiting; /* atomic: a channel that another thread is to abandon; NULL once that is done */

static void *abandon_all(void *unused) {
    for (;;) {
        hp_channel *channel = __atomic_load_n(&waiting, __ATOMIC_ACQUIRE);
        if (channel == (hp_channel *)&waiting) {
            return unused;
        }
        if (channel == NULL) {
            sched_yield();
        } else {
            spin_for(clock_now() % 20000);
            hp_channel_abandon(channel);
            __atomic_store_n(&waiting, NULL, __ATOMIC_RELEASE);
        }
    }
}

/* Waits for answers that do not come, on channels that another thread abandons meanwhile. */
static uint64_t abandon_rounds(uint64_t rounds, int64_t end, uint64_t *wrong) {
    uint64_t done = 0;
    pthread_t thread;
    int error, found;
    if (pthread_create(&thread, NULL, abandon_all, NULL) != 0) {
        return 0;
    }
    while (done < rounds && clock_now() < end && *wrong + counts->lost == 0) {
        hp_channel *channel = hp_channel_open(CHANNEL_MAPPED, CHANNEL_MAPPED, &error);
        const hp_value value = {NULL, 1};
        channel->waiter.rest = 1; /* it sleeps at once */
        hp_channel_send(channel, 1, &value, 1);
        const int64_t start = clock_now();
        __atomic_store_n(&waiting, channel, __ATOMIC_RELEASE);
        do {
            found = hp_channel_wait(channel, INT64_MAX);
        } while (found == HP_INTERRUPTED);
        *wrong += found != HP_GONE;
        counts->lost += clock_now() - start >= (int64_t)LOST_AFTER * 1000000;
        while (__atomic_load_n(&waiting, __ATOMIC_ACQUIRE) != NULL) {
            sched_yield();
        }
        hp_channel_close(channel);
        done++;
    }
    __atomic_store_n(&waiting, (hp_channel *)&waiting, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
    return done;
}

/* ---- both -------------------------------------------------------------------------------------------------------- */

static void report(const Counts *both, uint64_t done, uint64_t wrong) {
    printf("rounds %llu wrong %llu lost %llu sleeps %llu wakes %llu signals %llu\n", (unsigned long long)done,
           (unsigned long long)wrong, (unsigned long long)(both[0].lost + both[1].lost),
           (unsigned long long)(both[0].sleeps + both[1].sleeps), (unsigned long long)(both[0].wakes + both[1].wakes),
           (unsigned long long)(both[0].signals + both[1].signals));
}

static uint64_t run_both(Counts *both, uint64_t rounds, int64_t end, bool signals, uint64_t *wrong) {
    int error, status = 1;
    hp_channel *channel = hp_channel_open(CHANNEL_MAPPED, CHANNEL_MAPPED, &error);
    if (channel == NULL) {
        return 0;
    }
    const pid_t worker = fork();
    if (worker == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        counts = &both[1];
        state++;
    }
    if (signals) {
        take_signals();
    }
    if (worker == 0) {
        serve(hp_channel_fd(channel), CHANNEL_MAPPED);
    }
    const uint64_t done = exchange_all(channel, both, rounds, end, wrong);
    hp_channel_close(channel);
    while (waitpid(worker, &status, 0) < 0 && errno == EINTR) {
    }
    *wrong += status != 0;
    return done;
}

int main(int argc, char **argv) {
    if (argc != 6) {
        return 2;
    }
    const uint64_t rounds = strtoull(argv[3], NULL, 10);
    const int64_t end = clock_now() + strtoll(argv[4], NULL, 10) * 1000000000;
    Counts *both = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (both == MAP_FAILED) {
        return 2;
    }
    counts = both;
    state = strtoull(argv[5], NULL, 10) * 2 + 1;
    choose_cores(strcmp(argv[1], "one") == 0);
    uint64_t wrong = 0;
    const bool abandons = strcmp(argv[2], "abandon") == 0, signals = strcmp(argv[2], "signals") == 0;
    const uint64_t done = abandons ? abandon_rounds(rounds, end, &wrong) : run_both(both, rounds, end, signals, &wrong);
    report(both, done, wrong);
    return wrong == 0 ? 0 : 1;
}
