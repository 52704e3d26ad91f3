/* A channel: memory that the host and one thread of a worker share, for one call at a time. Both sides include this.
 *
 * It is a memfd of two halves, sealed against another size. The host writes the request at the start of the first half,
 * the worker the reply at the start of the second. Each side maps MAPPED bytes of each half; what lies beyond, the host
 * reads and writes by pread(2) and pwrite(2), which give errors where memory gives SIGBUS, and the worker maps on
 * demand.
 *
 * Wake-up: one word for each direction, `sequence << 1 | WAITING`. Who sleeps sets WAITING by compare-and-swap, and
 * then waits on the futex; who publishes exchanges the whole word, and wakes only if WAITING was set. All is on one
 * location, so no fence between a store and a load is needed on AArch64.
 */
#ifndef HARDPOINT_CHANNEL_H
#define HARDPOINT_CHANNEL_H

#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

enum {
    CHANNEL_MAPPED = 1 << 21, /* bytes of each half that both sides map from the start */
    CHANNEL_LARGE = 4 << 20,  /* bytes of a half from which on memory is given back after a call */
    CHANNEL_FIRST = 2,        /* the word of the first request; each later one is 2 more, at least */
    CHANNEL_WAITING = 1,      /* in a word: its reader sleeps, or is about to */
    CHANNEL_ALIGN = 16        /* of each buffer in a request */
};

/* Numbers in the place of a method. HELLO is the first request on a channel of CONTROL_CONNECT: it is answered at once,
 * with REPLY_NO_THREAD where the worker has no thread for it. */
#define CHANNEL_LOAD 0xFFFFFFFFu
#define CHANNEL_HANG_UP 0xFFFFFFFEu
#define CHANNEL_HELLO 0xFFFFFFFDu

/* At offset 0. Then 8 bytes for each parameter: an int64_t, a double, 0 or 1, or the length of a buffer; then the
 * buffers, in order, each at the next multiple of CHANNEL_ALIGN. */
typedef struct {
    uint32_t word;
    uint32_t method; /* index in the contract, CHANNEL_LOAD or CHANNEL_HANG_UP */
    uint16_t cpu;    /* that the host ran on */
    uint16_t think;  /* time between the last answer and this request, in 1/8 us, at most 65535 */
    uint32_t reserved;
    uint64_t values[];
} Request;

/* Flags of a reply. The host refuses any other bit. */
enum {
    REPLY_GROW_REFUSED = 1, /* a grow of the hp_out was refused */
    REPLY_TAMPERED = 2,     /* the plugin changed data or cap of its hp_out; `len` is 0 */
    REPLY_BAD_STATUS = 4,   /* `status` is none that the ABI has (0 to 65535) */
    REPLY_TOO_LONG = 8,     /* the plugin says it wrote `len` bytes where there was room for `scalar`; no text comes */
    REPLY_NO_THREAD = 16,  /* the worker has no thread for this channel: `status` is errno; nothing was called */
    REPLY_LARGE = 32,      /* the worker mapped more than 4 MiB of this half for it: the host gives that memory back */
    REPLY_FLAGS = 63
};

/* At the offset of the second half. */
typedef struct {
    uint32_t word;
    int32_t status;
    uint64_t len;    /* bytes of text: the result, or the reason of a failure */
    uint64_t scalar; /* the result of a method that returns int, float or bool */
    uint32_t flags;
    uint16_t cpu;     /* that the worker ran on */
    uint16_t service; /* time in the plugin, in 1/8 us, at most 65535 */
    char text[];
} Reply;

_Static_assert(offsetof(Request, values) == 16 && offsetof(Reply, text) == 32, "both sides rely on these offsets");

/* ---- control: a SOCK_SEQPACKET socket between the host and each worker ------------------------------------------- */

enum {
    CONTROL_LOAD = 1,    /* with descriptors: library, output pipe, log socket, counter of dropped records, channel */
    CONTROL_CONNECT = 2, /* with the descriptor of a channel; a thread is started for it */
    CONTROL_END = 3      /* destroy the instance, and exit */
};

typedef struct {
    uint32_t kind;
    uint32_t reserved;
    uint64_t half; /* bytes of each half of the channel */
    uint64_t room; /* bytes that a reply's text may have */
    uint64_t size; /* CONTROL_LOAD: bytes of the recipe, which lies in the channel from Request.values on */
} Control;

/* The worker's one message to the host on that socket, before any code of the plugin runs: what it gave up. */
enum { APPLIED_LANDLOCK = 1, APPLIED_SECCOMP = 2, APPLIED_CAPABILITIES = 4 };

typedef struct {
    uint32_t applied;
    int32_t landlock_errno, seccomp_errno;
    uint32_t reserved;
} Applied;

/* A request CHANNEL_LOAD follows on the first channel. Its reply's `scalar` has the stage in the low 8 bits, and above
 * them, from bit 8 on, CHANGED_* of the process's state. LOADED: `status`, `flags` and text are those of the plugin's
 * create (0 if it has none); with REPLY_TOO_LONG, `scalar` is as for a method. Else `status` and text say more. */
enum {
    STAGE_LOADED = 0,
    STAGE_STALE = 1,    /* the file at the path is not the one that the host checked */
    STAGE_REFUSED = 2,  /* dlopen refused it; the text has its words */
    STAGE_BROKEN = 3,   /* the live vtable is not the file's: `status` is a BROKEN_*, `len` without a text the slot */
    STAGE_LACKING = 4,  /* a step of the sandbox failed where all of it is required; the Applied message says which */
    STAGE_FAILED = 5,   /* a system call failed: `status` is errno, the text its name */
    STAGE_CLOSED = 6    /* code that ran in dlopen closed descriptors of the process */
};
enum {
    BROKEN_NO_SYMBOL = 1, BROKEN_OTHER_LIBRARY = 2, BROKEN_HEAD = 3, BROKEN_MANIFEST = 4,
    BROKEN_EMPTY_SLOT = 5, BROKEN_SLOT = 6
};
enum {
    CHANGED_FLOATING = 1, CHANGED_HANDLERS = 2, CHANGED_MASK = 4, CHANGED_LOCALE = 8, CHANGED_FOLDER = 16,
    CHANGED_UMASK = 32, CHANGED_TIMERS = 64, CHANGED_LIMITS = 128, CHANGED_ENVIRONMENT = 256
};

/* Exit statuses of a worker. */
enum { EXIT_NO_MEMORY = 71, EXIT_OWN_FAULT = 70 };

/* ---- zygote: a SOCK_SEQPACKET socket between the host and the process that forks workers ------------------------- */

enum {
    ZYGOTE_FORK = 1,   /* to it, with the worker's end of a control socket */
    ZYGOTE_FORKED = 2, /* from it, with a pidfd: `pid`; or without one: -errno in `pid`, and what failed in `status` */
    ZYGOTE_ENDED = 3   /* from it: `pid` has ended with `status`, as waitpid(2) has it */
};
enum { FAILED_FORK = 1, FAILED_PIDFD = 2 }; /* `status` of a ZYGOTE_FORKED without a pidfd */

typedef struct {
    uint32_t kind;
    int32_t pid;
    int32_t status;
    uint32_t reserved;
} Notice;

/* Why a reply is malformed, for the host's errors. */
enum {
    MALFORMED_WORD = 1,   /* the reply's word is neither the one before, nor that with WAITING, nor the answer's */
    MALFORMED_FLAGS = 2,
    MALFORMED_STATUS = 3, /* out of range without REPLY_BAD_STATUS */
    MALFORMED_LENGTH = 4, /* beyond the room */
    MALFORMED_HOLES = 5,  /* a text in memory that nobody wrote to */
    MALFORMED_WAKES = 6   /* a thousand wakes without an answer */
};

/* ---- shared helpers ---------------------------------------------------------------------------------------------- */

static inline uint64_t channel_align(uint64_t offset) {
    return (offset + CHANNEL_ALIGN - 1) & ~(uint64_t)(CHANNEL_ALIGN - 1);
}

/* memfd_create(2), which glibc has from 2.27 on; wheels are built with an older one. A descriptor, or -1 with errno. */
enum { MEMORY_CLOSES = 1, MEMORY_SEALS = 2 }; /* MFD_CLOEXEC, MFD_ALLOW_SEALING */

static inline int channel_memory(const char *name, unsigned flags) {
#if defined __x86_64__
    const long number = 319;
#else
    const long number = 279;
#endif
    return (int)syscall(number, name, flags);
}

static inline void channel_pause(void) {
#if defined __x86_64__
    __builtin_ia32_pause();
#elif defined __aarch64__
    __asm__ volatile("isb" ::: "memory");
#endif
}

#endif
