/* The arguments of one call as C takes them, and the conversions that are not the plain case. */
#ifndef HARDPOINT_ARGUMENTS_H
#define HARDPOINT_ARGUMENTS_H

#include "_method.h"

#pragma GCC visibility push(hidden)

typedef struct {
    hp_call call;
    size_t size; /* bytes in all buffers together */
    int held;    /* how many of `buffers` are to be released after the call */
    Py_buffer buffers[MOST_PARAMETERS];
} CallArguments;

typedef struct {
    const void *data; /* NULL with an error set */
    Py_ssize_t size;
} Bytes;

/* UTF-8 of a str that is not compact ASCII, or the TypeError. */
Bytes argument_text(const NativeMethod *method, Py_ssize_t index, PyObject *value, CallArguments *arguments);

/* The memory of a bytes-like object, held until arguments_release, or the TypeError. */
Bytes argument_buffer(const NativeMethod *method, Py_ssize_t index, PyObject *value, CallArguments *arguments);

/* Slow path of an int: whatever has __index__, or OverflowError. -1 with an error set, or for the number -1. */
int64_t argument_integer(const NativeMethod *method, Py_ssize_t index, PyObject *value);

/* Slow path of a float: whatever has __float__ or __index__. -1 with an error set, or for the number -1. */
double argument_number(const NativeMethod *method, Py_ssize_t index, PyObject *value);

/* Slow path of a bool: NumPy's. -1 with an error set. */
int argument_truth(const NativeMethod *method, Py_ssize_t index, PyObject *value);

/* Raises the TypeError for an argument of the wrong type. */
Bytes argument_refuse(const NativeMethod *method, Py_ssize_t index, PyObject *value);

static inline int64_t integer_of(const NativeMethod *method, Py_ssize_t index, PyObject *value) {
    if (PyLong_Check(value)) {
        int overflow;
        const int64_t number = PyLong_AsLongLongAndOverflow(value, &overflow);
        if (overflow == 0) {
            return number;
        }
    }
    return argument_integer(method, index, value);
}

static inline Bytes buffer_of(const NativeMethod *method, Py_ssize_t index, PyObject *value, CallArguments *arguments) {
    if (method->kinds[index] == 'b' && PyBytes_CheckExact(value)) {
        return (Bytes){PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)};
    }
    return argument_buffer(method, index, value, arguments);
}

static inline void arguments_release(CallArguments *arguments) {
    while (arguments->held > 0) {
        PyBuffer_Release(&arguments->buffers[--arguments->held]);
    }
}

#pragma GCC visibility pop

#endif
