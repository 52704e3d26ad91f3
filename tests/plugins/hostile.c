/* A plugin for the contract of tests/support/hostile.py. Variants: -DSERIAL, -DRELEASE="2.0.0". */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "hostile.h"

#ifndef RELEASE
#define RELEASE "1.0.0"
#endif
#ifdef SERIAL
#define FLAGS .flags = HP_SERIAL,
#else
#define FLAGS
#endif

static int calls;
static const hp_host *the_host;

static int overflow(volatile char *above) {
    volatile char frame[4096];
    frame[0] = above != NULL ? above[0] : 0;
    return overflow(frame) + frame[0];
}

static void spin(void) {
    for (;;) {
    }
}

static void freeze(void) {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    for (;;) {
        pause();
    }
}

static void daemonise(void) {
    if (fork() == 0) {
        setsid();
        if (fork() == 0) {
            for (;;) {
                pause();
            }
        }
        _exit(0);
    }
}

/* Start a child that exits, to cause a SIGCHLD. */
static void child(void) {
    pid_t pid = fork();
    if (pid == 0) {
        _exit(0);
    }
    usleep(50000);
}

static void eat(void) {
    for (;;) {
        char *memory = malloc(1 << 20);
        if (memory == NULL) {
            abort();
        }
        memset(memory, 1, 1 << 20);
    }
}

static void flood(void) {
    static const char line[] = "flood flood flood flood flood flood flood flood flood flood flood\n";
    for (;;) {
        if (write(1, line, sizeof line - 1) < 0) {
            _exit(9);
        }
    }
}

/* Send a malformed frame to every descriptor that could be a socket. */
static void babble(void) {
    for (int fd = 3; fd < 64; fd++) {
        if (send(fd, "\x93\x00\xc1\xff", 4, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
            continue;
        }
    }
}

static void harm(const char *what) {
#define IS(word) (strcmp(what, word) == 0)
    if (IS("segv")) {
        volatile int *volatile nowhere = NULL;
        *nowhere = 1;
    } else if (IS("bus")) {
        raise(SIGBUS);
    } else if (IS("ill")) {
        raise(SIGILL);
    } else if (IS("fpe")) {
        raise(SIGFPE);
    } else if (IS("abort")) {
        abort();
    } else if (IS("overflow")) {
        overflow(NULL);
    } else if (IS("exit")) {
        exit(0);
    } else if (IS("_exit")) {
        _exit(3);
    } else if (IS("kill")) {
        kill(getpid(), SIGKILL);
    } else if (IS("spin")) {
        spin();
    } else if (IS("pause")) {
        pause();
    } else if (IS("linger")) {
        usleep(300000);
    } else if (IS("freeze")) {
        freeze();
    } else if (IS("stop")) {
        raise(SIGSTOP);
    } else if (IS("flood")) {
        flood();
    } else if (IS("close")) {
        for (int fd = 0; fd < 4096; fd++) {
            close(fd);
        }
    } else if (IS("daemon")) {
        daemonise();
    } else if (IS("eat")) {
        eat();
    } else if (IS("alarm")) {
        ualarm(100000, 0);
        for (;;) {
            pause();
        }
    } else if (IS("handlers")) {
        for (int number = 1; number < 32; number++) {
            signal(number, SIG_IGN);
        }
        spin();
    } else if (IS("babble")) {
        babble();
    } else if (IS("child")) {
        child();
    } else if (IS("parent")) {
        kill(getppid(), SIGKILL);
        pause();
    } else if (IS("log")) {
        if (write(1, "a line\n", 7) > 0) {
            usleep(50000);
            hp_log(the_host, 40, "a record, and nothing after it");
        }
        abort();
    } else if (IS("last words")) {
        static const char words[] = "these are my last words\n";
        if (write(2, words, sizeof words - 1) > 0) {
            abort();
        }
    }
#undef IS
}

typedef struct {
    char at_end[64];
} hostile;

static hp_status create(const hp_host *host, const char *config, size_t config_len, void **self, hp_out *out) {
    char what[512] = "";
    hostile *made = calloc(1, sizeof *made);
    (void)out;
    the_host = host;
    if (made == NULL) {
        return HP_NO_MEMORY;
    }
    if (config != NULL && config_len < sizeof what) {
        memcpy(what, config, config_len);
    }
    if (strncmp(what, "create:", 7) == 0) {
        harm(what + 7);
    } else if (strncmp(what, "destroy:", 8) == 0) {
        snprintf(made->at_end, sizeof made->at_end, "%.63s", what + 8);
    } else if (strncmp(what, "if:", 3) == 0 && access(what + 3, F_OK) == 0) {
        abort();
    }
    *self = made;
    return HP_OK;
}

static void destroy(void *self) {
    harm(((hostile *)self)->at_end);
    free(self);
}

static hp_status harm_(void *self, const char *what, size_t what_len, hp_out *out) {
    char text[64] = "";
    (void)self;
    calls++;
    memcpy(text, what, what_len < sizeof text ? what_len : sizeof text - 1);
    harm(text);
    return hp_puts(out, "alive");
}

static hp_status write_(void *self, const char *text, size_t text_len, int64_t times, hp_out *out) {
    (void)self;
    for (int64_t turn = 0; turn < times; turn++) {
        for (int fd = 1; fd <= 2; fd++) {
            if (write(fd, text, text_len) < 0) {
                return hp_fail(out, HP_FAILED, "errno %d", errno);
            }
        }
    }
    return HP_OK;
}

static hp_status count(void *self, int64_t *result, hp_out *out) {
    (void)self, (void)out;
    *result = ++calls;
    return HP_OK;
}

static hp_status pid(void *self, int64_t *result, hp_out *out) {
    (void)self, (void)out;
    *result = getpid();
    return HP_OK;
}

static hp_status release(void *self, hp_out *out) {
    (void)self;
    return hp_puts(out, RELEASE);
}

/* Sleep, and return the process id. */
static hp_status nap(void *self, int64_t milliseconds, int64_t *result, hp_out *out) {
    (void)self, (void)out;
    usleep((useconds_t)(milliseconds * 1000));
    *result = getpid();
    return HP_OK;
}

static hp_status chat(void *self, int64_t level, const char *text, size_t text_len, int64_t times, hp_out *out) {
    (void)self, (void)out;
    for (int64_t turn = 0; turn < times; turn++) {
        hp_log(the_host, (int)level, "%.*s", (int)text_len, text);
    }
    return HP_OK;
}

HOSTILE_PLUGIN("hostile", RELEASE, FLAGS .create = create, .destroy = destroy, .harm = harm_, .write = write_,
               .count = count, .pid = pid, .release = release, .nap = nap, .chat = chat);
