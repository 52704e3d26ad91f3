/* Cancels a thread that is in a method of the plugin argv[1] (tests/plugins/kinds.cpp), as pthread_cancel(3) does. */
#include <dlfcn.h>
#include <pthread.h>
#include <unistd.h>

#include "kinds.h"

static char room[512];

static hp_status grow(hp_out *out, size_t need) { return need <= out->cap ? HP_OK : HP_NO_MEMORY; }

static void *wait(void *vtable) {
    const kinds_v2 *plugin = vtable;
    hp_out out = {.data = room, .cap = sizeof room, .grow = grow};
    hp_host host = {.size = sizeof host, .log_fd = -1};
    void *self = NULL;
    if (plugin->create(&host, NULL, 0, &self, &out) == HP_OK) {
        (void)!plugin->fail(self, "wait", 4, &out);
    }
    return NULL;
}

int main(int argc, char **argv) {
    void *library = argc > 1 ? dlopen(argv[1], RTLD_NOW) : NULL;
    void *vtable = library != NULL ? dlsym(library, "hardpoint_kinds_v2") : NULL;
    pthread_t thread;
    void *result = NULL;
    if (vtable == NULL || pthread_create(&thread, NULL, wait, vtable) != 0) {
        return 1;
    }
    usleep(100000); /* until it is in pause(), a cancellation point; if it is late, the cancellation stays pending */
    if (pthread_cancel(thread) != 0 || pthread_join(thread, &result) != 0) {
        return 1;
    }
    puts(result == PTHREAD_CANCELED ? "cancelled" : "returned");
    return 0;
}
