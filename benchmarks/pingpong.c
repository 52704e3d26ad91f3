/* Two processes that answer each other over a SOCK_SEQPACKET socket: the lower bound for a call of an isolated plugin.
 *
 *     pingpong CPU CPU      pinned to these cores; -1 leaves the choice to the kernel
 *
 * A line on stdin is a request; the answer is its time in nanoseconds:
 *     p COUNT OUT BACK      so many round trips, OUT bytes there and BACK bytes back
 *     m COUNT SIZE          SIZE bytes each way in shared memory: copied in, copied by the other side, copied out */
#define _GNU_SOURCE
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 1 << 22 };

typedef struct frame {
    uint32_t back; /* bytes of the answer */
    uint32_t size; /* bytes in shared memory, or 0 */
    char padding[4088];
} frame;

static void pin(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (cpu >= 0) {
        CPU_SET(cpu, &set);
        if (sched_setaffinity(0, sizeof set, &set)) {
            perror("sched_setaffinity");
            _exit(1);
        }
    }
}

static _Noreturn void answer(int sock, uint8_t *shared) {
    static frame frame;
    while (recv(sock, &frame, sizeof frame, 0) > 0) {
        if (frame.size) memcpy(shared + MOST, shared, frame.size);
        if (send(sock, &frame, frame.back, 0) < 0) break;
    }
    _exit(0);
}

static bool ask(int sock, uint32_t out, uint32_t back, uint32_t size) {
    static frame frame;
    frame.back = back;
    frame.size = size;
    return send(sock, &frame, out, 0) == (ssize_t)out && recv(sock, &frame, sizeof frame, 0) == (ssize_t)back;
}

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

int main(int argc, char **argv) {
    int socks[2];
    uint8_t *shared = mmap(NULL, 2 * MOST, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uint8_t *own = malloc(MOST);
    if (argc != 3 || !own || shared == MAP_FAILED) return 2;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks)) return 2;
    memset(own, 'x', MOST);
    switch (fork()) {
    case -1: return 2;
    case 0:
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(socks[0]);
        pin(atoi(argv[2]));
        answer(socks[1], shared);
    default: break;
    }
    close(socks[1]);
    pin(atoi(argv[1]));
    char kind;
    unsigned count, out, back;
    while (scanf(" %c %u %u", &kind, &count, &out) == 3) {
        bool fine = kind == 'm' ? out <= MOST
                                : scanf("%u", &back) == 1 && out >= 8 && back >= 8 && (out | back) <= 4096;
        int64_t start = now();
        for (unsigned done = 0; fine && done < count; done++) {
            if (kind == 'm') {
                memcpy(shared, own, out);
                fine = ask(socks[0], 16, 16, out);
                memcpy(own, shared + MOST, out);
            } else {
                fine = ask(socks[0], out, back, 0);
            }
        }
        if (!fine) return 1;
        printf("%lld\n", (long long)(now() - start));
        fflush(stdout);
    }
    return 0;
}
