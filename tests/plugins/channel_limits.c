/* A channel where the system gives less: `channel_limits LIMIT`, or `channel_limits list`.
 *
 * Each row says at which step hp_channel_open or a send fails, and with which errno. Nothing may be left after that.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "_host.h"

enum { MIB = 1 << 20, HALF = 8 * MIB, OPENED = 0 };

typedef struct Row Row;
struct Row {
    const char *name;
    void (*limit)(const Row *);
    int step, error; /* OPENED: it opens */
    int64_t value;
};

#define CHECK(condition) ((condition) ? (void)0 : failed(__LINE__, #condition))

_Noreturn static void failed(int line, const char *condition) {
    fprintf(stderr, "%d: %s is false (errno %d)\n", line, condition, errno);
    _exit(1);
}

static int count_descriptors(void) {
    int count = 0;
    for (int fd = 0; fd < 1000; fd++) {
        count += fcntl(fd, F_GETFD) >= 0;
    }
    return count;
}

/* Pages of address space. */
static long count_pages(void) {
    char text[64] = "";
    const int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0 && read(fd, text, sizeof text - 1) > 0);
    close(fd);
    return strtol(text, NULL, 10);
}

/* ---- limits ------------------------------------------------------------------------------------------------------ */

static void set(int resource, rlim_t value) {
    struct rlimit limit;
    CHECK(getrlimit(resource, &limit) == 0);
    limit.rlim_cur = value;
    CHECK(setrlimit(resource, &limit) == 0);
}

static void limit_files(const Row *row) {
    const int next = dup(0);
    CHECK(next >= 0 && close(next) == 0);
    set(RLIMIT_NOFILE, (rlim_t)(next + row->value));
}

static void limit_size(const Row *row) {
    signal(SIGXFSZ, SIG_IGN); /* as Python does */
    set(RLIMIT_FSIZE, (rlim_t)row->value);
}

static void limit_memory(const Row *row) {
    set(RLIMIT_AS, (rlim_t)(count_pages() * sysconf(_SC_PAGESIZE) + row->value));
}

static void use_up_memory(const Row *row) {
    char *volatile last; /* else clang leaves the loop out */
    limit_memory(row);
    do {
        last = malloc(64);
    } while (last != NULL);
}

/* Refuses a system call, `value`, as container profiles do that do not know it. For fcntl only F_ADD_SEALS. */
static void refuse(const Row *row) {
    const uint32_t number = (uint32_t)row->value, command = row->value == SYS_fcntl ? F_ADD_SEALS : 0;
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, command, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, command == 0 ? MFD_CLOEXEC | MFD_ALLOW_SEALING : command, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)row->error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof code[0], code};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

static const Row rows[] = {
    {"descriptors", limit_files, OPEN_MEMFD, EMFILE, 0},
    {"one-descriptor", limit_files, OPENED, 0, 1},
    {"file-size", limit_size, OPEN_SIZE, EFBIG, 2 * HALF - 1},
    {"file-size-that-is-enough", limit_size, OPENED, 0, 2 * HALF},
    {"memory", limit_memory, OPEN_MAP, ENOMEM, MIB},
    {"memory-for-one-half", limit_memory, OPEN_MAP, ENOMEM, 3 * MIB},
    {"memory-that-is-enough", limit_memory, OPENED, 0, 5 * MIB},
    {"memory-used-up", use_up_memory, OPEN_MEMORY, ENOMEM, MIB},
    {"memfd-refused", refuse, OPEN_MEMFD, ENOSYS, SYS_memfd_create},
    {"memfd-not-permitted", refuse, OPEN_MEMFD, EPERM, SYS_memfd_create},
    {"seals-refused", refuse, OPEN_SEALS, EPERM, SYS_fcntl},
};

static void run(const Row *row) {
    int error = 0;
    free(malloc(1024)); /* the heap exists */
    row->limit(row);
    const int descriptors = count_descriptors();
    hp_channel *channel = hp_channel_open(HALF, HALF, &error);
    if (row->step == OPENED) {
        CHECK(channel != NULL);
        hp_channel_close(channel);
    } else {
        CHECK(channel == NULL && (error & 0xFF) == row->step && error >> 8 == row->error);
    }
    CHECK(count_descriptors() == descriptors);
}

/* ---- sends ------------------------------------------------------------------------------------------------------- */

/* A request that is too large, or for which the limit was lowered later: refused, and the channel is as good as before. */
static void send_too_much(void) {
    static char text[4 * MIB];
    int error;
    hp_channel *channel = hp_channel_open(HALF, HALF, &error);
    const hp_value large = {text, HALF}, huge = {text, UINT64_MAX}, some = {text, sizeof text}, small = {text, 10};
    const hp_value twice[2] = {{text, HALF - 64}, {text, 64}};
    const Row row = {.value = 3 * MIB};
    CHECK(channel != NULL);
    CHECK(hp_channel_send(channel, 1, &large, 1) == EFBIG && hp_channel_send(channel, 1, &huge, 1) == EFBIG);
    CHECK(hp_channel_send(channel, 1, &some, 1) == 0 && hp_channel_send(channel, 1, &small, 1) == 0);
    CHECK(hp_channel_offset(twice, 2, 0) == 32 && hp_channel_offset(twice, 2, 1) == HALF - 32);
    CHECK(hp_channel_read(channel, 0, HALF, text, 1) == EFBIG && hp_channel_read(channel, 1, UINT64_MAX - 40, text, 9) == EFBIG);
    limit_size(&row);
    CHECK(hp_channel_send(channel, 1, &some, 1) == EFBIG && hp_channel_send(channel, 1, &small, 1) == 0);
    hp_channel_close(channel);
}

static void open_and_close(void) {
    const int descriptors = count_descriptors();
    long pages = 0;
    for (int round = 0; round < 10000; round++) {
        int error;
        hp_channel *channel = hp_channel_open(HALF, HALF, &error);
        CHECK(channel != NULL);
        hp_channel_close(channel);
        pages = round == 9 ? count_pages() : pages;
    }
    CHECK(count_descriptors() == descriptors && count_pages() <= pages);
}

int main(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : "list";
    for (size_t index = 0; index < sizeof rows / sizeof rows[0]; index++) {
        if (strcmp(name, "list") == 0) {
            puts(rows[index].name);
        } else if (strcmp(name, rows[index].name) == 0) {
            run(&rows[index]);
            return 0;
        }
    }
    if (strcmp(name, "sends") == 0) {
        send_too_much();
    } else if (strcmp(name, "loop") == 0) {
        open_and_close();
    } else {
        return strcmp(name, "list") == 0 ? 0 : 2;
    }
    return 0;
}
