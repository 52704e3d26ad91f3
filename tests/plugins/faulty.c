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

static hp_status create(const hp_host *host, const char *config, size_t config_len, void **self, hp_out *out) {
    (void)host;
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

FAULTY_PLUGIN("faulty", "1.0.0", .create = create, .destroy = destroy, .query = query, .echo = echo, .mix = mix,
              .flip = flip, .is_long = is_long);
