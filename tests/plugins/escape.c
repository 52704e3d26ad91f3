/* A plugin that tries to escape from the sandbox: one attempt a call, named by the first argument. Returns `done`, or
 * the name of the errno. Variant: -DAT_START crashes a thread while the library is being loaded. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <iconv.h>
#include <linux/capability.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <locale.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "escape.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
extern char **environ;

/* ---- files: each attempt returns the result of its last system call ---------------------------------------------- */

static long open_and_close(const char *path, int flags) {
    const int fd = open(path, flags | O_CLOEXEC, 0600);
    return fd < 0 ? fd : close(fd);
}

static long try_read(const char *path) { return open_and_close(path, O_RDONLY); }
static long try_write(const char *path) { return open_and_close(path, O_WRONLY); }
static long try_make(const char *path) { return open_and_close(path, O_WRONLY | O_CREAT | O_EXCL); }
static long try_remove(const char *path) { return unlink(path); }
static long try_make_folder(const char *path) { return mkdir(path, 0700); }
static long try_truncate(const char *path) { return truncate(path, 0); }
static long try_chmod(const char *path) { return chmod(path, 0600); }
static long try_utimes(const char *path) { return utimes(path, NULL); }
static long try_list(const char *path) {
    DIR *folder = opendir(path);
    return folder == NULL ? -1 : closedir(folder);
}

/* A lease stops others who open the file, for up to 45 s. */
static long on_file(const char *path, int command, long argument) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const int result = fd < 0 ? fd : fcntl(fd, command, argument);
    const int reason = errno;
    close(fd);
    errno = reason;
    return result;
}

static long try_lease(const char *path) { return on_file(path, F_SETLEASE, F_RDLCK); }
static long try_notify(const char *path) { return on_file(path, F_NOTIFY, DN_CREATE); }
static long try_watch(const char *path) {
    const int fd = inotify_init1(IN_CLOEXEC);
    if (fd < 0) {
        return fd;
    }
    const int result = inotify_add_watch(fd, path, IN_OPEN);
    close(fd);
    return result < 0 ? -1 : 0;
}

static long try_flags(const char *path) { /* of a file that is only read */
    int flags = 0;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return fd;
    }
    ioctl(fd, FS_IOC_GETFLAGS, &flags); /* refused in the sandbox, too */
    const int result = ioctl(fd, FS_IOC_SETFLAGS, &flags);
    const int reason = errno;
    close(fd);
    errno = reason;
    return result;
}

/* ---- the network ------------------------------------------------------------------------------------------------- */

static long try_socket(const char *family) {
    const int fd = socket(atoi(family), atoi(family) == AF_NETLINK ? SOCK_RAW : SOCK_STREAM, 0);
    return fd < 0 ? fd : close(fd);
}

static long try_connect(const char *port) {
    const struct sockaddr_in there = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    return fd < 0 ? fd : connect(fd, (const struct sockaddr *)&there, sizeof there);
}

/* Send a datagram to a socket with a path, from one end of a pair, which needs no socket(). */
static long send_to(const char *path, bool by_message) {
    struct sockaddr_un there = {.sun_family = AF_UNIX};
    int pair[2];
    snprintf(there.sun_path, sizeof there.sun_path, "%s", path);
    struct iovec data = {"x", 1};
    const struct msghdr message = {
        .msg_name = &there, .msg_namelen = sizeof there, .msg_iov = &data, .msg_iovlen = 1};
    if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) != 0) {
        return -1;
    }
    const ssize_t sent = by_message ? sendmsg(pair[0], &message, 0)
                                    : sendto(pair[0], "x", 1, 0, (struct sockaddr *)&there, sizeof there);
    return sent < 0 ? -1 : 0;
}

/* The same, by connecting one end of the pair to that socket. */
static long try_redirect(const char *path) {
    struct sockaddr_un there = {.sun_family = AF_UNIX};
    int pair[2];
    snprintf(there.sun_path, sizeof there.sun_path, "%s", path);
    for (int kind = SOCK_DGRAM; kind <= SOCK_RAW; kind++) { /* SOCK_RAW makes the same, for BSD's sake */
        if (socketpair(AF_UNIX, kind, 0, pair) == 0) {
            return connect(pair[0], (struct sockaddr *)&there, sizeof there);
        }
    }
    return -1;
}

static long try_records(const char *path) { /* the same, by the sockets that it was born with */
    struct sockaddr_un there = {.sun_family = AF_UNIX};
    snprintf(there.sun_path, sizeof there.sun_path, "%s", path);
    int refused = EBADF;
    for (int fd = 3; fd < 64; fd++) {
        if (sendto(fd, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&there, sizeof there) >= 0) {
            int kind = 0;
            socklen_t size = sizeof kind;
            getsockopt(fd, SOL_SOCKET, SO_TYPE, &kind, &size);
            if (kind == SOCK_DGRAM) {
                return 0;
            }
        } else if (errno == EPERM) {
            refused = EPERM;
        }
    }
    errno = refused;
    return -1;
}

static long try_sendto(const char *path) { return send_to(path, false); }
static long try_sendmsg(const char *path) { return send_to(path, true); }

static long try_pair(const char *unused) {
    char byte = 0;
    int pair[2];
    (void)unused;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0 || send(pair[0], "x", 1, MSG_NOSIGNAL) != 1) {
        return -1;
    }
    return recv(pair[1], &byte, 1, 0) == 1 && byte == 'x' ? 0 : -1;
}

/* ---- processes --------------------------------------------------------------------------------------------------- */

static long ended_well(pid_t child) {
    int status = 0;
    return child < 0 ? -1 : waitpid(child, &status, 0) == child && status == 0 ? 0 : -1;
}

static long try_fork(const char *unused) {
    (void)unused;
    const pid_t child = fork();
    if (child == 0) {
        _exit(0);
    }
    return ended_well(child);
}

static long try_vfork(const char *unused) {
    (void)unused;
    const pid_t child = vfork();
    if (child == 0) {
        _exit(0);
    }
    return ended_well(child);
}

static long try_clone3(const char *unused) {
    uint64_t arguments[8] = {0, 0, 0, 0, SIGCHLD};
    (void)unused;
    const pid_t child = (pid_t)syscall(SYS_clone3, arguments, sizeof arguments);
    if (child == 0) {
        _exit(0);
    }
    return ended_well(child);
}

static long try_spawn(const char *program) {
    char *words[] = {(char *)(uintptr_t)program, NULL};
    pid_t child = -1;
    errno = posix_spawn(&child, program, NULL, NULL, words, environ);
    return errno ? -1 : ended_well(child);
}

static long try_exec(const char *program) {
    char *words[] = {(char *)(uintptr_t)program, NULL};
    return execve(program, words, environ);
}

static int run(void *result) {
    *(int *)result = 1;
    return 0;
}

static void *run_in_thread(void *result) {
    run(result);
    return NULL;
}

static long try_thread(const char *unused) {
    pthread_t thread;
    int ran = 0;
    (void)unused;
    errno = pthread_create(&thread, NULL, run_in_thread, &ran);
    return errno == 0 && pthread_join(thread, NULL) == 0 && ran ? 0 : -1;
}

static long try_kill(const char *pid) { return kill(atoi(pid), SIGUSR1); }
static long try_tgkill(const char *pid) { return syscall(SYS_tgkill, atoi(pid), atoi(pid), SIGUSR1); }
static long try_sigqueue(const char *pid) { return sigqueue(atoi(pid), SIGUSR1, (union sigval){0}); }
static long try_pidfd(const char *pid) { return syscall(SYS_pidfd_open, atoi(pid), 0); }

static long try_ptrace(const char *pid) {
    const pid_t traced = atoi(pid);
    if (ptrace(PTRACE_SEIZE, traced, NULL, NULL) != 0) {
        return -1;
    }
    ptrace(PTRACE_INTERRUPT, traced, NULL, NULL);
    waitpid(traced, NULL, __WALL);
    return ptrace(PTRACE_DETACH, traced, NULL, NULL);
}

static long try_peek(const char *pid) { /* any address: EFAULT means that access was allowed */
    char byte;
    const struct iovec here = {&byte, 1}, there = {(void *)4096, 1};
    return process_vm_readv(atoi(pid), &here, 1, &there, 1, 0);
}

static long try_limit_other(const char *pid) {
    const struct rlimit none = {0, 0};
    return prlimit(atoi(pid), RLIMIT_CORE, &none, NULL);
}

static long try_owner(const char *pid) { /* SIGIO to another process when the pipe is readable */
    int ends[2];
    return pipe(ends) == 0 ? fcntl(ends[0], F_SETOWN, atoi(pid)) : -1;
}

static long try_async(const char *unused) { /* SIGIO, by a request; its owner is set by another one */
    int ends[2], on = 1;
    (void)unused;
    if (pipe(ends) != 0 || fcntl(ends[0], F_SETFL, O_ASYNC) == 0) {
        return 0;
    }
    return ioctl(ends[0], FIOASYNC, &on);
}

static long try_group(const char *pid) { /* the owner of a socket, by the requests of BSD and of System V */
    int pair[2], owner = atoi(pid);
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) {
        return -1;
    }
    return ioctl(pair[0], FIOSETOWN, &owner) == 0 ? 0 : ioctl(pair[0], SIOCSPGRP, &owner);
}

static long try_interfaces(const char *unused) {
    struct ifreq found[16];
    struct ifconf list = {.ifc_len = sizeof found, .ifc_req = found};
    int pair[2];
    (void)unused;
    return socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 ? ioctl(pair[0], SIOCGIFCONF, &list) : -1;
}

static volatile sig_atomic_t caught;
static void catch(int number) { caught = number; }

static long try_raise(const char *unused) {
    (void)unused;
    signal(SIGUSR2, catch);
    return raise(SIGUSR2) == 0 && caught == SIGUSR2 && kill(getpid(), 0) == 0 ? 0 : -1;
}

/* ---- limits ------------------------------------------------------------------------------------------------------ */

static long try_files(const char *count) {
    int fds[4096], opened = 0;
    const int wanted = atoi(count);
    while (opened < wanted && (fds[opened] = dup(0)) >= 0) {
        opened++;
    }
    const int reason = errno;
    for (int i = 0; i < opened; i++) {
        close(fds[i]);
    }
    errno = reason;
    return opened == wanted ? 0 : -1;
}

static long try_memory(const char *mebibytes) {
    const size_t size = (size_t)atoi(mebibytes) << 20;
    char *volatile memory = malloc(size); /* volatile: or the compiler removes the malloc */
    if (memory == NULL) {
        return -1;
    }
    memset(memory, 1, size);
    free(memory);
    return 0;
}

static long try_raise_limit(const char *number) {
    struct rlimit limit;
    getrlimit((__rlimit_resource_t)atoi(number), &limit);
    limit.rlim_cur = ++limit.rlim_max;
    return setrlimit((__rlimit_resource_t)atoi(number), &limit);
}

static long try_spin(const char *seconds) {
    struct timespec used;
    do {
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    } while (used.tv_sec < atoi(seconds));
    return 0;
}

/* ---- allowed: the needs of a well-behaved plugin ----------------------------------------------------------------- */

static long try_time(const char *unused) {
    const time_t now = time(NULL);
    struct timeval today;
    struct tm there;
    (void)unused;
    return gettimeofday(&today, NULL) == 0 && localtime_r(&now, &there) != NULL && there.tm_year > 100 ? 0 : -1;
}

static long try_shared(const char *unused) {
    const int fd = memfd_create("shared", MFD_CLOEXEC);
    (void)unused;
    if (fd < 0 || ftruncate(fd, 1 << 20) != 0) {
        return -1;
    }
    char *memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        return -1;
    }
    memory[(1 << 20) - 1] = 1;
    return munmap(memory, 1 << 20) | close(fd);
}

static long leave(int reason) {
    errno = reason;
    return -1;
}

static long try_names(const char *name) { /* shared memory by a name */
    const int first = shm_open(name, O_CREAT | O_EXCL | O_RDWR, 0600), second = shm_open(name, O_RDONLY, 0);
    char byte = 0;
    if (first < 0 || second < 0 || ftruncate(first, 4096) != 0 || pwrite(first, "x", 1, 0) != 1) {
        return -1;
    }
    if (pread(second, &byte, 1, 0) != 1 || byte != 'x' || write(second, "x", 1) != -1) {
        return leave(EBADF);
    }
    if (shm_open(name, O_CREAT | O_EXCL | O_RDWR, 0600) >= 0 || errno != EEXIST || shm_open("/a/b", O_RDWR, 0) >= 0) {
        return leave(EINVAL);
    }
    close(first);
    close(second);
    if (shm_unlink(name) != 0 || shm_unlink(name) == 0 || errno != ENOENT || shm_open(name, O_RDWR, 0) >= 0) {
        return leave(EMFILE);
    }
    return errno == ENOENT ? 0 : -1;
}

static long try_name(const char *name) { /* the same, left behind */
    const int fd = shm_open(name, O_CREAT | O_RDWR, 0600);
    return fd < 0 ? fd : ftruncate(fd, 4096);
}

static long try_hole(const char *how) { /* in memory like that of a channel */
    const int fd = memfd_create("shared", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, 1 << 20) != 0 || fallocate(fd, 0, 0, 1 << 20) != 0) {
        return -1;
    }
    if (strcmp(how, "advice") != 0) {
        return fallocate(fd, atoi(how), 0, 1 << 16);
    }
    char *memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return memory == MAP_FAILED ? -1 : madvise(memory, 1 << 20, MADV_REMOVE);
}

static long try_dlopen(const char *path) {
    errno = 0;
    return dlopen(path, RTLD_NOW | RTLD_LOCAL) == NULL ? -1 : 0;
}

static long try_locale(const char *name) { return setlocale(LC_ALL, name) == NULL ? -1 : 0; }

static long try_iconv(const char *charset) {
    const iconv_t made = iconv_open("UTF-8", charset);
    return made == (iconv_t)-1 ? -1 : iconv_close(made); // NOLINT: iconv(3) specifies this value
}

static long try_user(const char *name) {
    errno = 0;
    return getpwnam(name) == NULL ? (errno = errno ? errno : ENOENT, -1) : 0;
}

/* ---- system calls without a wrapper in libc ---------------------------------------------------------------------- */

static long try_call(const char *numbers) {
    char *end;
    long words[7] = {0};
    for (size_t i = 0; i < COUNT(words) && *numbers != '\0'; i++, numbers = end) {
        words[i] = strtol(numbers, &end, 0);
    }
    return syscall(words[0], words[1], words[2], words[3], words[4], words[5], words[6]);
}

static long try_clone(const char *flags) {
    const pid_t child = (pid_t)syscall(SYS_clone, strtol(flags, NULL, 0), NULL, NULL, NULL, NULL);
    if (child == 0) {
        _exit(0);
    }
    return child;
}

static long try_i386(const char *unused) { /* getpid through the 32-bit ABI */
    (void)unused;
#ifdef __x86_64__
    long result = 20;
    __asm__ volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
    if (result < 0) {
        errno = (int)-result;
        return -1;
    }
#endif
    return 0;
}

static long try_capabilities(const char *unused) { /* any except those for file permissions */
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct sets[2];
    (void)unused;
    if (syscall(SYS_capget, &head, sets) != 0) {
        return -1;
    }
    const uint32_t left = (sets[0].effective | sets[0].permitted) & ~6U;
    errno = EPERM;
    return left || sets[1].effective || sets[1].permitted ? 0 : -1;
}

static long try_privileges(const char *unused) {
    (void)unused;
    errno = EPERM;
    return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) ? -1 : 0;
}

static long try_orphan(const char *unused) {
    (void)unused;
    return prctl(PR_SET_PDEATHSIG, 0);
}

/* ---- crashes ----------------------------------------------------------------------------------------------------- */

static void leave_now(int number) {
    (void)number;
    _exit(7);
}

static long fall(volatile char *above) {
    volatile char here[1024];
    here[0] = above == NULL ? 1 : above[0];
    return fall(here) + here[0];
}

static long try_crash(const char *how) {
    if (strcmp(how, "handled") == 0) {
        signal(SIGSEGV, leave_now);
    }
    if (strcmp(how, "overflow") == 0) {
        return fall(NULL);
    }
    return strcmp(how, "abort") == 0 ? (abort(), 0) : *(volatile char *)(uintptr_t)strtol("0xbad", NULL, 0);
}

static const struct {
    const char *name;
    long (*function)(const char *argument);
} attempts[] = {
    {"read", try_read}, {"write", try_write}, {"make", try_make}, {"remove", try_remove},
    {"make folder", try_make_folder}, {"truncate", try_truncate}, {"chmod", try_chmod}, {"utimes", try_utimes},
    {"list", try_list}, {"lease", try_lease}, {"notify", try_notify}, {"watch", try_watch}, {"flags", try_flags},
    {"redirect", try_redirect}, {"records", try_records}, {"async", try_async}, {"group", try_group},
    {"interfaces", try_interfaces}, {"names", try_names}, {"name", try_name}, {"hole", try_hole}, {"clone", try_clone}, {"socket", try_socket}, {"connect", try_connect}, {"sendto", try_sendto},
    {"sendmsg", try_sendmsg}, {"pair", try_pair}, {"fork", try_fork}, {"vfork", try_vfork}, {"clone3", try_clone3},
    {"spawn", try_spawn}, {"exec", try_exec}, {"thread", try_thread}, {"kill", try_kill}, {"tgkill", try_tgkill},
    {"sigqueue", try_sigqueue}, {"pidfd", try_pidfd}, {"ptrace", try_ptrace}, {"peek", try_peek},
    {"limit other", try_limit_other}, {"owner", try_owner}, {"raise", try_raise}, {"files", try_files},
    {"memory", try_memory}, {"raise limit", try_raise_limit}, {"spin", try_spin}, {"time", try_time},
    {"shared", try_shared}, {"dlopen", try_dlopen}, {"locale", try_locale}, {"iconv", try_iconv}, {"user", try_user},
    {"call", try_call}, {"i386", try_i386}, {"capabilities", try_capabilities}, {"privileges", try_privileges},
    {"orphan", try_orphan}, {"crash", try_crash},
};

/* strerrorname_np(3) exists since glibc 2.32. */
static const char *error_name(int code) {
    static const struct {
        int code;
        const char *name;
    } names[] = {{EACCES, "EACCES"}, {EBADF, "EBADF"}, {EFAULT, "EFAULT"}, {EINVAL, "EINVAL"}, {EMFILE, "EMFILE"},
                 {ENOMEM, "ENOMEM"}, {ENOSYS, "ENOSYS"}, {EPERM, "EPERM"}, {ESRCH, "ESRCH"}};
    for (size_t i = 0; i < COUNT(names); i++) {
        if (names[i].code == code) {
            return names[i].name;
        }
    }
    return strerror(code);
}

static hp_status attempt(
    void *self, const char *what, size_t what_len, const char *argument, size_t argument_len, hp_out *out) {
    char text[4096] = "";
    (void)self;
    memcpy(text, argument, argument_len < sizeof text ? argument_len : sizeof text - 1);
    for (size_t i = 0; i < COUNT(attempts); i++) {
        if (strlen(attempts[i].name) == what_len && memcmp(attempts[i].name, what, what_len) == 0) {
            const long result = attempts[i].function(text);
            return hp_puts(out, result >= 0 ? "done" : error_name(errno));
        }
    }
    return hp_fail(out, HP_INVALID, "there is no attempt of that name");
}

static hp_status environment(void *self, hp_out *out) {
    hp_status status = HP_OK;
    (void)self;
    for (char **entry = environ; *entry != NULL && status == HP_OK; entry++) {
        status = hp_printf(out, "%s\n", *entry);
    }
    return status;
}

static hp_status descriptors(void *self, hp_out *out) {
    char path[32], target[256];
    hp_status status = HP_OK;
    (void)self;
    for (int fd = 0; fd < 1 << 16 && status == HP_OK; fd++) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        const ssize_t len = readlink(path, target, sizeof target - 1);
        if (len >= 0) {
            target[len] = '\0';
            status = hp_printf(out, "%d %s\n", fd, target);
        }
    }
    return status;
}

#ifdef AT_START /* the loading thread holds the loader's lock, which this thread needs to report where it crashed */
static void *crash(void *unused) {
    (void)unused;
    raise(SIGSEGV);
    return NULL;
}
__attribute__((constructor)) static void start(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, crash, NULL);
    pause();
}
#endif

ESCAPE_PLUGIN("escape", "1.0.0", .attempt = attempt, .environment = environment, .descriptors = descriptors);
