/* The calls of a channel: the plugin's methods, and the thread that serves one channel. */
#ifndef HARDPOINT_SERVE_H
#define HARDPOINT_SERVE_H

#include "../../binding/_registers.h"
#include "_served.h"

#pragma GCC visibility push(hidden)

typedef struct {
    hp_function function; /* NULL: the plugin does not have it */
    hp_shape shape;
    uint8_t count;
    char result;   /* 's' str, 'b' bytes, 'i' int, 'f' float, '?' bool, 'n' None */
    char kinds[8]; /* the same, and 'w' bytearray */
} Method;

/* The plugin's instance, which all threads call. Set once, before there are any. */
typedef struct {
    void *self;
    void (*destroy)(void *self);
    const Method *methods;
    uint32_t count;
} Instance;
extern Instance instance;

/* Measures the processor's counter; once, in the zygote. */
void serve_prepare(void);

/* Fills in the shape of a method's calls. */
void plan_method(Method *method);

/* Starts the thread of a channel, which then owns it. Returns 0 or an errno: EAGAIN if there may be no more threads,
 * ENOMEM if there is no memory for its stack. */
int serve_start(Channel *channel);

#pragma GCC visibility pop

#endif
