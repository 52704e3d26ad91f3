/* See _process_state.h. A library's start-up code should leave the process alone; what it changed is put back, and the
 * host warns of it, by the bits that the worker reports. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "_process_state.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "_program.h"

static const int limits[STATE_LIMITS] = {RLIMIT_CPU, RLIMIT_FSIZE, RLIMIT_NOFILE, RLIMIT_AS};

/* ---- floating point: rounding, traps, denormals; flags that any computation sets do not count ------------------- */

#if defined __x86_64__
enum { MXCSR_FLAGS = 0x3F };

/* The x87 control word, and MXCSR. */
static uint64_t floating_take(void) {
    uint16_t control;
    uint32_t vector;
    __asm__ volatile("fnstcw %0" : "=m"(control));
    __asm__ volatile("stmxcsr %0" : "=m"(vector));
    return (uint64_t)control << 32 | (vector & ~(uint32_t)MXCSR_FLAGS);
}

static void floating_set(uint64_t floating) {
    const uint16_t control = (uint16_t)(floating >> 32);
    const uint32_t vector = (uint32_t)floating;
    __asm__ volatile("fldcw %0" : : "m"(control));
    __asm__ volatile("ldmxcsr %0" : : "m"(vector));
}
#elif defined __aarch64__
static uint64_t floating_take(void) {
    uint64_t control;
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    return control;
}

static void floating_set(uint64_t floating) {
    __asm__ volatile("msr fpcr, %0" : : "r"(floating));
}
#else
#error "hardpoint runs on x86-64 and AArch64"
#endif

/* ---- signals ----------------------------------------------------------------------------------------------------- */

/* glibc keeps signals 32 and 33 to itself. */
static bool is_own(int number) {
    return number == SIGKILL || number == SIGSTOP || number == 32 || number == 33;
}

static void handlers_take(Handler *handlers) {
    memset(handlers, 0, STATE_SIGNALS * sizeof *handlers);
    for (int number = 1; number <= STATE_SIGNALS; number++) {
        syscall(SYS_rt_sigaction, number, NULL, &handlers[number - 1], 8);
    }
}

static bool handlers_restore(const Handler *before) {
    Handler now[STATE_SIGNALS];
    bool changed = false;
    handlers_take(now);
    for (int number = 1; number <= STATE_SIGNALS; number++) {
        if (!is_own(number) && memcmp(&before[number - 1], &now[number - 1], sizeof *now) != 0) {
            syscall(SYS_rt_sigaction, number, &before[number - 1], NULL, 8);
            changed = true;
        }
    }
    return changed;
}

static bool mask_restore(const sigset_t *before) {
    sigset_t now;
    pthread_sigmask(SIG_SETMASK, before, &now);
    for (int number = 1; number <= STATE_SIGNALS; number++) {
        if (!is_own(number) && sigismember(before, number) != sigismember(&now, number)) {
            return true;
        }
    }
    return false;
}

/* ---- environment ------------------------------------------------------------------------------------------------- */

static char *environment_take(void) {
    size_t size = 1;
    for (char **each = environ; each != NULL && *each != NULL; each++) {
        size += strlen(*each) + 1;
    }
    char *texts = calloc(1, size), *at = texts;
    if (texts == NULL) {
        out_of_memory();
    }
    for (char **each = environ; each != NULL && *each != NULL; each++) {
        at = stpcpy(at, *each) + 1;
    }
    return texts;
}

/* The text of the variable that `text` begins with, among others; NULL if it is not there. */
static const char *environment_find(const char *texts, const char *text) {
    const size_t size = strcspn(text, "=");
    for (const char *each = texts; *each != '\0'; each += strlen(each) + 1) {
        if (strncmp(each, text, size) == 0 && (each[size] == '=' || each[size] == '\0')) {
            return each;
        }
    }
    return NULL;
}

/* Sets the variables of `texts` that `others` does not have alike, or removes those that it lacks. */
static bool environment_apply(const char *texts, const char *others, bool remove) {
    bool changed = false;
    for (const char *each = texts; *each != '\0'; each += strlen(each) + 1) {
        const char *other = environment_find(others, each), *value = strchr(each, '=');
        char *name = strndup(each, strcspn(each, "="));
        if (name == NULL) {
            out_of_memory();
        }
        if (remove && other == NULL) {
            changed = true;
            unsetenv(name);
        } else if (!remove && (other == NULL || strcmp(each, other) != 0)) {
            changed = true;
            setenv(name, value == NULL ? "" : value + 1, 1);
        }
        free(name);
    }
    return changed;
}

static bool environment_restore(const char *before) {
    char *now = environment_take();
    const bool added = environment_apply(now, before, true);
    const bool changed = environment_apply(before, now, false);
    free(now);
    return added || changed;
}

/* ---- the rest ---------------------------------------------------------------------------------------------------- */

static mode_t umask_now(void) {
    const mode_t now = umask(077); /* there is no call that only reads it */
    umask(now);
    return now;
}

static void folder_take(char *folder) {
    if (getcwd(folder, PATH_MAX) == NULL) { /* it was removed */
        folder[0] = '\0';
    }
}

static bool folder_restore(const char *before) {
    char now[PATH_MAX];
    folder_take(now);
    if (strcmp(before, now) == 0) {
        return false;
    }
    const int ignored = before[0] == '\0' ? 0 : chdir(before); /* it may be gone */
    (void)ignored;
    return true;
}

static bool locale_restore(const State *before) {
    bool changed = uselocale((locale_t)0) != before->thread_locale;
    const char *now = setlocale(LC_ALL, NULL);
    if (changed) {
        uselocale(before->thread_locale);
    }
    if (before->locale != NULL && now != NULL && strcmp(before->locale, now) != 0) {
        setlocale(LC_ALL, before->locale);
        changed = true;
    }
    return changed;
}

/* A worker starts without timers (fork(2)), and those that ran on would be the library's. */
static bool timers_restore(const struct itimerval *before) {
    bool changed = false;
    for (int number = 0; number < STATE_TIMERS; number++) {
        struct itimerval now;
        getitimer((__itimer_which_t)number, &now);
        if (memcmp(&now.it_interval, &before[number].it_interval, sizeof now.it_interval) != 0 ||
            timerisset(&now.it_value) != timerisset(&before[number].it_value)) {
            setitimer((__itimer_which_t)number, &before[number], NULL);
            changed = true;
        }
    }
    return changed;
}

static bool limits_restore(const struct rlimit *before) {
    bool changed = false;
    for (int index = 0; index < STATE_LIMITS; index++) {
        struct rlimit now;
        getrlimit((__rlimit_resource_t)limits[index], &now);
        if (now.rlim_cur != before[index].rlim_cur || now.rlim_max != before[index].rlim_max) {
            setrlimit((__rlimit_resource_t)limits[index], &before[index]);
            changed = true;
        }
    }
    return changed;
}

void state_take(State *state) {
    const char *locale = setlocale(LC_ALL, NULL);
    state->floating = floating_take();
    handlers_take(state->handlers);
    pthread_sigmask(SIG_SETMASK, NULL, &state->blocked);
    state->locale = locale == NULL ? NULL : strdup(locale);
    state->thread_locale = uselocale((locale_t)0);
    state->environment = environment_take();
    state->umask = umask_now();
    folder_take(state->folder);
    for (int number = 0; number < STATE_TIMERS; number++) {
        getitimer((__itimer_which_t)number, &state->timers[number]);
    }
    for (int index = 0; index < STATE_LIMITS; index++) {
        getrlimit((__rlimit_resource_t)limits[index], &state->limits[index]);
    }
}

uint32_t state_restore(State *state) {
    uint32_t changed = 0;
    if (floating_take() != state->floating) {
        floating_set(state->floating);
        changed |= CHANGED_FLOATING;
    }
    changed |= handlers_restore(state->handlers) ? CHANGED_HANDLERS : 0;
    changed |= mask_restore(&state->blocked) ? CHANGED_MASK : 0;
    changed |= locale_restore(state) ? CHANGED_LOCALE : 0;
    changed |= folder_restore(state->folder) ? CHANGED_FOLDER : 0;
    changed |= umask_now() != state->umask ? CHANGED_UMASK : 0;
    changed |= timers_restore(state->timers) ? CHANGED_TIMERS : 0;
    changed |= limits_restore(state->limits) ? CHANGED_LIMITS : 0;
    changed |= environment_restore(state->environment) ? CHANGED_ENVIRONMENT : 0;
    umask(state->umask);
    free(state->locale);
    free(state->environment);
    return changed;
}
