/* shm_open(3) for plugins in the sandbox: memory by names that no other process sees.
 *
 * The program's symbols come before those of libc, so plugins call these. /dev/shm is tried first, as libc does: it is
 * there with sandbox=False, without Landlock and with write="/dev/shm". Else a name leads to a memfd of this process.
 * LLVM's OpenMP and Intel's registers itself by shm_open, and some releases abort where that fails.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "_channel.h"

#define EXPORTED __attribute__((visibility("default")))

enum { NAME = 256, PATH = NAME + 16 }; /* bytes with the NUL: NAME_MAX, and more for a folder */

typedef struct Object {
    struct Object *next;
    int fd;
    char name[NAME];
} Object;

static Object *objects;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* The name without its slash; NULL, with errno, for one that libc does not take either. */
static const char *plain(const char *name) {
    while (*name == '/') {
        name++;
    }
    if (*name == '\0' || strchr(name, '/') != NULL || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        errno = EINVAL;
        return NULL;
    }
    if (strlen(name) >= NAME) {
        errno = ENAMETOOLONG;
        return NULL;
    }
    return name;
}

static Object **find(const char *name) {
    Object **at = &objects;
    while (*at != NULL && strcmp((*at)->name, name) != 0) {
        at = &(*at)->next;
    }
    return at;
}

/* True if the sandbox is why /dev/shm cannot be opened: it is the one that sets no_new_privs. */
static bool is_confined(void) {
    return errno == EACCES && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;
}

static Object *make(const char *name) {
    Object *made = calloc(1, sizeof *made);
    if (made == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    made->fd = channel_memory(name, MEMORY_CLOSES);
    if (made->fd < 0) {
        free(made);
        return NULL;
    }
    memcpy(made->name, name, strlen(name) + 1);
    made->next = objects;
    objects = made;
    return made;
}

/* Another description of the object, with the access that was asked for; a duplicate would share the first one. */
static int open_again(const Object *object, int flags) {
    char path[PATH];
    snprintf(path, sizeof path, "/proc/self/fd/%d", object->fd);
    return open(path, (flags & (O_ACCMODE | O_TRUNC)) | O_CLOEXEC);
}

static int open_here(const char *name, int flags, mode_t mode) {
    char path[PATH];
    const Object *object = *find(name);
    if (object != NULL && (flags & O_CREAT) != 0 && (flags & O_EXCL) != 0) {
        errno = EEXIST;
        return -1;
    }
    if (object == NULL) {
        snprintf(path, sizeof path, "/dev/shm/%s", name);
        const int fd = open(path, flags | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, mode);
        if (fd >= 0 || !is_confined()) {
            return fd;
        }
        errno = ENOENT; /* of one that is there, and not for this process */
        object = (flags & O_CREAT) != 0 ? make(name) : NULL;
    }
    return object == NULL ? -1 : open_again(object, flags);
}

EXPORTED int shm_open(const char *name, int flags, mode_t mode) {
    const char *word = plain(name);
    if (word == NULL) {
        return -1;
    }
    pthread_mutex_lock(&lock);
    const int fd = open_here(word, flags, mode);
    const int reason = errno;
    pthread_mutex_unlock(&lock);
    errno = reason;
    return fd;
}

EXPORTED int shm_unlink(const char *name) {
    char path[PATH];
    const char *word = plain(name);
    if (word == NULL) {
        return -1;
    }
    pthread_mutex_lock(&lock);
    Object **at = find(word), *found = *at;
    if (found != NULL) {
        *at = found->next;
        close(found->fd);
        free(found);
    }
    pthread_mutex_unlock(&lock);
    if (found != NULL) {
        return 0;
    }
    snprintf(path, sizeof path, "/dev/shm/%s", word);
    const int failed = unlink(path);
    errno = failed && is_confined() ? ENOENT : errno;
    return failed;
}
