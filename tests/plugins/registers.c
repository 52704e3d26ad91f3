/* Calls functions of random signatures through _registers.h, as the native binding does; each function checks its
 * arguments. tests/test_registers.py writes the functions into another file: a compiler that saw both sides would
 * compile the call to a trap. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "_registers.h"

/* Without a C library when cross-compiled: zig takes a minute and a half to build one. */
#if __STDC_HOSTED__
#include <string.h>
#include <unistd.h>
#else
static long system_call(long number, long first, const void *second, size_t third) {
    register long x0 __asm__("x0") = first, x8 __asm__("x8") = number;
    register const void *x1 __asm__("x1") = second;
    register size_t x2 __asm__("x2") = third;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
}

static long write(int fd, const void *data, size_t size) {
    return system_call(64, fd, data, size);
}

void *memcpy(void *to, const void *from, size_t size) {
    for (size_t at = 0; at < size; at++) {
        ((char *)to)[at] = ((const char *)from)[at];
    }
    return to;
}

void *memset(void *to, int byte, size_t size) {
    for (size_t at = 0; at < size; at++) {
        ((char *)to)[at] = (char)byte;
    }
    return to;
}

int main(void);

__attribute__((noreturn)) void _start(void) {
    for (;;) {
        system_call(94, main(), NULL, 0);
    }
}
#endif

typedef struct {
    hp_function function;
    const char *kinds; /* of its parameters without self and hp_out: s a buffer, i int, f float, ? bool, r a result */
    int32_t status;    /* returned if all arguments are right */
} signature;

extern const signature signatures[];
extern const int signature_count;

bool check_word(int index, uint64_t found);
bool check_double(int index, double found);

static uint64_t words[HP_MOST_WORDS];
static double doubles[HP_MOST_DOUBLES];
static const char *kinds;

static void say(const char *text) {
    size_t size = 0;
    while (text[size] != '\0') {
        size++;
    }
    (void)!write(1, text, size);
}

static void say_number(uint64_t number, unsigned base) {
    char digits[65], *first = digits + sizeof digits - 1;
    *first = '\0';
    do {
        *--first = "0123456789abcdef"[number % base];
    } while ((number /= base) > 0);
    say(first);
}

static bool check(const char *what, int index, uint64_t found, uint64_t given) {
    if (found != given) {
        say(kinds), say(what), say_number((uint64_t)index, 10), say(" is "), say_number(found, 16), say(", not ");
        say_number(given, 16), say("\n");
    }
    return found == given;
}

bool check_word(int index, uint64_t found) {
    return check(": word ", index, found, words[index]);
}

bool check_double(int index, double found) {
    uint64_t bits, given;
    memcpy(&bits, &found, sizeof bits);
    memcpy(&given, &doubles[index], sizeof given);
    return check(": double ", index, bits, given);
}

static uint64_t draw(void) { /* splitmix64 */
    static uint64_t state = 1;
    uint64_t drawn = state += 0x9e3779b97f4a7c15;
    drawn = (drawn ^ drawn >> 30) * 0xbf58476d1ce4e5b9;
    drawn = (drawn ^ drawn >> 27) * 0x94d049bb133111eb;
    return drawn ^ drawn >> 31;
}

static bool call(const signature *signature) {
    int word_count = 0, double_count = 0;
    hp_call call;
    kinds = signature->kinds;
    words[word_count++] = draw(); /* self */
    for (const char *kind = kinds; *kind != '\0'; kind++) {
        if (*kind == 'f') {
            const uint64_t bits = draw();
            memcpy(&doubles[double_count++], &bits, sizeof bits);
        } else {
            words[word_count++] = *kind == '?' ? draw() & 1 : draw();
        }
        if (*kind == 's') {
            words[word_count++] = draw();
        }
    }
    words[word_count++] = draw(); /* the hp_out */
    memset(&call, 0xa5, sizeof call);
    memcpy(call.words, words, (size_t)word_count * sizeof *words);
    memcpy(call.doubles, doubles, (size_t)double_count * sizeof *doubles);
    const hp_shape shape = hp_shape_of(word_count, double_count);
    hp_call_close(&call, shape, call.words + word_count, call.doubles + double_count);
    const int32_t status = hp_call_function(signature->function, shape, &call);
    return check(": status, after word ", word_count, (uint32_t)status, (uint32_t)signature->status);
}

int main(void) {
    int calls = 0, wrong = 0;
    for (int index = 0; index < signature_count; index++) {
        for (int turn = 0; turn < 10; turn++, calls++) {
            wrong += !call(&signatures[index]);
        }
    }
    say_number((uint64_t)calls, 10), say(" calls, "), say_number((uint64_t)wrong, 10), say(" wrong\n");
    return wrong != 0;
}
