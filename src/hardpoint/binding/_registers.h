/* A call of a C function whose parameters are known only at run time, as words and doubles.
 *
 * On x86-64 (System V psABI, 3.2.3) and AArch64 (AAPCS64, 6.8) integers and doubles are assigned to registers
 * independently of each other: the first words to the integer registers, the first doubles to the vector registers, and
 * the remainder to the stack, eight bytes each. So one prototype with all registers of both kinds, followed by words on
 * the stack, can call every function: it does not look at registers that it has no parameters for. At most 8 doubles
 * are passed, so none of them is on the stack. A bool is a word of 0 or 1.
 */
#ifndef HARDPOINT_REGISTERS_H
#define HARDPOINT_REGISTERS_H

#include <stdint.h>

#if defined __x86_64__ && !defined __ILP32__
#define HP_REGISTERS 6
#define HP_WORDS_(w) w[0], w[1], w[2], w[3], w[4], w[5]
#define HP_WORD_TYPES_ uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t
#elif defined __aarch64__ && !defined __ILP32__
#define HP_REGISTERS 8
#define HP_WORDS_(w) w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7]
#define HP_WORD_TYPES_ uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t
#else
#error "the native binding supports x86-64 and AArch64; on other machines hardpoint calls through cffi"
#endif

#define HP_DOUBLES_(d) d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]
#define HP_DOUBLE_TYPES_ double, double, double, double, double, double, double, double
#define HP_STACK_(s) s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8], s[9], s[10], s[11], s[12]
#define HP_STACK_TYPES_                                                                                                \
    uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,      \
        uint64_t, uint64_t

enum {
    HP_MOST_DOUBLES = 8,
    HP_MOST_ON_STACK = 13,
    HP_MOST_WORDS = 19 /* self, eight buffers of two, a result, an hp_out */
};
_Static_assert(HP_MOST_WORDS <= HP_REGISTERS + HP_MOST_ON_STACK, "not enough room for all words of a call");

/* Hot path; inlining saves 2 of 50 ns, and gcc does not inline functions of this size with more than one caller. */
#define HP_HOT __attribute__((always_inline)) static inline

typedef void (*hp_function)(void);

/* Which registers a call needs. Most calls need only a few words, and are faster with a prototype of their own. */
typedef enum { HP_TWO_WORDS, HP_FOUR_WORDS, HP_WORDS_ONLY, HP_WORDS_AND_DOUBLES, HP_WITH_STACK } hp_shape;

typedef struct {
    uint64_t words[HP_REGISTERS + HP_MOST_ON_STACK];
    double doubles[HP_MOST_DOUBLES];
} hp_call;

static inline hp_shape hp_shape_of(int words, int doubles) {
    if (words > HP_REGISTERS || doubles > 0) {
        return words > HP_REGISTERS ? HP_WITH_STACK : HP_WORDS_AND_DOUBLES;
    }
    return words == 2 ? HP_TWO_WORDS : words == 4 ? HP_FOUR_WORDS : HP_WORDS_ONLY;
}

/* Zeroes the words and doubles that are passed but unused; `word` and `number` point behind the last used ones. */
static inline void hp_call_close(hp_call *call, hp_shape shape, uint64_t *word, double *number) {
    if (shape <= HP_FOUR_WORDS) { /* none is unused; gcc would turn the loop below into a call of memset */
        return;
    }
    uint64_t *end = call->words + HP_REGISTERS + (shape == HP_WITH_STACK ? HP_MOST_ON_STACK : 0);
    while (word < end) {
        *word++ = 0;
    }
    while (shape != HP_WORDS_ONLY && number < call->doubles + HP_MOST_DOUBLES) {
        *number++ = 0;
    }
}

/* Calls `function`, which returns an int32_t. The prototypes differ from the function's own on purpose: this relies on
 * the machine's calling convention, and a sanitizer of indirect calls (-fsanitize=function) would report it. */
HP_HOT int32_t hp_call_function(hp_function function, hp_shape shape, const hp_call *call) {
    const uint64_t *words = call->words, *stack = call->words + HP_REGISTERS;
    const double *doubles = call->doubles;
    switch (shape) {
    case HP_TWO_WORDS: /* self and the hp_out; below also one text. Most methods are of these two shapes */
        return ((int32_t(*)(uint64_t, uint64_t))function)(words[0], words[1]);
    case HP_FOUR_WORDS:
        return ((int32_t(*)(uint64_t, uint64_t, uint64_t, uint64_t))function)(words[0], words[1], words[2], words[3]);
    case HP_WORDS_ONLY:
        return ((int32_t(*)(HP_WORD_TYPES_))function)(HP_WORDS_(words));
    case HP_WORDS_AND_DOUBLES:
        return ((int32_t(*)(HP_WORD_TYPES_, HP_DOUBLE_TYPES_))function)(HP_WORDS_(words), HP_DOUBLES_(doubles));
    default:
        return ((int32_t(*)(HP_WORD_TYPES_, HP_DOUBLE_TYPES_, HP_STACK_TYPES_))function)(
            HP_WORDS_(words), HP_DOUBLES_(doubles), HP_STACK_(stack));
    }
}

#endif
