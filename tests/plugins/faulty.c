/* A plugin for the contract of tests/test_conformance_faults.py with no fault, or with the one selected by -D.
 *
 * Each fault fails exactly one check of the conformance kit. */
#include <fcntl.h>
#include <fenv.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "faulty.h"

typedef struct {
    char *config;
    void *first; /* allocated by LEAKS_LATE at the first call */
    pthread_t maker;
    atomic_int inside;
} instance;

static atomic_int alive, made;

/* -- loading -- */

#if defined SWAPS_A_SLOT || defined SWAPS_LATER
/* Exchange a method in the vtable, which is write-protected by now. */
static hp_status other_flip(void *self, uint8_t *data, size_t data_len, hp_out *out) {
    (void)self;
    (void)out;
    for (size_t i = 0; i < data_len; i++) {
        data[i] ^= 0xff;
    }
    return HP_OK;
}

#ifdef SWAPS_A_SLOT
__attribute__((constructor))
#endif
static void swap_slot(void) {
    const uintptr_t size = (uintptr_t)sysconf(_SC_PAGESIZE);
    extern const faulty_v1 hardpoint_faulty_v1;
    faulty_v1 *vtable = (faulty_v1 *)(uintptr_t)&hardpoint_faulty_v1;
    if (mprotect((void *)((uintptr_t)vtable & -size), 2 * size, PROT_READ | PROT_WRITE) != 0) {
        abort();
    }
    *(hp_status (*volatile *)(void *, uint8_t *, size_t, hp_out *))&vtable->flip = other_flip;
}
#endif

#if defined LOAD_CRASHES || defined LOAD_ROUNDS || defined LOAD_HANDLES || defined LOAD_IS_SLOW || defined LOAD_MASKS \
    || defined LOAD_PRINTS
__attribute__((constructor)) static void on_load(void) {
#if defined LOAD_CRASHES
    abort();
#elif defined LOAD_ROUNDS
    fesetround(FE_UPWARD);
#elif defined LOAD_HANDLES
    signal(SIGUSR1, SIG_IGN);
#elif defined LOAD_MASKS
    sigset_t set;
    sigfillset(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
#elif defined LOAD_PRINTS
    puts("faulty 1.0 is here");
#else
    usleep(150000);
#endif
}
#endif

#ifdef EXIT_CRASHES
__attribute__((destructor)) static void on_exit_of_the_process(void) {
    abort();
}
#endif

#ifdef EXPORTS_MORE
HP_EXPORT_ int faulty_helper(void);
int faulty_helper(void) {
    return 1;
}
#endif

/* -- instances -- */

#ifdef LEAVES_THREAD
static void *wait_for_ever(void *argument) {
    for (;;) {
        pause();
    }
    return argument;
}
#endif

#ifdef CONFIG_CRASHES
static int nested(const char *config, size_t len, volatile char *above) {
    volatile char here[256];
    here[0] = above ? above[0] : 0;
    return len > 0 && *config == '[' ? nested(config + 1, len - 1, here) + here[0] : 0;
}
#endif

/* Log some records, in the way of the selected fault. */
static void log_on(const hp_host *host) {
    static hp_log_record record = {.level = HP_LOG_INFO};
    record.source = host->log_source;
    struct {
        hp_log_record head;
        char text[2000];
    } raw = {.head = record};
    size_t len = 10;
    memset(raw.text, 'x', sizeof raw.text);
#if defined LOG_IS_CLOSED
    if (made == 0) { /* the number may be another file's by then */
        close(host->log_fd);
    }
    return;
#elif defined LOG_BLOCKS
    fcntl(host->log_fd, F_SETFL, 0);
#elif defined LOG_IS_READ
    (void)!recv(host->log_fd, raw.text, sizeof raw.text, MSG_DONTWAIT);
#elif defined LOG_IS_SHUT
    shutdown(host->log_fd, SHUT_RDWR);
#elif defined LOG_WAITS
    (void)!send(host->log_fd, &raw, sizeof raw.head + len, MSG_NOSIGNAL);
    return;
#elif defined LOG_IS_UNCOUNTED
    (void)!send(host->log_fd, &raw, sizeof raw.head + len, MSG_NOSIGNAL | MSG_DONTWAIT);
    return;
#elif defined LOG_HAS_NO_HEADER
    (void)!send(host->log_fd, raw.text, len, MSG_NOSIGNAL | MSG_DONTWAIT);
#elif defined LOG_OF_ANOTHER
    raw.head.source = 0;
#elif defined LOG_RESERVED
    raw.head.reserved = 1;
#elif defined LOG_IS_LONG
    len = HP_LOG_MAX + 1;
#elif defined LOG_ENDS_IN_NUL
    raw.text[len - 1] = 0;
#elif defined LOG_IS_LATIN_1
    raw.text[3] = (char)0xe9;
#elif defined LOG_LEVEL
    raw.head.level = 25;
#elif defined LOG_IS_CUT
    len = HP_LOG_MAX;
    memcpy(raw.text + len - 4, "\xe2...", 4);
#elif defined WRITES_ITS_HOST
    ((hp_host *)(uintptr_t)host)->reserved = 0;
#endif
    if (send(host->log_fd, &raw, sizeof raw.head + len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        (void)__atomic_fetch_add(host->log_dropped, 1, __ATOMIC_RELAXED);
    }
}

static hp_status create(const hp_host *host, const char *config, size_t config_len, void **self, hp_out *out) {
    log_on(host);
#ifdef NEEDS_CONFIG
    if (config == NULL) {
        return hp_fail(out, HP_INVALID, "a config is needed");
    }
#endif
#ifdef CONFIG_CRASHES
    nested(config, config_len, NULL);
#endif
#ifdef CONFIG_STATUS
    if (config_len > 0) {
        return -1;
    }
#endif
#ifdef CONFIG_STATUS_IS_RESERVED
    if (config_len > 0) {
        return 17;
    }
#endif
#ifdef CONFIG_REASON_IS_LATIN_1
    if (config_len > 0) {
        return hp_fail(out, HP_INVALID, "caf\xe9");
    }
#endif
#ifdef ONE_INSTANCE
    if (alive > 0) {
        return hp_fail(out, HP_FAILED, "there is one already");
    }
#endif
#ifdef CREATE_RACES
    static atomic_int creating;
    if (atomic_exchange(&creating, 1)) {
        abort();
    }
    usleep(50);
    creating = 0;
#endif
    instance *new = calloc(1, sizeof *new);
    if (new == NULL || (config_len > 0 && (new->config = malloc(config_len)) == NULL)) {
        free(new);
        return hp_fail(out, HP_NO_MEMORY, "no memory");
    }
    if (config_len > 0) {
        memcpy(new->config, config, config_len);
    }
    new->maker = pthread_self();
    alive++;
    made++;
#ifdef LEAKS_INSTANCE
    static void *volatile leaked; /* volatile: or the compiler removes the malloc */
    leaked = malloc(64);
    if (leaked == NULL) {
        return HP_NO_MEMORY;
    }
#endif
#ifdef LEAVES_DESCRIPTOR
    if (made <= 64 && open("/dev/null", O_RDONLY | O_CLOEXEC) < 0) {
        return HP_FAILED;
    }
#endif
#ifdef LEAVES_THREAD
    pthread_t thread;
    if (made <= 64 && pthread_create(&thread, NULL, wait_for_ever, NULL) != 0) {
        return HP_FAILED;
    }
#endif
    *self = new;
    return HP_OK;
}

static void destroy(void *self) {
    instance *gone = self;
#ifdef DESTROY_CRASHES
    abort();
#endif
#ifdef FREES_TWICE
    if (made == 500) {
        free(gone);
    }
#endif
#ifdef BOUND_TO_ITS_THREAD
    if (!pthread_equal(gone->maker, pthread_self())) {
        abort();
    }
#endif
    alive--;
    free(gone->config);
#ifndef LEAKS_LATE
    free(gone->first);
#endif
    free(gone);
}

static const void *query(const char *id) {
#ifdef QUERY_KNOWS_ALL
    return id;
#else
    (void)id;
    return NULL;
#endif
}

/* -- methods -- */

static bool has_nul(const char *text, size_t len) {
    return len > 0 && memchr(text, 0, len) != NULL;
}

static bool has_high(const char *text, size_t len) {
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)text[i] >= 0x80) {
            return true;
        }
    }
    return false;
}

/* Run the selected fault, for faults at the start of a method. */
static void stumble(const char *text, size_t len) {
    (void)text;
    (void)len;
    (void)has_nul;
    (void)has_high;
#if defined CRASHES
    abort();
#elif defined CRASHES_ON_EMPTY
    if (len == 0) {
        abort();
    }
#elif defined EXITS_ON_EMPTY
    if (len == 0) {
        exit(3);
    }
#elif defined CRASHES_ON_NUL
    if (has_nul(text, len)) {
        fputs("a NUL!\n", stderr);
        abort();
    }
#elif defined WRITES_AND_CRASHES
    if (has_nul(text, len)) {
        for (int i = 0; i < 100000; i++) {
            fprintf(stderr, "line %d\n", i);
        }
        abort(); /* SIGNALLED_HERE */
    }
#elif defined HANGS_ON_NUL
    while (has_nul(text, len)) {
        pause();
    }
#elif defined CRASHES_ON_UNICODE
    if (has_high(text, len)) {
        abort();
    }
#elif defined CRASHES_ON_HUGE
    if (len >= 1 << 20) {
        abort();
    }
#elif defined CRASHES_AT_RANDOM
    if (has_nul(text, len) && has_high(text, len)) {
        abort();
    }
#elif defined LEAVES_ITS_FOLDER
    if (chdir("/proc") != 0) {
        abort();
    }
#elif defined WRITES_CONST
    if (len > 0) {
        ((volatile char *)(uintptr_t)text)[0] = text[0];
    }
#elif defined WANTS_ALIGNED
    if (len >= 32 && (uintptr_t)text % 16 != 0) { /* as movaps would */
        abort();
    }
#elif defined READS_BEHIND
    (void)((const volatile char *)text)[len];
#elif defined KEEPS_INPUT
    static const char *_Atomic last;
    const char *kept = last; /* read once: another thread may set it to NULL */
    if (kept != NULL) {
        (void)*(const volatile char *)kept;
    }
    last = len > 0 ? text : NULL;
#elif defined LEAKS
    static void *volatile leaked; /* volatile: or the compiler removes the malloc */
    leaked = malloc(32);
    if (leaked == NULL) {
        abort();
    }
#endif
}

#ifdef GROWS_ELSEWHERE
static void *grow_to_4096(void *out) {
    return (void *)(intptr_t)((hp_out *)out)->grow(out, 4096);
}
#endif

static hp_status echo(void *self, const char *text, size_t text_len, hp_out *out) {
    instance *me = self;
    (void)me;
    stumble(text, text_len);
#if defined LEAKS_LATE
    if (me->first == NULL) {
        me->first = malloc(64);
    }
#elif defined ONE_THREAD
    if (atomic_exchange(&me->inside, 1)) {
        abort();
    }
    usleep(50);
    me->inside = 0;
#elif defined SHARES_A_BUFFER
    static char shared[1 << 16];
    if (text_len <= sizeof shared) {
        memcpy(shared, text, text_len);
        usleep(50);
        return hp_write(out, shared, text_len);
    }
#elif defined WRITES_BEHIND
    if (text_len < 512) {
        memset(out->data + out->cap, 'x', 16);
    }
#elif defined WRITES_BEFORE
    out->data[-1] = 'x';
#elif defined STALE_DATA
    char *data = out->data;
    const hp_status status = hp_reserve(out, text_len);
    if (status == HP_OK) {
        memcpy(data, text, text_len);
        out->len = text_len;
    }
    return status;
#elif defined IGNORES_REFUSAL
    if (out->cap < text_len) {
        (void)!out->grow(out, text_len);
    }
    memcpy(out->data, text, text_len);
    out->len = text_len;
    return HP_OK;
#elif defined SILENT_REFUSAL
    (void)!hp_write(out, text, text_len);
    return HP_OK;
#elif defined LEAVES_A_PART || defined LEAVES_A_LATER_PART
#ifdef LEAVES_A_PART
    const size_t step = 512;
#else
    const size_t step = 2048;
#endif
    for (size_t done = 0; done < text_len; done = out->len) {
        const size_t piece = text_len - done < step ? text_len - done : step;
        if (out->cap < done + piece && out->grow(out, done + piece) != HP_OK) {
            out->len = step == 2048 && done < step ? 0 : done;
            return HP_NO_MEMORY;
        }
        memcpy(out->data + done, text + done, piece);
        out->len += piece;
    }
    return HP_OK;
#elif defined CUTS_ITS_REASON
    if (out->cap < text_len && out->grow(out, text_len) != HP_OK) {
        for (out->len = 0; out->len < 512; out->len++) {
            out->data[out->len] = "\xe2\x82\xac"[out->len % 3];
        }
        return HP_NO_MEMORY;
    }
#elif defined ASKS_FOR_LITTLE /* which is no fault: such a grow succeeds and changes nothing */
    if (out->grow(out, 1) != HP_OK || out->grow(out, out->cap) != HP_OK) {
        return HP_FAILED;
    }
    const hp_status written = hp_write(out, text, text_len);
    return written == HP_OK ? out->grow(out, 600 < out->cap ? 600 : 1) : written;
#elif defined GROWS_ELSEWHERE
    pthread_t grower;
    if (text_len == 4096 && pthread_create(&grower, NULL, grow_to_4096, out) == 0) {
        pthread_join(grower, NULL);
    }
#elif defined LEAVES_A_PART_ON_NUL
    if (has_nul(text, text_len)) {
        const hp_status some = hp_write(out, "World", text_len < 64 ? 2 : 5);
        return some == HP_OK ? HP_INVALID : some;
    }
#elif defined SAYS_TOO_MUCH
    out->len = out->cap + 1;
    return HP_OK;
#elif defined CHANGES_OUT
    const hp_status status = hp_write(out, text, text_len);
    out->cap = 5;
    return status;
#elif defined GIVES_LATIN_1
    return hp_puts(out, "caf\xe9");
#elif defined REASON_IS_LATIN_1
    return hp_fail(out, HP_FAILED, "caf\xe9");
#elif defined STATUS_IS_NEGATIVE
    return -1;
#elif defined STATUS_IS_RESERVED
    return hp_fail(out, 5, "reserved");
#elif defined STATUS_IS_THE_LAST_RESERVED
    return hp_fail(out, 255, "reserved");
#elif defined SWAPS_LATER
    swap_slot();
#endif
    return hp_write(out, text, text_len);
}

static hp_status mix(void *self, const uint8_t *left, size_t left_len, const uint8_t *right, size_t right_len,
                     int64_t number, double factor, double *result, hp_out *out) {
    (void)self;
    (void)out;
#ifdef WANTS_TWO_BUFFERS
    if (left == right && left_len > 0) {
        abort();
    }
#endif
#ifdef CRASHES_ON_EXTREME
    if (number == INT64_MIN) {
        abort();
    }
#endif
    uint64_t sum = 0;
    for (size_t i = 0; i < left_len; i++) {
        sum += left[i];
    }
    for (size_t i = 0; i < right_len; i++) {
        sum += right[i];
    }
    *result = (double)sum + (double)number * factor;
    return HP_OK;
}

static hp_status flip(void *self, uint8_t *data, size_t data_len, hp_out *out) {
    (void)self;
    (void)out;
    for (size_t i = 0; i < data_len; i++) {
        data[i] = (uint8_t)~data[i];
    }
    return HP_OK;
}

static hp_status is_long(void *self, const char *text, size_t text_len, int64_t most, bool *result, hp_out *out) {
    (void)self;
    (void)text;
    (void)out;
    const bool is = most < 0 || text_len > (uint64_t)most;
#if defined BOOL_IS_TWO
    memset(result, is + 2, 1);
#elif defined BOOL_IS_WIDE
    const int64_t wide = is;
    memcpy((void *)(uintptr_t)result, &wide, sizeof wide);
#else
    *result = is;
#endif
    return HP_OK;
}

#if defined FLAGS_ARE_UNKNOWN
#define FLAGS 1
#else
#define FLAGS 0
#endif

FAULTY_PLUGIN("faulty", "1.0.0", .flags = FLAGS, .create = create, .destroy = destroy, .query = query, .echo = echo, .mix = mix,
              .flip = flip, .is_long = is_long);
