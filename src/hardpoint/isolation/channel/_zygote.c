/* The zygote: the process that forks workers, and reports their ends; it ends with the host.
 *
 * To fork a host that may have threads is unsafe, and to start this program for each worker takes three times as long.
 * It runs no code of plugins.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "_zygote.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "_program.h"
#include "_serve.h"

/* For headers older than the kernel. */
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

/* oom_score_adj (proc(5)), in thousandths of all memory: added to the host's for a worker, and the highest. */
enum { OOM_SCORE = 500, OOM_MOST = 1000 };

void close_from(unsigned first) {
    if (syscall(SYS_close_range, first, ~0U, 0) == 0) {
        return;
    }
    DIR *folder = opendir("/proc/self/fd"); /* before Linux 5.9, or where a container profile refuses it */
    if (folder == NULL) {
        struct rlimit limit = {.rlim_cur = 1024};
        getrlimit(RLIMIT_NOFILE, &limit);
        for (unsigned fd = first; fd < limit.rlim_cur && fd < 1 << 20; fd++) {
            close((int)fd);
        }
        return;
    }
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        const long fd = strtol(entry->d_name, NULL, 10);
        if (fd >= (long)first && fd != dirfd(folder)) {
            close((int)fd);
        }
    }
    closedir(folder);
}

void die_with(pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != parent) {
        _exit(0);
    }
}

/* ---- workers ----------------------------------------------------------------------------------------------------- */

/* Adds OOM_SCORE to the host's score, so that the kernel kills the worker first when memory runs out. A host that has
 * the highest score already, as in some containers, is as likely to be killed. */
static void raise_oom_score(void) {
    char text[16] = "";
    const int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
    if (fd >= 0) {
        if (pread(fd, text, sizeof text - 1, 0) > 0) {
            const long hosts = strtol(text, NULL, 10), more = OOM_SCORE + (hosts > 0 ? hosts : 0);
            dprintf(fd, "%ld", more < OOM_MOST ? more : (long)OOM_MOST); /* without it the worker still works */
        }
        close(fd);
    }
}

_Noreturn static void become_worker(pid_t zygote, int control) {
    sigset_t none;
    die_with(zygote);
    signal(SIGCHLD, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (dup2(control, CONTROL_FD) < 0 || fcntl(CONTROL_FD, F_SETFD, FD_CLOEXEC) != 0) {
        _exit(EXIT_OWN_FAULT);
    }
    close_from(CONTROL_FD + 1);
    raise_oom_score();
    worker_main();
}

/* Sends a notice, with a descriptor unless `fd` is -1; ends the process if the host is gone. */
static void tell(int control, const Notice *notice, int fd) {
    if (!message_send(control, notice, sizeof *notice, fd)) {
        _exit(0);
    }
}

/* Forks a worker with its end of a control socket, and answers. */
static void fork_worker(int control, int theirs) {
    const pid_t zygote = getpid();
    Notice notice = {.kind = ZYGOTE_FORKED, .status = FAILED_FORK, .pid = theirs < 0 ? -EMFILE : 0};
    int pidfd = -1;
    if (theirs >= 0) {
        notice.pid = fork();
        if (notice.pid == 0) {
            become_worker(zygote, theirs);
        }
        notice.pid = notice.pid < 0 ? -errno : notice.pid;
        close(theirs);
    }
    if (notice.pid > 0) {
        pidfd = (int)syscall(SYS_pidfd_open, notice.pid, 0);
        notice.status = 0;
    }
    if (notice.pid > 0 && pidfd < 0) {
        const int why = errno;
        kill(notice.pid, SIGKILL);
        waitpid(notice.pid, NULL, 0);
        notice.pid = -why;
        notice.status = FAILED_PIDFD;
    }
    tell(control, &notice, pidfd);
    if (pidfd >= 0) {
        close(pidfd);
    }
}

static void reap(int control) {
    Notice notice = {.kind = ZYGOTE_ENDED};
    while ((notice.pid = waitpid(-1, &notice.status, WNOHANG)) > 0) {
        tell(control, &notice, -1);
    }
}

/* Answers one request; false if the host has closed the socket. */
static bool answer(int control) {
    Notice request;
    int theirs = -1;
    unsigned count;
    if (!message_receive(control, &request, sizeof request, &theirs, 1, &count)) {
        return false;
    }
    if (request.kind == ZYGOTE_FORK) {
        fork_worker(control, count == 1 ? theirs : -1);
    } else if (count == 1) {
        close(theirs);
    }
    return true;
}

/* ---- the process ------------------------------------------------------------------------------------------------- */

static void on_child(int number) {
    (void)number; /* a handler is needed to interrupt ppoll */
}

/* Sets UTF-8 for the C library, as Python does. */
static void set_locale(void) {
    const char *name = setlocale(LC_CTYPE, "");
    if (name == NULL || strcmp(name, "C") == 0 || strcmp(name, "POSIX") == 0) {
        setlocale(LC_CTYPE, "C.UTF-8");
    }
}

static void set_signals(sigset_t *before) {
    struct sigaction action = {.sa_handler = on_child};
    sigset_t child;
    signal(SIGPIPE, SIG_IGN); /* as in Python's process: a plugin gets EPIPE */
    signal(SIGXFSZ, SIG_IGN);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, before); /* outside of ppoll, so that none is missed */
    sigdelset(before, SIGCHLD);
    sigaction(SIGCHLD, &action, NULL);
}

static int move_control(int control) {
    int fd;
    do { /* a host without stderr: a number below 3 would be taken for it */
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    } while (fd >= 0 && fd < CONTROL_FD);
    if (control != CONTROL_FD && dup2(control, CONTROL_FD) < 0) {
        return -1;
    }
    fcntl(CONTROL_FD, F_SETFD, FD_CLOEXEC);
    close_from(CONTROL_FD + 1);
    return CONTROL_FD;
}

int zygote_main(char **argv, pid_t host, int control) {
    sigset_t waiting;
    char title[40];
    snprintf(title, sizeof title, "hardpoint: zygote of %d", (int)host);
    control = move_control(control);
    setsid(); /* a Ctrl-C in the terminal must reach the host only */
    die_with(host);
    title_keep(argv);
    title_set(title);
    set_locale();
    serve_prepare();
    crash_install();
    (void)crash_guard();
    set_signals(&waiting);
    struct pollfd ready[2] = {{.fd = control, .events = POLLIN}, {.events = POLLIN}};
    ready[1].fd = (int)syscall(SYS_pidfd_open, host, 0); /* -1 if refused: the signal and the socket suffice */
    for (;;) {
        if (ppoll(ready, 2, NULL, &waiting) < 0) {
            ready[0].revents = ready[1].revents = 0; /* after an error they are not set */
        }
        reap(control);
        if (ready[1].revents != 0 || (ready[0].revents != 0 && !answer(control))) {
            return 0;
        }
    }
}
