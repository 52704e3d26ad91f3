/* hardpoint.h - the ABI between a hardpoint host and a plugin, major 1, and helpers for plugin authors.
 *
 * A library is a C shared object. For each contract that it implements, it holds one ELF note (the plugin's manifest)
 * and exports one const data object (the vtable). A macro in the contract's generated header, such as greeter.h, writes
 * both:
 *
 *     #include "greeter.h"
 *     static hp_status greet(void *self, const char *name, size_t name_len, hp_out *out) { ... }
 *     static hp_status lang(void *self, hp_out *out) { (void)self; return hp_puts(out, "English"); }
 *     GREETER_PLUGIN("english", "1.0.0", .greet = greet, .lang = lang);
 *
 * This header is C11 and C++17 and needs only the C library; there is nothing to link with.
 * Layouts marked frozen never change within ABI major 1; everything else grows by appending.
 *
 * Rules for every function:
 *   - arguments belong to the host and are invalid once the function has returned; only hp_host lives until the process
 *     exits;
 *   - neither side frees the other's memory, no struct is passed by value, and errno has no meaning across the ABI;
 *   - no C++ exception, Rust panic or longjmp may leave a plugin's function;
 *   - text is UTF-8 with a length; it is not NUL-terminated and may contain NULs. A str from the host is valid UTF-8;
 *   - a buffer's pointer is never NULL, has no guaranteed alignment, and must not be read when its length is 0. Lengths
 *     are at most PTRDIFF_MAX. Two buffers of one call may be the same memory, and other threads of the host may change
 *     the contents of a bytes or bytearray buffer during the call;
 *   - a plugin leaves the process state alone: it does not exit, change the locale, the working directory, the
 *     floating-point mode, the signal mask, timers, umask, resource limits, priority or the environment, or install
 *     signal handlers. It writes nothing to stdout or stderr while it is opened;
 *   - threads of an instance have ended when its destroy returns;
 *   - a library is never unloaded. Its static destructors run when the process exits, perhaps during a call. In a
 *     forked child, the parent's instances are neither used nor destroyed.
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

/* The ABI version of this header. A host accepts plugins with its own major and the same or an older minor. */
#define HP_ABI_MAJOR 1
#define HP_ABI_MINOR 0

/* The lowest ABI version that the plugin needs. Define it before the first #include to support hosts that are older
 * than this header. */
#ifndef HP_NEEDS_ABI
#define HP_NEEDS_ABI "1.0"
#endif

#if UINTPTR_MAX != 0xffffffffffffffffu
#error "hardpoint supports 64-bit machines only"
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

/* ---- status ---------------------------------------------------------------------------------------------------- */

/* The result of create and of every method. 0 is success; 1-255 belong to this ABI (values without a name here are
 * reserved); 256-65535 are the author's own. Any other value breaks the contract. */
typedef int32_t hp_status;

enum {
    HP_OK = 0,
    HP_FAILED = 1,      /* the operation failed; the reason says why */
    HP_INVALID = 2,     /* invalid argument */
    HP_UNSUPPORTED = 3, /* not supported by this plugin or this host */
    HP_NO_MEMORY = 4,   /* out of memory; the host also turns a success after a failed grow into this */
    HP_AUTHOR = 256     /* the first of the author's own */
};

/* ---- provided by the host -------------------------------------------------------------------------------------- */

/* The text that a method leaves: its result on success, the reason on failure. Frozen at 32 bytes.
 *
 * Owner: the host, both of the struct and of the memory at `data`. Lifetime: until the function returns. Thread: the
 * calling thread only.
 * On entry `len` is 0 and `cap` is at least 512, so a reason of 512 bytes always fits. The text is `len` bytes at
 * `data`, `len` <= `cap`. After success the host ignores it unless the method returns str or bytes. After failure it is
 * the reason, which may be empty; discard a partly written result first (hp_fail does). */
typedef struct hp_out hp_out;
struct hp_out {
    char *data;    /* never NULL; only grow changes it, and may move the memory */
    size_t len;    /* bytes written so far; the only member that the host reads back */
    size_t cap;    /* capacity in bytes; only grow changes it */
    /* Raises `cap` to at least `need`: the total capacity, not the increase. Keeps the first `len` bytes.
     * Result: HP_OK, or HP_NO_MEMORY with everything unchanged. Never throws. Owner: the host, also of the new memory.
     * Thread: the calling thread only.
     * Check `cap` afterwards, not just the status (hp_reserve does). It may run code of the host, which may call the
     * plugin: while calling grow or a helper that appends, hold no lock that another method or destroy takes. */
    hp_status (*grow)(hp_out *out, size_t need);
};

/* Log levels, with the numbers of Python's logging. */
enum { HP_LOG_DEBUG = 10, HP_LOG_INFO = 20, HP_LOG_WARNING = 30, HP_LOG_ERROR = 40, HP_LOG_CRITICAL = 50 };

/* The host, as passed to create: one struct for each plugin.
 *
 * Owner: the host; the plugin only reads it, but may keep the pointer. Lifetime: until the process exits. Thread: any.
 * It grows at its end: a member exists if `size` reaches past it. */
typedef struct hp_host {
    uint32_t size;         /* sizeof(hp_host) when the host was compiled */
    uint16_t abi_major;    /* the host's ABI version */
    uint16_t abi_minor;
    const char *name;      /* the host's name, NUL-terminated: "hardpoint" */
    const char *version;   /* the host's version, NUL-terminated */
    uint64_t *log_dropped; /* counter of dropped log records, incremented atomically */
    uint64_t log_source;   /* identifies the sender in every log record */
    int32_t log_fd;        /* a SOCK_DGRAM or SOCK_SEQPACKET socket for log records, or -1 if nobody listens */
    uint32_t reserved;     /* 0 */
} hp_host;

/* The header of a log record on the socket, followed by up to HP_LOG_MAX bytes of UTF-8 without a NUL. Frozen at 16
 * bytes. Owner: the sender; send(2) copies it. Thread: any. */
typedef struct hp_log_record {
    uint64_t source; /* hp_host.log_source */
    int32_t level;   /* HP_LOG_* */
    uint32_t reserved; /* 0 */
} hp_log_record;

#define HP_LOG_MAX 1024

/* ---- exported by a plugin -------------------------------------------------------------------------------------- */

/* The start of every vtable, filled in by the contract's macro. Frozen at 16 bytes.
 * Owner: the plugin, both of the head and of the manifest. Lifetime: constant until the process exits. Thread: any. */
typedef struct hp_head {
    uint32_t size;        /* sizeof the whole vtable when the plugin was compiled */
    uint16_t abi_major;   /* the ABI version that the plugin was compiled for */
    uint16_t abi_minor;
    const char *manifest; /* NUL-terminated copy of the note's manifest, in ordinary read-only data */
} hp_head;

/* The members that every vtable starts with, followed by the contract's methods. Frozen at 48 bytes.
 * Generated headers repeat these members: a nested struct would cost the author a pair of braces.
 *
 * Owner: the plugin. Lifetime: constant until the process exits. Thread: any.
 * Methods return a hp_status. A result of type int, float or bool is stored in *result, which is 0 on entry; a bool is
 * one byte, 0 or 1. Any thread may call a method. Methods of one instance may run on several threads at once unless
 * HP_SERIAL is set; those of different instances always may. */
typedef struct hp_vtable {
    hp_head head;
    /* HP_SERIAL or 0; all other bits are 0. A host may ignore an unknown bit of 0-31; it refuses a plugin with an
     * unknown bit of 32-63. */
    uint64_t flags;
    /* Makes an instance. NULL: instances have no state, `self` is NULL, and a host that has a config reports an error.
     * `host` is never NULL. `config` is the host's text for this plugin: NULL and 0 if there is none, not NULL if it is
     * empty. *self is NULL on entry and may stay NULL.
     * Result: HP_OK, with the `self` of the methods stored in *self; otherwise a failure with the reason in `out`: then
     * the host ignores *self and does not call destroy. Owner: the plugin, of what it stores in *self. Lifetime:
     * `config`, `self` and `out` until the return, `host` until the process exits. Thread: any, and several at once for
     * different instances. */
    hp_status (*create)(const hp_host *host, const char *config, size_t config_len, void **self, hp_out *out);
    /* Ends an instance. NULL: nothing to do.
     * Called once with what create stored, after the last call of the instance has returned; perhaps never if the
     * process exits. Owner: the plugin, which frees what create allocated. Thread: any. */
    void (*destroy)(void *self);
    /* Extension point for later additions. NULL: no extensions.
     * `id` is NUL-terminated ASCII and implies the type of the result; names that start with "hp." belong to this ABI.
     * Result: a pointer to what `id` names, or NULL if the plugin does not know it. Owner: the plugin. Lifetime: `id`
     * until the return, the result until the process exits. Thread: any, also before the first create. */
    const void *(*query)(const char *id);
} hp_vtable;

/* A vtable flag: the host serialises the calls of one instance's methods. */
#define HP_SERIAL 0x100000000ULL

/* ---- helpers for authors ---------------------------------------------------------------------------------------
 * Static inline; they allocate nothing themselves. Owner and lifetime: arguments stay the caller's and are not kept.
 * Text to append must not lie in `out` itself, whose memory may move. Thread: for `out`, the thread that the host
 * called; hp_log runs on any. */

/* Makes room for `n` more bytes. The caller writes them at out->data + out->len and adds their number to out->len.
 * Result: HP_OK, or HP_NO_MEMORY with the text so far discarded: it would be the reason of the failure. */
HP_CHECKED_ static inline hp_status hp_reserve(hp_out *out, size_t n) {
    const size_t need = out->len + n;
    if (need < n) { /* it overflowed */
        out->len = 0;
        return HP_NO_MEMORY;
    }
    /* Check `cap` after grow: a host's callback that raises in its own language may return 0. */
    if (need > out->cap && (out->grow(out, need) != HP_OK || out->cap < need)) {
        out->len = 0;
        return HP_NO_MEMORY;
    }
    return HP_OK;
}

/* Appends `len` bytes. Result: HP_OK, or HP_NO_MEMORY with the text discarded. */
HP_CHECKED_ static inline hp_status hp_write(hp_out *out, const void *data, size_t len) {
    const hp_status status = hp_reserve(out, len);
    if (status == HP_OK && len > 0) {
        memcpy(out->data + out->len, data, len);
        out->len += len;
    }
    return status;
}

/* Appends a NUL-terminated text, without its NUL. Result: HP_OK, or HP_NO_MEMORY with the text discarded. */
HP_CHECKED_ static inline hp_status hp_puts(hp_out *out, const char *text) {
    return hp_write(out, text, strlen(text));
}

/* hp_printf with a va_list, as vprintf; `args` is indeterminate afterwards. */
HP_CHECKED_ HP_FORMAT_(2, 0) static inline hp_status hp_vprintf(hp_out *out, const char *format, va_list args) {
    va_list again;
    va_copy(again, args);
    const size_t room = out->cap - out->len;
    const int written = vsnprintf(out->data + out->len, room, format, args);
    hp_status status = written < 0 ? HP_FAILED : HP_OK;
    if (status == HP_OK && HP_CAST_(size_t, written) >= room) {
        const size_t len = HP_CAST_(size_t, written);
        status = hp_reserve(out, len + 1); /* vsnprintf appends a NUL */
        if (status == HP_OK && vsnprintf(out->data + out->len, len + 1, format, again) != written) {
            status = HP_FAILED;
        }
    }
    out->len = status == HP_OK ? out->len + HP_CAST_(size_t, written) : 0;
    va_end(again);
    return status;
}

/* Appends formatted text, as printf; the terminating NUL is not counted. Result: HP_OK, HP_NO_MEMORY, or HP_FAILED if
 * vsnprintf cannot render the format; a failure discards the text. */
HP_CHECKED_ HP_FORMAT_(2, 3) static inline hp_status hp_printf(hp_out *out, const char *format, ...) {
    va_list args;
    va_start(args, format);
    const hp_status status = hp_vprintf(out, format, args);
    va_end(args);
    return status;
}

/* The length of a text that is cut after `len` bytes, without the start of a character that the cut went through. */
static inline size_t hp_whole_(const char *text, size_t len) {
    size_t start = len;
    while (start > 0 && len - start < 3 && (HP_CAST_(unsigned char, text[start - 1]) & 0xC0) == 0x80) {
        start--;
    }
    if (start > 0) {
        const unsigned char lead = HP_CAST_(unsigned char, text[start - 1]);
        const size_t size = lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
        return len - start + 1 < size ? start - 1 : len;
    }
    return len;
}

/* Replaces the contents of `out` by a formatted reason, which is truncated at the end of a character if memory runs
 * out. If the format cannot be rendered, the format string itself is the reason.
 * Result: `status`, for the method to return; HP_FAILED if `status` is 0 or less. */
HP_CHECKED_ HP_FORMAT_(3, 4) static inline hp_status hp_fail(hp_out *out, hp_status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    out->len = 0;
    const hp_status written = hp_vprintf(out, format, args);
    va_end(args);
    if (written == HP_NO_MEMORY && out->cap > 0) {
        /* Render again into the existing memory, which a failed grow may still have moved. */
        va_start(args, format);
        const int whole = vsnprintf(out->data, out->cap, format, args);
        va_end(args);
        const size_t len = whole < 0 ? 0 : HP_CAST_(size_t, whole);
        out->len = len < out->cap ? len : hp_whole_(out->data, out->cap - 1);
    }
    if (written == HP_FAILED) {
        const size_t len = strlen(format);
        out->len = len <= out->cap ? len : hp_whole_(format, out->cap);
        memcpy(out->data, format, out->len);
    }
    return status > 0 ? status : HP_FAILED;
}

/* Logs formatted text, as printf, to the host's logger "hardpoint.plugin.<name>". `level` is one of HP_LOG_*. Text
 * longer than HP_LOG_MAX bytes is truncated at the end of a character and ends in "...". A NULL host logs nothing.
 * Result: none. One non-blocking send, which never waits and never calls back into the host; a record that the socket
 * has no room for is dropped and counted in `log_dropped`. errno is preserved. Thread: any, at any time after `create`
 * was entered. Not async-signal-safe. */
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
            len = hp_whole_(record.text, HP_LOG_MAX - 3);
            memcpy(record.text + len, "...", 3);
            len += 3;
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

/* ---- building blocks of the generated headers ------------------------------------------------------------------ */

/* The manifest as a string literal: JSON, at most HP_MANIFEST_MAX bytes with its NUL. `methods` is the JSON array as a
 * string literal. */
#define HP_MANIFEST_MAX 4096
#define HP_MANIFEST_(contract, version, plugin, release, methods)                                                      \
    "{\"abi\": \"" HP_NEEDS_ABI "\", \"contract\": \"" contract "\", \"version\": \"" version                          \
    "\", \"plugin\": \"" plugin "\", \"release\": \"" release "\", \"methods\": " methods "}"

/* The note (ELF gABI, "Note Section"): name size, description size, type, name, description, each padded to 4 bytes.
 * aligned(4) is normative: without it gcc leaves gaps between two notes, and hosts refuse the library. */
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

/* Defines one plugin: the note, the copy of the manifest, and the vtable under its exported name. Write the slots as
 *     .greet = greet, .lang = lang        in C, and in C++20 or later (there in the order of the struct's members);
 *     p.greet = greet, p.lang = lang      in C++17, or if HP_CXX17 was defined before the first #include (there no
 *                                         function may itself be named `p`).
 * A function that does not match its slot is a compile error. A C compiler does not report a missing method, nor `()`
 * in place of a function's parameters; `hardpoint check` and `hardpoint build` do. */
#define HP_PLUGIN_(type, text, ...)                                                                                    \
    HP_STATIC_ASSERT_(sizeof(text) <= HP_MANIFEST_MAX, "the manifest is longer than 4096 bytes");                      \
    HP_NOTE_(hp_note_##type, text);                                                                                    \
    static const char hp_manifest_##type[] = text;                                                                     \
    HP_VTABLE_(type, __VA_ARGS__)

#if !defined __cplusplus
/* Older compilers only warn of a function with other parameters than its slot's. The assertion is there for the
 * semicolon that follows the macro: no pragma may stand before that of the definition. */
#define HP_VTABLE_(type, ...)                                                                                          \
    HP_EXPORT_ extern const type hardpoint_##type;                                                                     \
    _Pragma("GCC diagnostic push")                                                                                     \
    _Pragma("GCC diagnostic error \"-Wincompatible-pointer-types\"")                                                   \
    _Pragma("GCC diagnostic error \"-Wint-conversion\"")                                                               \
    const type hardpoint_##type = {.head = HP_HEAD_(type), __VA_ARGS__};                                               \
    _Pragma("GCC diagnostic pop")                                                                                      \
    HP_STATIC_ASSERT_(sizeof(type) % 8 == 0, "a vtable consists of words")
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

/* Frozen layouts: a change does not compile. */
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
