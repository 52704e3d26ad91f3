/* Calls through shared memory, where each side sleeps on a futex until the other wakes it: neither spins. */
#include "program.h"

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>

typedef struct {
    uint32_t word; /* number of messages so far */
    uint32_t method;
    uint64_t size;
    char data[MOST + 64];
} message;

typedef struct {
    message request, reply;
} pair;

static pair *shared;

static void wait_for(uint32_t *word, uint32_t number) {
    uint32_t found;
    while ((found = __atomic_load_n(word, __ATOMIC_ACQUIRE)) != number) {
        syscall(SYS_futex, word, FUTEX_WAIT, found, NULL, NULL, 0);
    }
}

static void publish(message *message) {
    __atomic_add_fetch(&message->word, 1, __ATOMIC_ACQ_REL);
    syscall(SYS_futex, &message->word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static bool prepare(void) {
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return shared != MAP_FAILED;
}

static void serve(void) {
    for (uint32_t number = 1;; number++) {
        wait_for(&shared->request.word, number);
        shared->reply.size =
            answer(shared->request.method, shared->request.data, shared->request.size, shared->reply.data);
        publish(&shared->reply);
    }
}

static size_t call(uint32_t method, const void *data, size_t size, char *to) {
    shared->request.method = method;
    shared->request.size = size;
    memcpy(shared->request.data, data, size);
    publish(&shared->request);
    wait_for(&shared->reply.word, shared->request.word);
    memcpy(to, shared->reply.data, shared->reply.size);
    return shared->reply.size;
}
