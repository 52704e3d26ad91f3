/* A program that embeds Python: opens libpython, the first argument, and runs the code of the second on its second thread. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static const char *code;
static void *python;

static void *find(const char *name) {
    void *found = dlsym(python, name);
    if (found == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    return found;
}

static void *run(void *status) {
    void (*initialize)(int);
    int (*simple)(const char *);
    int (*finalize)(void);
    *(void **)&initialize = find("Py_InitializeEx");
    *(void **)&simple = find("PyRun_SimpleString");
    *(void **)&finalize = find("Py_FinalizeEx");
    initialize(0);
    *(int *)status = simple(code);
    *(int *)status |= finalize();
    return NULL;
}

int main(int argc, char **argv) {
    pthread_t thread;
    int status = 1;
    if (argc != 3) {
        return 2;
    }
    code = argv[2];
    python = dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL);
    if (python == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 2;
    }
    if (pthread_create(&thread, NULL, run, &status) != 0 || pthread_join(thread, NULL) != 0) {
        return 2;
    }
    return status;
}
