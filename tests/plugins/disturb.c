/* A greeter whose constructor changes the state of the process that the environment variable DISTURB names. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <locale.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "greeter.h"

static char memory[65536];

static void ignore(int number) {
    (void)number;
}

static void change_signals(const char *what) {
    sigset_t all;
    sigfillset(&all);
    if (strcmp(what, "mask") == 0) {
        sigprocmask(SIG_BLOCK, &all, NULL);
    } else if (strcmp(what, "handler") == 0) {
        signal(SIGUSR1, ignore);
    } else if (strcmp(what, "caught") == 0) {
        signal(SIGINT, ignore);
    } else if (strcmp(what, "ignored") == 0) {
        signal(SIGPIPE, SIG_DFL);
    } else if (strcmp(what, "real-time") == 0) {
        signal(SIGRTMIN + 3, ignore);
    } else if (strcmp(what, "children") == 0) {
        const struct sigaction action = {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT};
        sigaction(SIGCHLD, &action, NULL);
    } else if (strcmp(what, "stack") == 0) {
        const stack_t stack = {.ss_sp = memory, .ss_size = sizeof memory};
        sigaltstack(&stack, NULL);
    }
}

static void change_timers(const char *what) {
    const struct itimerval soon = {.it_value = {.tv_sec = 1000}}, off = {0};
    if (strcmp(what, "alarm") == 0) {
        alarm(1000);
    } else if (strcmp(what, "timer") == 0) {
        setitimer(ITIMER_PROF, &soon, NULL);
    } else if (strcmp(what, "other timer") == 0) {
        timer_t timer;
        timer_create(CLOCK_MONOTONIC, NULL, &timer);
    } else if (strcmp(what, "no timer") == 0) {
        setitimer(ITIMER_VIRTUAL, &off, NULL);
    }
}

static void change_limits(const char *what) {
    struct rlimit limit;
    if (strcmp(what, "soft limit") == 0 && getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur -= 1;
        setrlimit(RLIMIT_NOFILE, &limit);
    } else if (strcmp(what, "hard limit") == 0 && getrlimit(RLIMIT_FSIZE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max = 1 << 20;
        setrlimit(RLIMIT_FSIZE, &limit);
    } else if (strcmp(what, "stack size") == 0 && getrlimit(RLIMIT_STACK, &limit) == 0) {
        limit.rlim_cur = 1 << 20;
        setrlimit(RLIMIT_STACK, &limit);
    } else if (strcmp(what, "scheduling") == 0) {
        const struct sched_param parameters = {0};
        sched_setscheduler(0, SCHED_BATCH, &parameters);
    } else if (strcmp(what, "niceness") == 0) {
        setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + 1);
    } else if (strcmp(what, "affinity") == 0) {
        cpu_set_t set, one;
        sched_getaffinity(0, sizeof set, &set);
        CPU_ZERO(&one);
        for (int cpu = 0; CPU_COUNT(&one) == 0; cpu++) {
            if (CPU_ISSET(cpu, &set)) {
                CPU_SET(cpu, &one);
            }
        }
        sched_setaffinity(0, sizeof one, &one);
    }
}

static void change_environment(const char *what) {
    static char text[] = "DISTURBED=here";
    if (strcmp(what, "new variable") == 0) {
        setenv("DISTURBED", "yes\n", 1);
    } else if (strcmp(what, "putenv") == 0) {
        putenv(text);
    } else if (strcmp(what, "variable") == 0) {
        setenv("HOME", "/nowhere", 1);
    } else if (strcmp(what, "no variable") == 0) {
        unsetenv("HOME");
    } else if (strcmp(what, "in place") == 0) {
        getenv("HOME")[0] = 'X';
    } else if (strcmp(what, "no environment") == 0) {
        clearenv();
    }
}

static void change_descriptors(const char *what) {
    if (strcmp(what, "stdout") == 0) {
        dup2(open("/dev/null", O_WRONLY), 1);
    } else if (strcmp(what, "stderr") == 0) {
        close(2);
    } else if (strcmp(what, "blocking") == 0) {
        fcntl(0, F_SETFL, fcntl(0, F_GETFL) | O_NONBLOCK);
    } else if (strcmp(what, "terminal") == 0) {
        struct termios settings;
        tcgetattr(0, &settings);
        settings.c_lflag &= ~(tcflag_t)ECHO;
        tcsetattr(0, TCSANOW, &settings);
    } else if (strcmp(what, "at exec") == 0) {
        fcntl(2, F_SETFD, FD_CLOEXEC);
    } else if (strcmp(what, "opens") == 0) {
        (void)!open("/dev/null", O_RDONLY);
    } else if (strcmp(what, "closes") == 0) {
        for (int fd = 3; fd < 100; fd++) {
            close(fd);
        }
    } else if (strcmp(what, "reopens") == 0) {
        for (int fd = 3; fd < 100; fd++) {
            dup2(0, fd);
        }
    } else if (strcmp(what, "prints") == 0) {
        printf("loaded\n");
    } else if (strcmp(what, "writes") == 0) {
        (void)!write(2, "loaded\n", 7);
    }
}

static void *wait_for_ever(void *unused) {
    return pause(), unused;
}

static void change_process(const char *what) {
    if (strcmp(what, "personality") == 0) {
        personality(ADDR_NO_RANDOMIZE);
    } else if (strcmp(what, "subreaper") == 0) {
        prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    } else if (strcmp(what, "parent") == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
    } else if (strcmp(what, "slack") == 0) {
        prctl(PR_SET_TIMERSLACK, 1000000, 0, 0, 0);
    } else if (strcmp(what, "huge pages") == 0) {
        prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    } else if (strcmp(what, "root") == 0) {
        (void)!chroot("/usr");
    } else if (strcmp(what, "thread") == 0) {
        pthread_t thread;
        pthread_create(&thread, NULL, wait_for_ever, NULL);
    }
}

__attribute__((constructor)) static void disturb(void) {
    const char *what = getenv("DISTURB");
    if (what == NULL) {
        return;
    }
    change_signals(what);
    change_timers(what);
    change_limits(what);
    change_descriptors(what);
    change_process(what);
    if (strcmp(what, "umask") == 0) {
        umask(0);
    } else if (strcmp(what, "name") == 0) {
        prctl(PR_SET_NAME, "disturbed");
    } else if (strcmp(what, "dumpable") == 0) {
        prctl(PR_SET_DUMPABLE, 0);
    } else if (strcmp(what, "privileges") == 0) {
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    } else if (strcmp(what, "user") == 0) {
        (void)!seteuid(65534);
    } else if (strcmp(what, "group") == 0) {
        setpgid(0, 0);
    } else if (strcmp(what, "locale") == 0) {
        uselocale(newlocale(LC_ALL_MASK, "C", (locale_t)0));
    }
    change_environment(what); /* last: it may free what getenv gave */
}

static hp_status greet(void *self, const char *name, size_t name_len, hp_out *out) {
    return (void)self, hp_write(out, name, name_len);
}
static hp_status lang(void *self, hp_out *out) {
    return (void)self, hp_puts(out, "English");
}

GREETER_PLUGIN("disturb", "1.0.0", .greet = greet, .lang = lang);
