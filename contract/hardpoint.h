/* hardpoint.h - the ABI between a hardpoint host and a plugin, major 1, and the author's helpers.
 *
 * A plugin is a C shared library that exports, for each contract it implements, one note (who it is) and one const
 * data object (its vtable). A contract's generated header, such as greeter.h, has a macro that writes both:
 *
 *     #include "greeter.h"
 *     static hp_status greet(void *self, const char *name, size_t name_len, hp_out *out) { ... }
 *     static hp_status lang(void *self, hp_out *out) { (void)self; return hp_puts(out, "English"); }
 *     GREETER_PLUGIN("english", "1.0.0", .greet = greet, .lang = lang);
 *
 * This file is C11 and C++17, needs nothing but the C library, and is all there is: no library to link with.
 * What is marked frozen never changes within ABI major 1; everything else grows by appending.
 *
 * Rules that hold everywhere:
 *   - what the host passes in belongs to the host, and is invalid once the function has returned;
 *   - neither side frees the other's memory, no struct crosses by value, and errno means nothing across the border;
 *   - no C++ exception and no Rust panic may leave a plugin's function;
 *   - text is UTF-8 and has a length; it is not NUL-terminated and may hold NULs. What a host passes as str is valid;
 *   - a buffer's pointer is never NULL, promises no alignment, and is not to be read when its length is 0. Lengths are at
 *     most PTRDIFF_MAX. Two buffers of one call may be the same memory, and other threads of the host may change what a
 *     bytes or bytearray buffer holds during the call;
 *   - a plugin leaves the process as it found it: it does not exit, change the locale, the working directory or the
 *     floating-point mode, or install signal handlers;
 *   - a library is never unloaded. Its static destructors run when the process exits, perhaps during a call. In a forked
 *     child the instances of the parent are not used again, and not destroyed.
 */
#ifndef HARDPOINT_H
#define HARDPOINT_H

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* The ABI that this header describes. A host takes every plugin of its major that needs no newer minor. */
#define HP_ABI_MAJOR 1
#define HP_ABI_MINOR 0

/* The least ABI that the plugin needs. Define it before the first #include to promise less than this header has. */
#ifndef HP_NEEDS_ABI
#define HP_NEEDS_ABI "1.0"
#endif

#if UINTPTR_MAX != 0xffffffffffffffffu
#error "hardpoint is for 64-bit machines"
#endif

#ifdef __cplusplus
#define HP_STATIC_ASSERT_(condition, why) static_assert(condition, why)
#define HP_CAST_(type, value) static_cast<type>(value)
#define HP_OPTIONAL_ = {}
extern "C" {
#else
#define HP_STATIC_ASSERT_(condition, why) _Static_assert(condition, why)
#define HP_CAST_(type, value) ((type)(value))
#define HP_OPTIONAL_
#endif

#define HP_EXPORT_ __attribute__((visibility("default")))
#define HP_CHECKED_ __attribute__((warn_unused_result))
#define HP_FORMAT_(text, first) __attribute__((__format__(__printf__, text, first)))

/* ---- what every function of a plugin returns ------------------------------------------------------------------- */

/* 0 is success, 1-255 are this ABI's (those without a name here are reserved), 256-65535 are the author's own; any other
 * value breaks the contract. */
typedef int32_t hp_status;

enum {
    HP_OK = 0,
    HP_FAILED = 1,      /* it could not be done; the reason says why */
    HP_INVALID = 2,     /* an argument is not acceptable */
    HP_UNSUPPORTED = 3, /* this plugin, or this host, does not do that */
    HP_NO_MEMORY = 4,   /* memory ran out; also what the host makes of success after a grow that failed */
    HP_AUTHOR = 256     /* the first of the author's own */
};

/* ---- what the host offers -------------------------------------------------------------------------------------- */

/* Where a method leaves its text: the result when it succeeds, the reason when it fails. Frozen at 32 bytes.
 *
 * The struct and the memory are the host's and last until the method returns; only the calling thread may touch them.
 * On entry `len` is 0 and `cap` at least 512, so a reason always fits. Text is `len` bytes at `data`, `len` <= `cap`. It is
 * ignored after success when the result is no text. After a failure it is the reason, so what was written of a result
 * has to go (hp_fail sees to it); it may be empty. */
typedef struct hp_out hp_out;
struct hp_out {
    char *data;    /* may move in grow, which alone changes it; never NULL */
    size_t len;    /* bytes written so far; all that the host reads back */
    size_t cap;    /* bytes there is room for; grow alone changes it */
    /* Makes `cap` at least `need`, the whole capacity wanted and not the increase. Keeps the first `len` bytes.
     * HP_OK, or HP_NO_MEMORY with everything as it was. Never throws. Calling thread only.
     * Check `cap` afterwards, not only the status (hp_reserve does). The host's own code may run in it: hold no lock over
     * grow, or over a helper that appends, which another method or destroy takes. */
    hp_status (*grow)(hp_out *out, size_t need);
};

/* How much a log record matters; the numbers are those of Python's logging. */
enum { HP_LOG_DEBUG = 10, HP_LOG_INFO = 20, HP_LOG_WARNING = 30, HP_LOG_ERROR = 40, HP_LOG_CRITICAL = 50 };

/* The host, as `create` is given it. One for each plugin, owned by the host, readable from any thread until the
 * process exits: a plugin may keep the pointer. It grows at its end: a field is there if `size` reaches past it. */
typedef struct hp_host {
    uint32_t size;         /* sizeof the whole struct, as the host was compiled */
    uint16_t abi_major;    /* the ABI that the host speaks */
    uint16_t abi_minor;
    const char *name;      /* the host's name, NUL-terminated: "hardpoint" */
    const char *version;   /* its version, NUL-terminated */
    uint64_t *log_dropped; /* log records that found no room, added to atomically */
    uint64_t log_source;   /* who is speaking, in every log record */
    int32_t log_fd;        /* a datagram socket for log records, or -1: nobody listens */
    uint32_t reserved;     /* 0 */
} hp_host;

/* A log record on the socket: this, then up to HP_LOG_MAX bytes of UTF-8 without a NUL. Frozen at 16 bytes. */
typedef struct hp_log_record {
    uint64_t source; /* hp_host.log_source */
    int32_t level;   /* HP_LOG_* */
    uint32_t reserved; /* 0 */
} hp_log_record;

#define HP_LOG_MAX 1024

/* ---- what a plugin exports ------------------------------------------------------------------------------------- */

/* First in every vtable, filled in by the contract's macro. Frozen at 16 bytes. */
typedef struct hp_head {
    uint32_t size;        /* sizeof the whole vtable, as the plugin was compiled */
    uint16_t abi_major;   /* the ABI that the plugin was compiled for */
    uint16_t abi_minor;
    const char *manifest; /* the manifest, NUL-terminated: the note's text once more, in ordinary read-only data */
} hp_head;

/* What every vtable starts with, before the contract's own methods. Frozen at 48 bytes.
 *
 * It is written out in each generated header (a struct within a struct would cost the author a pair of braces).
 *   flags    set by the author, from this ABI's: HP_SERIAL. Other bits are 0. A host may ignore a bit that it does not know
 *            among 0-31, and refuses the plugin for one among 32-63.
 *   create   makes an instance. `config` is the host's text for this plugin (NULL, 0 when there is none; not NULL when it
 *            is empty). On success it stores in *self, which is NULL on entry and may stay so, whatever the methods shall
 *            get as `self`; on failure the reason is in `out`, *self is ignored and destroy is not called. Any thread,
 *            also while another instance is made. NULL: no state, `self` is NULL.
 *   destroy  ends an instance, once, on any thread, after its last call has returned, with what create stored. Perhaps
 *            never, when the process exits. NULL: nothing to end.
 *   query    the door for later additions: a pointer to what `id` names, valid for good, or NULL. `id` is NUL-terminated
 *            ASCII, says of what type the pointer is, and starts with "hp." when it is this ABI's. Any thread, also
 *            before the first create. NULL: there is nothing to ask for.
 * A method that returns int, float or bool stores it in *result, which is 0 on entry; a bool is one byte, 0 or 1.
 * Methods of one instance may run on several threads at once unless HP_SERIAL is set; different instances always may.
 */
typedef struct hp_vtable {
    hp_head head;
    uint64_t flags;
    hp_status (*create)(const hp_host *host, const char *config, size_t config_len, void **self, hp_out *out);
    void (*destroy)(void *self);
    const void *(*query)(const char *id);
} hp_vtable;

/* A vtable flag: the host calls one instance's methods one at a time. */
#define HP_SERIAL 0x100000000ULL

/* ---- the author's helpers: static inline, allocate nothing, any thread that may touch `out` --------------------
 * What is appended must not lie in `out` itself, which may move. */

/* Makes room for `n` more bytes after `len`, to be written at out->data + out->len and added to out->len by the
 * caller. HP_OK or HP_NO_MEMORY. */
HP_CHECKED_ static inline hp_status hp_reserve(hp_out *out, size_t n) {
    if (n > SIZE_MAX - out->len) {
        return HP_NO_MEMORY;
    }
    if (out->len + n > out->cap) {
        /* The status alone is not enough: a host's callback that dies in its own language may return 0. */
        const hp_status status = out->grow(out, out->len + n);
        if (status != HP_OK || out->cap < out->len + n) {
            return HP_NO_MEMORY;
        }
    }
    return HP_OK;
}

/* Appends `len` bytes. HP_OK or HP_NO_MEMORY. */
HP_CHECKED_ static inline hp_status hp_write(hp_out *out, const void *data, size_t len) {
    const hp_status status = hp_reserve(out, len);
    if (status == HP_OK && len > 0) {
        memcpy(out->data + out->len, data, len);
        out->len += len;
    }
    return status;
}

/* Appends a NUL-terminated text, without its NUL. HP_OK or HP_NO_MEMORY. */
HP_CHECKED_ static inline hp_status hp_puts(hp_out *out, const char *text) {
    return hp_write(out, text, strlen(text));
}

/* hp_printf with its arguments in a list; `args` is used up. */
HP_CHECKED_ HP_FORMAT_(2, 0) static inline hp_status hp_vprintf(hp_out *out, const char *format, va_list args) {
    va_list again;
    va_copy(again, args);
    const size_t room = out->cap - out->len;
    const int written = vsnprintf(out->data + out->len, room, format, args);
    hp_status status = written < 0 ? HP_FAILED : HP_OK;
    if (status == HP_OK && HP_CAST_(size_t, written) >= room) {
        const size_t len = HP_CAST_(size_t, written);
        status = hp_reserve(out, len + 1); /* vsnprintf writes a NUL behind the text */
        if (status == HP_OK && vsnprintf(out->data + out->len, len + 1, format, again) != written) {
            status = HP_FAILED;
        }
    }
    if (status == HP_OK) {
        out->len += HP_CAST_(size_t, written);
    }
    va_end(again);
    return status;
}

/* Appends as printf does; counts its result and not its NUL. HP_OK, HP_NO_MEMORY, or HP_FAILED when the format
 * cannot be rendered. */
HP_CHECKED_ HP_FORMAT_(2, 3) static inline hp_status hp_printf(hp_out *out, const char *format, ...) {
    va_list args;
    va_start(args, format);
    const hp_status status = hp_vprintf(out, format, args);
    va_end(args);
    return status;
}

/* Fails with a reason: drops what `out` holds, writes the reason there (cut short if memory runs out), and gives
 * `status` back to be returned. A `status` of 0 or less becomes HP_FAILED. A format that cannot be rendered is the reason
 * as it stands. */
HP_CHECKED_ HP_FORMAT_(3, 4) static inline hp_status hp_fail(hp_out *out, hp_status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    out->len = 0;
    const hp_status written = hp_vprintf(out, format, args);
    va_end(args);
    if (written == HP_NO_MEMORY && out->cap > 0) {
        /* Rendered anew into what there is: a grow that failed may still have moved it. */
        va_start(args, format);
        const int whole = vsnprintf(out->data, out->cap, format, args);
        va_end(args);
        const size_t len = whole < 0 ? 0 : HP_CAST_(size_t, whole);
        out->len = len < out->cap ? len : out->cap - 1;
    }
    if (written == HP_FAILED) {
        const size_t len = strlen(format);
        out->len = len < out->cap ? len : out->cap;
        memcpy(out->data, format, out->len);
    }
    return status > 0 ? status : HP_FAILED;
}

/* Logs as printf does, to the host's logger "hardpoint.plugin.<name>". One non-blocking send: it never waits and never
 * calls back into the host, and a record that finds no room is dropped and counted. Not for signal handlers. Text beyond HP_LOG_MAX bytes is
 * cut and ends in "...". Any thread, at any time after `create` was entered; errno is kept; a NULL host is silent. */
HP_FORMAT_(3, 4) static inline void hp_log(const hp_host *host, int level, const char *format, ...) {
    struct {
        hp_log_record head;
        char text[HP_LOG_MAX + 1];
    } record;
    const int saved = errno;
    va_list args;
    if (host == NULL || host->log_fd < 0) {
        return;
    }
    record.head.source = host->log_source;
    record.head.level = level;
    record.head.reserved = 0;
    va_start(args, format);
    const int written = vsnprintf(record.text, sizeof record.text, format, args);
    va_end(args);
    if (written >= 0) {
        size_t len = HP_CAST_(size_t, written);
        if (len > HP_LOG_MAX) {
            len = HP_LOG_MAX;
            memcpy(record.text + len - 3, "...", 3);
        }
        len += sizeof record.head;
        if (send(host->log_fd, &record, len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
            (void)__atomic_fetch_add(host->log_dropped, UINT64_C(1), __ATOMIC_RELAXED);
        }
    }
    errno = saved;
}

#ifdef __cplusplus
} /* extern "C" */
#endif

/* ---- what the generated headers are made of -------------------------------------------------------------------- */

/* The manifest: JSON, at most HP_MANIFEST_MAX bytes with its NUL. `methods` is the JSON list, already rendered. */
#define HP_MANIFEST_MAX 4096
#define HP_MANIFEST_(contract, version, plugin, release, methods)                                                      \
    "{\"abi\": \"" HP_NEEDS_ABI "\", \"contract\": \"" contract "\", \"version\": \"" version                          \
    "\", \"plugin\": \"" plugin "\", \"release\": \"" release "\", \"methods\": " methods "}"

/* The note (ELF gABI, "Note Section"): name size, description size, type, name, description, each padded to 4 bytes.
 * aligned(4) is normative: without it gcc puts gaps between two notes, and they cannot be read. */
#ifdef __clang__
#define HP_NOTE_ATTRIBUTES_                                                                                            \
    __attribute__((section(".note.hardpoint"), used, aligned(4), no_sanitize("address")))
#else
#define HP_NOTE_ATTRIBUTES_ __attribute__((section(".note.hardpoint"), used, aligned(4)))
#endif
#define HP_NOTE_(name, text)                                                                                           \
    static const struct {                                                                                              \
        uint32_t name_size, description_size, type;                                                                    \
        char owner[12], description[(sizeof(text) + 3) / 4 * 4];                                                       \
    } name HP_NOTE_ATTRIBUTES_ = {10, sizeof(text), 1, "hardpoint", text}

#define HP_HEAD_(type) {sizeof(type), HP_ABI_MAJOR, HP_ABI_MINOR, hp_manifest_##type}

/* One plugin: the note, the manifest's copy, and the vtable under its exported name. The slots are written
 *     .greet = greet, .lang = lang        in C, and in C++20 or later, there in the order of the struct,
 *     p.greet = greet, p.lang = lang      in C++17, or wherever HP_CXX17 was defined before the first #include; there
 *                                         a function that is itself called `p` needs another name.
 * C is silent about a method that is left out: `hardpoint check` is not. */
#define HP_PLUGIN_(type, text, ...)                                                                                    \
    HP_STATIC_ASSERT_(sizeof(text) <= HP_MANIFEST_MAX, "the manifest is longer than 4096 bytes");                      \
    HP_NOTE_(hp_note_##type, text);                                                                                    \
    static const char hp_manifest_##type[] = text;                                                                     \
    HP_VTABLE_(type, __VA_ARGS__)

#if !defined __cplusplus
#define HP_VTABLE_(type, ...)                                                                                          \
    HP_EXPORT_ extern const type hardpoint_##type;                                                                     \
    const type hardpoint_##type = {.head = HP_HEAD_(type), __VA_ARGS__}
#elif __cplusplus >= 202002L && !defined HP_CXX17
#define HP_VTABLE_(type, ...)                                                                                          \
    extern "C" HP_EXPORT_ const type hardpoint_##type;                                                                 \
    constinit const type hardpoint_##type = {.head = HP_HEAD_(type), __VA_ARGS__}
#else
#define HP_VTABLE_(type, ...)                                                                                          \
    static constexpr type hp_vtable_##type = []() constexpr {                                                          \
        type p{};                                                                                                      \
        p.head = HP_HEAD_(type);                                                                                       \
        __VA_ARGS__;                                                                                                   \
        return p;                                                                                                      \
    }();                                                                                                               \
    extern "C" HP_EXPORT_ const type hardpoint_##type;                                                                 \
    const type hardpoint_##type = hp_vtable_##type
#endif

/* Frozen layouts, for the 64-bit machines that hardpoint runs on. */
#define HP_LAYOUT_(type, member, offset)                                                                               \
    HP_STATIC_ASSERT_(offsetof(type, member) == (offset), #type "." #member " must stay at byte " #offset)
#define HP_SIZE_(type, bytes) HP_STATIC_ASSERT_(sizeof(type) == (bytes), "sizeof(" #type ") must stay " #bytes)
HP_SIZE_(hp_out, 32);
HP_LAYOUT_(hp_out, len, 8);
HP_LAYOUT_(hp_out, cap, 16);
HP_LAYOUT_(hp_out, grow, 24);
HP_SIZE_(hp_head, 16);
HP_LAYOUT_(hp_head, abi_major, 4);
HP_LAYOUT_(hp_head, abi_minor, 6);
HP_LAYOUT_(hp_head, manifest, 8);
HP_SIZE_(hp_vtable, 48);
HP_LAYOUT_(hp_vtable, flags, 16);
HP_LAYOUT_(hp_vtable, create, 24);
HP_LAYOUT_(hp_vtable, destroy, 32);
HP_LAYOUT_(hp_vtable, query, 40);
HP_SIZE_(hp_log_record, 16);
HP_LAYOUT_(hp_log_record, level, 8);
HP_LAYOUT_(hp_host, name, 8);
HP_LAYOUT_(hp_host, version, 16);
HP_LAYOUT_(hp_host, log_dropped, 24);
HP_LAYOUT_(hp_host, log_source, 32);
HP_LAYOUT_(hp_host, log_fd, 40);

#endif /* HARDPOINT_H */
