/* Holder: the life of an instance, and calls one at a time for HP_SERIAL. */
#include "_holder.h"
#include "../isolation/channel/_ticks.h"

#include <stddef.h>
#include <structmember.h>

PyTypeObject *instance_type;
Py_ssize_t holder_offset;
unsigned long fork_count;

Holder *holder_new(void *pointer, void (*destroy)(void *), bool serial) {
    Holder *holder = PyObject_New(Holder, &Holder_Type);
    if (holder == NULL) {
        return NULL;
    }
    holder->pointer = pointer;
    holder->destroy = NULL;
    holder->owner = 0;
    holder->forks = fork_count;
    holder->session = holder->free = NULL;
    holder->is_pool = false;
    holder->lock = serial ? PyThread_allocate_lock() : NULL;
    if (serial && holder->lock == NULL) {
        Py_DECREF(holder);
        PyErr_NoMemory();
        return NULL;
    }
    holder->destroy = destroy;
    return holder;
}

static bool is_finalizing(void) {
#if PY_VERSION_HEX >= 0x030D0000
    return Py_IsFinalizing();
#else
    return _Py_IsFinalizing();
#endif
}

/* Calls the session's `end`, whatever error is under way. */
static void end_session(PyObject *session) {
    PyObject *error = error_take();
    PyObject *name = PyUnicode_InternFromString("end"); /* as in slot_offset */
    PyObject *ended = name == NULL ? NULL : PyObject_CallMethodNoArgs(session, name);
    Py_XDECREF(name);
    if (ended == NULL) {
        PyErr_WriteUnraisable(session);
    }
    Py_XDECREF(ended);
    error_put(error);
}

static void holder_dealloc(Holder *holder) {
    /* As in the other bindings: in a forked child the instance belongs to the parent, and at exit what destroy needs
     * may be gone. */
    if (holder->destroy != NULL && holder->forks == fork_count && !is_finalizing()) {
        Py_BEGIN_ALLOW_THREADS
        holder->destroy(holder->pointer);
        Py_END_ALLOW_THREADS
    }
    if (holder->session != NULL && holder->forks == fork_count && !is_finalizing()) {
        end_session(holder->session);
    }
    if (holder->session != NULL) {
        Py_XDECREF((PyObject *)holder->pointer);
    }
    Py_XDECREF(holder->session);
    Py_XDECREF(holder->free);
    if (holder->lock != NULL) {
        PyThread_free_lock(holder->lock);
    }
    PyObject_Free(holder);
}

static PyMemberDef holder_members[] = {
    {"pointer", T_ULONG, offsetof(Holder, pointer), READONLY, "The address that create gave."},
    {NULL, 0, 0, 0, NULL},
};

PyTypeObject Holder_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "hardpoint.binding._native.Holder",
    .tp_doc = "The pointer that create gave; the instance is destroyed with the last reference.",
    .tp_basicsize = sizeof(Holder),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .tp_dealloc = (destructor)holder_dealloc,
    .tp_members = holder_members,
};

Holder *holder_ask(const NativeMethod *method, PyObject *self) {
    PyObject *instance = slot_at(self, method->instance_offset);
    if (instance == NULL) {
        PyErr_Format(PyExc_AttributeError, "%R was not made by hardpoint.load, and has no _instance", self);
        return NULL;
    }
    PyObject *held = PyObject_CallMethod(instance, "hold", "O", method->name);
    if (held != NULL && Py_IS_TYPE(held, &Holder_Type) && ((Holder *)held)->forks != fork_count) {
        Py_SETREF(held, PyObject_CallMethod(instance, "hold_after_fork", "O", method->name));
    }
    if (held != NULL && !Py_IS_TYPE(held, &Holder_Type)) {
        PyErr_Format(PyExc_TypeError, "%R is not an instance that the native binding made", instance);
        Py_CLEAR(held);
    }
    return (Holder *)held;
}

/* ---- calls one at a time, for HP_SERIAL -------------------------------------------------------------------------- */

/* -1 with an error if the instance was closed while the call waited for its turn. */
static int check_still_open(const NativeMethod *method, PyObject *self, const Holder *holder) {
    Holder *now = holder_of(method, self);
    const bool same = now == holder;
    if (now != NULL && !same) {
        PyErr_SetString(PyExc_RuntimeError, "the instance was exchanged during a call");
    }
    Py_XDECREF(now);
    return same ? 0 : -1;
}

/* Raises the CallError for a call from within a call on the same thread. */
static void raise_nested(const NativeMethod *method, PyObject *self) {
    PyObject *instance = slot_at(self, method->instance_offset);
    PyObject *error = PyObject_CallMethod(instance, "nested", "O", method->name);
    if (error != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
        Py_DECREF(error);
    }
}

/* Microseconds until a deadline, as the lock takes them: -1 for ever, and no more than a day, after which it is asked
 * again. */
static PY_TIMEOUT_T time_left(int64_t deadline) {
    const PY_TIMEOUT_T day = (PY_TIMEOUT_T)86400 * 1000000;
    if (deadline == INT64_MAX) {
        return -1;
    }
    const int64_t left = (deadline - clock_now()) / 1000;
    return left <= 0 ? 0 : left < day ? left : day;
}

/* Waits for the lock only with the GIL released: the thread that has the lock may need the GIL to release it (seen). */
int turn_take(const NativeMethod *method, PyObject *self, Holder *holder, int64_t deadline) {
    const unsigned long me = PyThread_get_thread_ident();
    PyLockStatus got = PyThread_acquire_lock_timed(holder->lock, 0, 0);
    if (got != PY_LOCK_ACQUIRED && holder->owner == me) {
        raise_nested(method, self);
        return -1;
    }
    const bool waited = got != PY_LOCK_ACQUIRED;
    while (got != PY_LOCK_ACQUIRED) {
        const PY_TIMEOUT_T left = time_left(deadline);
        if (left == 0) {
            return 1;
        }
        Py_BEGIN_ALLOW_THREADS
        got = PyThread_acquire_lock_timed(holder->lock, left, 1);
        Py_END_ALLOW_THREADS
        if (got == PY_LOCK_INTR && PyErr_CheckSignals() < 0) {
            return -1;
        }
    }
    holder->owner = me;
    if (waited && check_still_open(method, self, holder) < 0) {
        turn_end(holder);
        return -1;
    }
    return 0;
}
