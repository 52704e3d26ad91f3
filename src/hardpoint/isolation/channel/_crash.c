/* Reports a fatal signal to stderr, with the functions on the stack, and then dies of it. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <execinfo.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "_program.h"

enum {
    STACK = 1 << 16,  /* bytes for the handler; backtrace_symbols_fd takes 3,000, a frame of signal with AMX 11,000 */
    OWN = 3,          /* frames: say_frames, the handler, and what the kernel returns to */
    MOST = OWN + 12,  /* frames, of twenty lines that the host keeps of all output */
    PATIENCE = 2,     /* seconds for all of it */
    NEAR = 1 << 16    /* bytes from the stack pointer at which an access is the stack's own */
};

static const struct {
    int number;
    const char *name;
} fatal[] = {{SIGSEGV, "SIGSEGV"}, {SIGBUS, "SIGBUS"}, {SIGFPE, "SIGFPE"}, {SIGILL, "SIGILL"}, {SIGABRT, "SIGABRT"}};
enum { FATAL = sizeof fatal / sizeof fatal[0] };

static atomic_int dying; /* the signal, once there is one */
static void *program;    /* this program's base; its own frames are left out */

void say(const char *text) {
    const ssize_t ignored = write(STDERR_FILENO, text, strlen(text));
    (void)ignored; /* there is nowhere else to report it */
}

static void say_address(uintptr_t address) {
    char text[2 + 2 * sizeof address + 1];
    char *at = text + sizeof text - 1;
    *at = '\0';
    do {
        *--at = "0123456789abcdef"[address & 15];
        address >>= 4;
    } while (address != 0);
    *--at = 'x';
    *--at = '0';
    say(at);
}

static uintptr_t stack_pointer(const void *context) {
    const mcontext_t *machine = &((const ucontext_t *)context)->uc_mcontext;
#if defined __x86_64__
    return (uintptr_t)machine->gregs[REG_RSP];
#elif defined __aarch64__
    return (uintptr_t)machine->sp;
#else
#error "hardpoint runs on x86-64 and AArch64"
#endif
}

static void say_where(const siginfo_t *info, const void *context) {
    const uintptr_t address = (uintptr_t)info->si_addr, stack = stack_pointer(context);
    if (info->si_signo == SIGABRT || info->si_code <= 0 || info->si_code == SI_KERNEL) {
        return; /* sent by a process, or without an address */
    }
    say(" at address ");
    say_address(address);
    if (info->si_signo == SIGSEGV && (address < stack ? stack - address : address - stack) < NEAR) {
        say(", where the stack ends: too deep a recursion, or too large a local variable");
    }
}

/* While its constructors run, a library has the name that it was opened by; its path is said instead. */
static const char *opened_as, *opened_path;

void crash_name(const char *name, const char *path) {
    opened_as = name;
    opened_path = path;
}

/* A line as backtrace_symbols_fd writes it. */
static void say_frame(void *frame, const Dl_info *found) {
    if (found->dli_fname == NULL || opened_as == NULL || strcmp(found->dli_fname, opened_as) != 0) {
        backtrace_symbols_fd(&frame, 1, STDERR_FILENO);
        return;
    }
    say(opened_path);
    say("(+");
    say_address((uintptr_t)frame - (uintptr_t)found->dli_fbase);
    say(")[");
    say_address((uintptr_t)frame);
    say("]\n");
}

__attribute__((noinline)) static void say_frames(void) {
    void *frames[MOST];
    Dl_info found;
    const int count = backtrace(frames, MOST);
    for (int i = OWN; i < count; i++) {
        if (dladdr(frames[i], &found) == 0) {
            found.dli_fname = NULL;
        } else if (found.dli_fbase == program) {
            return;
        }
        say_frame(frames[i], &found);
    }
    if (count == MOST) {
        say("...\n");
    }
}

/* Dies of the signal, in whatever thread this is. */
static void die(int number) {
    sigset_t set;
    signal(number, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, number);
    raise(number);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/* SIGALRM: the dying thread waits for a lock of the dynamic linker that another thread holds. */
static void give_up(int number) {
    (void)number;
    die(dying);
}

static void on_fatal(int number, siginfo_t *info, void *context) {
    static const struct sigaction alarmed = {.sa_handler = give_up};
    int none = 0;
    if (!atomic_compare_exchange_strong(&dying, &none, number)) {
        for (;;) {
            pause(); /* another thread was first, and ends the process */
        }
    }
    sigaction(SIGALRM, &alarmed, NULL);
    alarm(PATIENCE);
    for (size_t i = 0; i < FATAL; i++) {
        if (fatal[i].number == number) {
            say(fatal[i].name);
        }
    }
    say_where(info, context);
    say(":\n");
    say_frames();
    die(number);
}

void *crash_guard(void) {
    stack_t stack = {.ss_size = STACK};
    stack.ss_sp = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack.ss_sp == MAP_FAILED) {
        return NULL;
    }
    if (sigaltstack(&stack, NULL) != 0) {
        munmap(stack.ss_sp, STACK);
        return NULL;
    }
    return stack.ss_sp;
}

void crash_unguard(void *stack) {
    const stack_t none = {.ss_flags = SS_DISABLE};
    if (stack != NULL) {
        sigaltstack(&none, NULL);
        munmap(stack, STACK);
    }
}

/* For a process of the host that runs a plugin's code by itself, and what it forks; see conformance/nursery.py. */
__attribute__((visibility("default"))) void hp_crash_install(void) {
    crash_install();
    (void)crash_guard();
}

void crash_install(void) {
    struct sigaction action = {.sa_sigaction = on_fatal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    Dl_info found;
    void *frame;
    if (dladdr(&fatal, &found) != 0) {
        program = found.dli_fbase;
    }
    (void)backtrace(&frame, 1); /* loads libgcc_s, for which it would be too late in a handler */
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < FATAL; i++) {
        sigaddset(&action.sa_mask, fatal[i].number); /* a second fault, in the handler, then ends the process */
    }
    for (size_t i = 0; i < FATAL; i++) {
        sigaction(fatal[i].number, &action, NULL);
    }
}
