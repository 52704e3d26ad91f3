/* The title of a process in ps(1). */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "_program.h"

enum { NAME_MOST = 15 }; /* bytes of a process's name, without the NUL */

static char *title_memory;
static size_t title_size, title_argv; /* bytes of argv and environment, and of argv alone */

/* The start of argv's memory according to the kernel: before argv[0], if ld.so was run with this file as argument. */
static char *argv_start(char *first) {
    char text[1024];
    const int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    const ssize_t size = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    close(fd);
    text[size < 0 ? 0 : size] = '\0';
    const char *at = strrchr(text, ')'); /* the name before it can have blanks */
    for (int field = 2; at != NULL && field < 48; field++) {
        at = strchr(at + 1, ' ');
    }
    char *start = at == NULL ? NULL : (char *)(uintptr_t)strtoull(at, NULL, 10);
    return start != NULL && start < first && first - start < 4096 ? start : first;
}

void title_keep(char **argv) {
    char *end = argv[0];
    for (char **each = argv; *each == end; each++) {
        end += strlen(end) + 1;
    }
    title_memory = argv_start(argv[0]);
    title_argv = (size_t)(end - title_memory);
    for (char **each = environ; each != NULL && *each == end; each++) {
        char *moved = strdup(end);
        if (moved == NULL) {
            break;
        }
        end += strlen(end) + 1;
        *each = moved;
    }
    title_size = (size_t)(end - title_memory);
}

/* The kernel shows argv; but if its last byte is not NUL, the text from its start to the first NUL, which may be in the
 * environment that lies behind it (proc(5), cmdline). */
void title_set(const char *title) {
    const char *colon = strstr(title, ": "), *name = colon == NULL ? title : colon + 2;
    const size_t size = strlen(name), length = strnlen(title, title_size - 1);
    prctl(PR_SET_NAME, size > NAME_MOST ? name + size - NAME_MOST : name, 0, 0, 0);
    title_memory[title_argv - 1] = ' ';
    memcpy(title_memory, title, length);
    title_memory[length] = '\0';
}
