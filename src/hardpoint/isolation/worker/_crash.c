/* What a worker says when it dies: the signal, and the functions on the stack, to stderr; then it dies of it all the same.
 *
 * Optional: without it, Python's faulthandler says which signal it was, and knows nothing of the plugin's functions.
 */
#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <dlfcn.h>
#include <execinfo.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

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
static pthread_key_t stack_key;
static void *interpreter; /* where libpython lies, or the program with it: what called the plugin from there is no news */

static void say(const char *text) {
    const ssize_t ignored = write(STDERR_FILENO, text, strlen(text));
    (void)ignored; /* nobody could be told */
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
        return; /* it was sent, or the machine does not say */
    }
    say(" at address ");
    say_address(address);
    if (info->si_signo == SIGSEGV && (address < stack ? stack - address : address - stack) < NEAR) {
        say(", where the stack ends: too deep a recursion, or too large a local variable");
    }
}

__attribute__((noinline)) static void say_frames(void) {
    void *frames[MOST];
    Dl_info found;
    const int count = backtrace(frames, MOST);
    for (int i = OWN; i < count; i++) {
        if (dladdr(frames[i], &found) != 0 && found.dli_fbase == interpreter) {
            return;
        }
        backtrace_symbols_fd(frames + i, 1, STDERR_FILENO);
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

/* SIGALRM: the thread that dies waits for a lock of the dynamic loader that another one has. */
static void give_up(int number) {
    (void)number;
    die(dying);
}

static void on_fatal(int number, siginfo_t *info, void *context) {
    static const struct sigaction alarmed = {.sa_handler = give_up};
    int nobody = 0;
    if (!atomic_compare_exchange_strong(&dying, &nobody, number)) {
        for (;;) {
            pause(); /* another thread was first, and ends all */
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

static void drop_stack(void *memory) {
    const stack_t none = {.ss_flags = SS_DISABLE};
    sigaltstack(&none, NULL);
    munmap(memory, STACK);
}

PyDoc_STRVAR(guard_doc, "guard()\n\nGive the calling thread a stack for the handler, for the day that its own is full.");

static PyObject *crash_guard(PyObject *module, PyObject *unused) {
    (void)module;
    (void)unused;
    stack_t stack = {.ss_size = STACK};
    stack.ss_sp = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack.ss_sp == MAP_FAILED) {
        Py_RETURN_NONE; /* it has its own stack as yet */
    }
    if (sigaltstack(&stack, NULL) != 0 || pthread_setspecific(stack_key, stack.ss_sp) != 0) {
        drop_stack(stack.ss_sp);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(install_doc, "install()\n\nHave fatal signals told on stderr, also in processes that are forked from this one.");

static PyObject *crash_install(PyObject *module, PyObject *unused) {
    struct sigaction action = {.sa_sigaction = on_fatal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    Dl_info found;
    void *frame;
    if (dladdr((void *)&PyErr_NoMemory, &found) != 0) {
        interpreter = found.dli_fbase;
    }
    (void)backtrace(&frame, 1); /* loads libgcc_s, for which it would be too late in a handler */
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < FATAL; i++) {
        sigaddset(&action.sa_mask, fatal[i].number); /* a second fault, in the handler, then ends the process */
    }
    for (size_t i = 0; i < FATAL; i++) {
        if (sigaction(fatal[i].number, &action, NULL) != 0) {
            return PyErr_SetFromErrno(PyExc_OSError);
        }
    }
    return crash_guard(module, unused);
}

static PyMethodDef functions[] = {
    {"guard", crash_guard, METH_NOARGS, guard_doc},
    {"install", crash_install, METH_NOARGS, install_doc},
    {NULL, NULL, 0, NULL},
};

static int execute(PyObject *module) {
    (void)module;
    if (pthread_key_create(&stack_key, drop_stack) != 0) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, execute}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "hardpoint.isolation.worker._crash",
    .m_doc = "What a worker says when it dies; hardpoint.isolation.worker.crash is its face.",
    .m_methods = functions,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__crash(void) {
    return PyModuleDef_Init(&definition);
}
