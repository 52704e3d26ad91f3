/* Holder: the pointer that create gave. It is destroyed with the Holder's last reference. */
#ifndef HARDPOINT_HOLDER_H
#define HARDPOINT_HOLDER_H

#include "_method.h"

#pragma GCC visibility push(hidden)

typedef struct {
    PyObject_HEAD
    void *pointer; /* what create gave; of an isolated plugin, its Plugin, which it has a reference to */
    void (*destroy)(void *self);
    PyThread_type_lock lock; /* serialises calls of an HP_SERIAL plugin; NULL for others */
    unsigned long owner;     /* the thread that has the lock; read and written with the GIL held */
    unsigned long forks;     /* fork_count when it was made */
    PyObject *session;       /* of an isolated plugin, whose `end` is then what destroys; NULL for others */
    PyObject *free;          /* its list of connections that no call uses */
    bool is_pool;            /* the session gets every connection back itself */
} Holder;

extern PyTypeObject Holder_Type;

/* hardpoint.binding.instance.Instance, and the offset of its `_holder`; see native_set_up. */
extern PyTypeObject *instance_type;
extern Py_ssize_t holder_offset;

extern unsigned long fork_count; /* forks between the first process and this one */

/* A Holder with a lock if `serial`; NULL with an error. */
Holder *holder_new(void *pointer, void (*destroy)(void *), bool serial);

/* Slow path of holder_of: Python's Instance.hold, which raises ClosedError. */
Holder *holder_ask(const NativeMethod *method, PyObject *self);

/* Takes the lock of a serial plugin for this thread, by a time of CLOCK_MONOTONIC in ns, or INT64_MAX: 0, 1 if that has
 * passed, or -1 with an error. */
int turn_take(const NativeMethod *method, PyObject *self, Holder *holder, int64_t deadline);

static inline void turn_end(Holder *holder) {
    holder->owner = 0;
    PyThread_release_lock(holder->lock);
}

static inline PyObject *slot_at(PyObject *object, Py_ssize_t offset) {
    return *(PyObject **)((char *)object + offset);
}

/* The Holder for a call, a new reference; NULL with ClosedError if the instance is closed. */
static inline Holder *holder_of(const NativeMethod *method, PyObject *self) {
    PyObject *instance = slot_at(self, method->instance_offset);
    if (instance != NULL && Py_IS_TYPE(instance, instance_type)) {
        PyObject *holder = slot_at(instance, holder_offset);
        if (holder != NULL && Py_IS_TYPE(holder, &Holder_Type) && ((Holder *)holder)->forks == fork_count) {
            return (Holder *)Py_NewRef(holder);
        }
    }
    return holder_ask(method, self);
}

#pragma GCC visibility pop

#endif
