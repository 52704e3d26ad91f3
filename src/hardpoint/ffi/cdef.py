"""C declarations of libc, the ABI and channels for cffi; running this module writes `_ffi.py`.

Out-of-line ABI mode needs no compiler, and pycparser (40-120 ms to import) runs here and never in a host. `_ffi.py` is
committed, and a test compares it with this module's output.
"""

from __future__ import annotations

import pathlib

CDEF = """
/* contract/hardpoint.h */
typedef struct hp_out hp_out;
struct hp_out { char *data; size_t len, cap; int32_t (*grow)(hp_out *out, size_t need); };
typedef struct hp_host {
    uint32_t size; uint16_t abi_major, abi_minor; const char *name, *version; uint64_t *log_dropped, log_source;
    int32_t log_fd; uint32_t reserved;
} hp_host;
typedef struct hp_log_record { uint64_t source; int32_t level; uint32_t reserved; } hp_log_record;
typedef struct hp_head { uint32_t size; uint16_t abi_major, abi_minor; const char *manifest; } hp_head;
typedef struct hp_vtable {
    hp_head head; uint64_t flags;
    int32_t (*create)(const hp_host *host, const char *config, size_t config_len, void **self, hp_out *out);
    void (*destroy)(void *self);
    const void *(*query)(const char *id);
} hp_vtable;

/* dlopen(3), dlinfo(3) */
struct link_map { uintptr_t l_addr; char *l_name; void *l_ld; struct link_map *l_next, *l_prev; };
void *dlopen(const char *path, int flags);
void *dlsym(void *handle, const char *name);
char *dlerror(void);
int dlclose(void *handle);
int dlinfo(void *handle, int request, void *answer);

/* linux/fs.h: what is mapped at an address */
struct procmap_query {
    uint64_t size, query_flags, query_addr, vma_start, vma_end, vma_flags, vma_page_size, vma_offset, inode;
    uint32_t dev_major, dev_minor, vma_name_size, build_id_size; uint64_t vma_name_addr, build_id_addr;
};
int ioctl(int fd, unsigned long request, ...);

/* what a library may have changed: fenv(3), sigaction(2), setlocale(3), getrlimit(2), environ(7) */
int fegetenv(void *environment);
int fesetenv(const void *environment);
int sigaction(int number, const void *action, void *old);
int pthread_sigmask(int how, const void *set, void *old);
int sigaltstack(const void *stack, void *old);
char *setlocale(int category, const char *locale);
void *uselocale(void *locale);
int getrlimit(int resource, void *limits);
int setrlimit(int resource, const void *limits);
int setenv(const char *name, const char *value, int overwrite);
int unsetenv(const char *name);
extern uintptr_t *environ;

/* memory and sockets */
void *realloc(void *memory, size_t size);
void free(void *memory);
void *memcpy(void *to, const void *from, size_t size);
void *mmap(void *address, size_t size, int protection, int flags, int fd, long offset);
int munmap(void *address, size_t size);
int prctl(int option, unsigned long, unsigned long, unsigned long, unsigned long);
long syscall(long number, unsigned long, unsigned long, unsigned long, unsigned long, unsigned long);
int socketpair(int domain, int type, int protocol, int *pair);

/* isolation/channel/_host.h: the library that isolation/host/program.py opens */
typedef struct hp_channel hp_channel;
typedef struct { const void *data; uint64_t value; } hp_value;
typedef struct { int32_t status; uint32_t flags; uint64_t len, scalar; } hp_answer;
hp_channel *hp_channel_open(uint64_t half, uint64_t room, int *error);
int hp_channel_fd(const hp_channel *channel);
void hp_channel_abandon(hp_channel *channel);
int hp_channel_is_gone(const hp_channel *channel);
void hp_channel_close(hp_channel *channel);
int hp_channel_send(hp_channel *channel, uint32_t method, const hp_value *values, uint32_t count);
int hp_channel_wait(hp_channel *channel, int64_t deadline);
int hp_channel_answer(hp_channel *channel, hp_answer *answer);
int hp_channel_why(const hp_channel *channel);
int hp_channel_read(const hp_channel *channel, int reply, uint64_t offset, void *to, uint64_t size);
void hp_channel_trim(hp_channel *channel);
void hp_crash_install(void);
uint64_t hp_channel_offset(const hp_value *values, uint32_t count, uint32_t index);
"""


def write(path: str) -> None:
    """Write the module that cffi makes of CDEF."""
    import cffi

    builder = cffi.FFI()
    builder.cdef(CDEF)
    builder.set_source("hardpoint.ffi._ffi", None)
    builder.emit_python_code(path)


if __name__ == "__main__":
    write(str(pathlib.Path(__file__).with_name("_ffi.py")))
