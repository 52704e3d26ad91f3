/* The worker: a process that runs one plugin, and its main thread, which hears from the host on the control socket.
 *
 * Threads serve the channels (_serve.c). The process ends by _exit: destructors of a plugin never run, since they could
 * hang or crash.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "_load.h"
#include "_program.h"
#include "_serve.h"

enum { GIVEN = 5, COUNTER = 4096 }; /* descriptors of CONTROL_LOAD; bytes of the counter's memory */

static int spare = -1; /* a descriptor that gives its number to a channel's, where the plugin has taken all others */

_Noreturn void fail(const char *why) {
    say("hardpoint: ");
    say(why);
    say("\n");
    _exit(EXIT_OWN_FAULT);
}

_Noreturn void out_of_memory(void) {
    say("hardpoint: out of memory\n"); /* a plugin's own exit has the status without the line */
    _exit(EXIT_NO_MEMORY);
}

/* ---- loading ----------------------------------------------------------------------------------------------------- */

static void move(int fd, int to) {
    if (fd != to) {
        if (dup3(fd, to, O_CLOEXEC) < 0) {
            fail("a descriptor cannot be moved");
        }
        close(fd);
    }
}

/* Maps the channel; without memory for it there is no way to reply. */
static Channel *open_channel(int fd, const Control *control) {
    Channel *channel = channel_open(fd, control->half, control->room);
    if (channel == NULL) {
        out_of_memory();
    }
    return channel;
}

static uint64_t *open_counter(int fd) {
    void *counter = mmap(NULL, COUNTER, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (counter == MAP_FAILED) {
        out_of_memory();
    }
    close(fd);
    return counter;
}

/* Applies the recipe and reports it; true if the plugin may be opened, else the reply has the reason. */
static bool prepare(Channel *channel, const Recipe *recipe) {
    Applied applied = {0, 0, 0, 0};
    const int refused = limits_apply(recipe);
    title_set(recipe->title);
    const bool is_whole = refused == 0 && sandbox_apply(recipe, &applied);
    if (send(CONTROL_FD, &applied, sizeof applied, MSG_NOSIGNAL) < 0) {
        _exit(0); /* the host is gone */
    }
    if (refused != 0) {
        load_failed(channel, STAGE_FAILED, refused, "setrlimit");
    } else if (!is_whole) {
        load_failed(channel, STAGE_LACKING, 0, NULL);
    }
    return is_whole;
}

/* Starts the thread of the first channel, which sends the reply; without a plugin or a thread it is sent here. */
static void start_first(Channel *channel, bool is_loaded) {
    if (is_loaded) {
        const int error = serve_start(channel);
        if (error == 0) {
            return;
        }
        load_failed(channel, STAGE_FAILED, error, "pthread_create");
    }
    reply_publish(channel);
}

/* Before the plugin runs, and after each message. */
static void hold_spare(void) {
    if (spare < 0) {
        spare = fcntl(RECORDS_FD, F_DUPFD_CLOEXEC, RECORDS_FD + 1);
    }
}

static void load(const Control *control, const int *fds) {
    Recipe recipe;
    if (dup2(fds[1], STDOUT_FILENO) < 0 || dup2(fds[1], STDERR_FILENO) < 0) {
        fail("the output cannot be redirected");
    }
    Channel *channel = open_channel(fds[4], control);
    channel->word = CHANNEL_FIRST;
    recipe_read(&recipe, fds[4], offsetof(Request, values), control->size);
    uint64_t *dropped = open_counter(fds[3]);
    close(fds[4]);
    close(fds[1]);
    move(fds[0], LIBRARY_FD);
    move(fds[2], RECORDS_FD);
    hold_spare();
    const bool is_loaded = prepare(channel, &recipe) && plugin_load(channel, &recipe, dropped);
    recipe_drop(&recipe);
    start_first(channel, is_loaded);
}

/* ---- control ----------------------------------------------------------------------------------------------------- */

/* Starts a thread for a channel, or says on the channel why there is none. */
static void connect_channel(const Control *control, int fd) {
    Channel *channel = open_channel(fd, control);
    close(fd);
    const int error = serve_start(channel);
    if (error == 0) {
        return;
    }
    Reply *reply = channel->reply;
    reply->status = error;
    reply->flags = REPLY_NO_THREAD;
    reply->len = reply->scalar = reply->service = 0;
    channel->word = CHANNEL_FIRST;
    reply_publish(channel);
    channel_close(channel);
}

_Noreturn static void end(void) {
    if (instance.destroy != NULL) {
        instance.destroy(instance.self);
    }
    _exit(0);
}

/* The plugin closed the control socket. If it is not loaded, the reply that says so has to be read before the end. */
_Noreturn static void closed(void) {
    while (instance.methods == NULL) {
        pause();
    }
    fail("the plugin closed the connection to the host");
}

/* Waits for a message with the spare descriptor in hand, and receives it without: it may come with one. */
static void next_message(Control *control, int *fds, unsigned *count) {
    struct pollfd ready = {.fd = CONTROL_FD, .events = POLLIN};
    while (poll(&ready, 1, -1) < 0 && errno == EINTR) {
    }
    if ((ready.revents & POLLNVAL) != 0) {
        closed();
    }
    if (spare >= 0) {
        close(spare);
        spare = -1;
    }
    if (!message_receive(CONTROL_FD, control, sizeof *control, fds, GIVEN, count)) {
        _exit(0); /* the host is gone, or has given up this worker */
    }
}

_Noreturn void worker_main(void) {
    bool is_loading = true;
    for (;;) {
        Control control;
        int fds[GIVEN];
        unsigned count;
        next_message(&control, fds, &count);
        if (is_loading && control.kind == CONTROL_LOAD && count == GIVEN) {
            load(&control, fds);
            is_loading = false;
        } else if (!is_loading && control.kind == CONTROL_CONNECT && count == 1) {
            connect_channel(&control, fds[0]);
        } else if (control.kind == CONTROL_END) {
            end();
        } else {
            fail("a message from the host came without its descriptors: Isolation(files=) may be too few");
        }
        hold_spare();
    }
}
