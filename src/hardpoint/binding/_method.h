/* NativeMethod: a method of a plugin object, with the plan of its calls. */
#ifndef HARDPOINT_METHOD_H
#define HARDPOINT_METHOD_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "../contracts/hardpoint.h"
#include "_registers.h"

#pragma GCC visibility push(hidden)

enum { MOST_PARAMETERS = 8 };

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    hp_function function;
    Py_ssize_t count;            /* of parameters */
    char kinds[MOST_PARAMETERS]; /* 's' str, 'b' bytes, 'w' bytearray, 'i' int, 'f' float, '?' bool */
    char result;                 /* the same, or 'n' for None */
    bool quick;
    hp_shape shape;
    PyTypeObject *owner;        /* the class that it is a method of; NULL before __set_name__ */
    Py_ssize_t instance_offset; /* of `_instance` in objects of that class */
    PyObject *name;
    PyObject *arguments; /* (self, *args, **kwargs) -> tuple of all of them in order */
    PyObject *convert;   /* (index, value, error) -> the argument's value, on the slow path */
    PyObject *conclude;  /* see out_conclude */
    PyObject *dict;
    PyObject *weak_references;
} NativeMethod;

extern PyTypeObject NativeMethod_Type;

/* Calls the method: the vectorcall slot. */
PyObject *method_call(PyObject *callable, PyObject *const *args, size_t nargsf, PyObject *kwnames);

/* A call with keywords, of another length, or on an object of another class: has Python order the arguments, and calls
 * again. */
PyObject *method_call_out_of_order(PyObject *callable, PyObject *const *args, size_t nargsf, PyObject *kwnames);

/* What a NativeMethod and those derived from it have in common: sets the plan of a method's calls, ValueError for a
 * kind that the contract language does not have; and drops all that it holds. */
int method_plan(NativeMethod *method, const char *kinds, Py_ssize_t count, int result);
void method_drop(NativeMethod *method);

/* Takes the current exception, with its traceback; NULL if there is none. */
static inline PyObject *error_take(void) {
#if PY_VERSION_HEX >= 0x030C0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *error, *trace;
    PyErr_Fetch(&type, &error, &trace);
    if (type != NULL) {
        PyErr_NormalizeException(&type, &error, &trace);
    }
    if (trace != NULL) {
        PyException_SetTraceback(error, trace);
    }
    Py_XDECREF(type);
    Py_XDECREF(trace);
    return error;
#endif
}

/* Raises again what error_take took. */
static inline void error_put(PyObject *error) {
    if (error != NULL) {
#if PY_VERSION_HEX >= 0x030C0000
        PyErr_SetRaisedException(error);
#else
        PyErr_Restore(Py_NewRef(Py_TYPE(error)), error, PyException_GetTraceback(error));
#endif
    }
}

/* The offset of a member that Python made for a name in `__slots__`; -1 with an error if there is none. */
Py_ssize_t slot_offset(PyObject *type, const char *name);

/* True for the kinds that a method stores through a `result` pointer. */
static inline bool is_scalar(char kind) {
    return kind == 'i' || kind == 'f' || kind == '?';
}

#pragma GCC visibility pop

#endif
