/* A greeter that -D breaks in one way. Loading it creates the file named by $HARDPOINT_RAN. */
#include <fcntl.h>
#include <fenv.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "greeter.h"

#ifndef CONTRACT
#define CONTRACT "greeter"
#endif
#ifndef VERSION
#define VERSION "1.0"
#endif
#ifndef PLUGIN
#define PLUGIN "broken"
#endif
#ifndef RELEASE
#define RELEASE "1.0.0"
#endif
#ifndef METHODS
#define METHODS GREETER_V1_METHODS
#endif
#ifndef NOTE
#define NOTE HP_MANIFEST_(CONTRACT, VERSION, PLUGIN, RELEASE, METHODS)
#endif
#ifndef COPY
#define COPY NOTE
#endif
#ifndef OWNER
#define OWNER "hardpoint"
#endif
#ifndef SIZE
#define SIZE sizeof(greeter_v1)
#endif
#ifndef MAJOR
#define MAJOR HP_ABI_MAJOR
#endif
#ifndef MINOR
#define MINOR HP_ABI_MINOR
#endif
#ifndef FLAGS
#define FLAGS 0
#endif
#ifndef GREET
#define GREET greet
#endif
#ifndef SLOTS
#define SLOTS .greet = GREET, .lang = lang
#endif
#ifndef SYMBOL
#define SYMBOL hardpoint_greeter_v1
#endif
#ifndef TYPE
#define TYPE const greeter_v1
#endif

/* Vtables with one method less, and one method more. */
typedef struct {
    hp_head head;
    uint64_t flags;
    void *life[3];
    hp_status (*greet)(void *self, const char *name, size_t name_len, hp_out *out);
} small_v1;

typedef struct {
    greeter_v1 v1;
    hp_status (*bow)(void *self, hp_out *out);
} large_v1;

#define ANY_NOTE(name, text)                                                                                           \
    static const struct {                                                                                              \
        uint32_t name_size, description_size, type;                                                                    \
        char owner[12], description[(sizeof(text) + 3) / 4 * 4];                                                       \
    } name HP_NOTE_ATTRIBUTES_ = {sizeof OWNER, sizeof(text), 1, OWNER, text}

#ifndef NO_NOTE
ANY_NOTE(note, NOTE);
#endif
#ifdef SECOND_NOTE
ANY_NOTE(second_note, SECOND_NOTE);
#endif

static const char copy[] = COPY;

__attribute__((unused)) static hp_status greet(void *self, const char *name, size_t name_len, hp_out *out) {
    (void)self;
    return hp_write(out, name, name_len);
}

__attribute__((unused)) static hp_status lang(void *self, hp_out *out) {
    (void)self;
    return hp_puts(out, "Broken");
}

#ifdef UNDEFINED
hp_status nowhere(void *self, const char *name, size_t name_len, hp_out *out);
#endif

#if defined SYMBOL_IS_FUNCTION
HP_EXPORT_ hp_status SYMBOL(void);
hp_status SYMBOL(void) { return (hp_status)copy[0] + lang(NULL, NULL); }
#elif defined SYMBOL_IS_ELSEWHERE
extern const greeter_v1 SYMBOL;
HP_EXPORT_ const void *use(void);
const void *use(void) { return copy[0] == 0 ? (const void *)copy : (const void *)&SYMBOL; }
#elif defined SYMBOL_IS_ODD /* at a multiple of 8 plus 4: compilers align it to 8 */
static const struct __attribute__((packed, aligned(8))) {
    uint32_t before;
    greeter_v1 v1;
} home __attribute__((used)) = {0, {.head = {SIZE, MAJOR, MINOR, copy}, .flags = FLAGS, SLOTS}};
__asm__(".globl hardpoint_greeter_v1\n.type hardpoint_greeter_v1, %object\n"
        ".set hardpoint_greeter_v1, home + 4\n.size hardpoint_greeter_v1, 64");
#elif defined SYMBOL_IS_EMPTY
HP_EXPORT_ extern greeter_v1 SYMBOL;
greeter_v1 SYMBOL;
__attribute__((constructor)) static void fill(void) {
    SYMBOL = (greeter_v1){.head = {SIZE, MAJOR, MINOR, copy}, SLOTS};
}
#else
HP_EXPORT_ extern TYPE SYMBOL;
#ifdef WHOLE
TYPE SYMBOL = {WHOLE};
#else
TYPE SYMBOL = {.head = {SIZE, MAJOR, MINOR, copy}, .flags = FLAGS, SLOTS};
#endif
#endif

#ifdef LIVE /* a constructor that changes the vtable after load; needs -DTYPE=greeter_v1 */
__attribute__((constructor)) static void change(void) {
    if (getpid() > 0) { /* always true, but not a constant: or the compiler would change the initial value */
        SYMBOL.LIVE;
    }
}
#endif

#ifdef DISTURB_FLOATING
__attribute__((constructor)) static void disturb_floating(void) { fesetround(FE_UPWARD); }
#endif
#ifdef DISTURB_SIGNAL
static void caught(int number) { (void)number; }
__attribute__((constructor)) static void disturb_signal(void) { signal(SIGUSR2, caught); }
#endif
#ifdef DISTURB_REST
static void handler(int number) { (void)number; }
__attribute__((constructor)) static void disturb_rest(void) {
    signal(SIGUSR1, handler);
    setlocale(LC_ALL, "C.UTF-8");
    if (chdir("/") != 0) {
        abort();
    }
}
#endif

__attribute__((constructor)) static void leave_a_trace(void) {
    const char *path = getenv("HARDPOINT_RAN");
    if (path != NULL) {
        const int fd = open(path, O_CREAT | O_WRONLY, 0600);
        if (fd >= 0) {
            close(fd);
        }
    }
}
