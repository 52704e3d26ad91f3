/* Conversions of arguments, apart from the plain cases, which are inline in _call.c. */
#include "_arguments.h"

enum { CACHED_TEXT = 4096 }; /* characters up to which a str may keep its UTF-8 for the next call */

static const uint8_t EMPTY[1]; /* the address of an empty buffer: never NULL */

/* Slow path: converts the argument in Python, or raises. */
static PyObject *convert_in_python(const NativeMethod *method, Py_ssize_t index, PyObject *value) {
    PyObject *error = error_take();
    error = error != NULL ? error : Py_NewRef(Py_None);
    PyObject *converted = PyObject_CallFunction(method->convert, "nOO", index, value, error);
    Py_DECREF(error);
    return converted;
}

Bytes argument_refuse(const NativeMethod *method, Py_ssize_t index, PyObject *value) {
    PyObject *converted = convert_in_python(method, index, value);
    if (converted != NULL) {
        PyErr_SetString(PyExc_SystemError, "an argument that C refused was accepted in Python");
        Py_DECREF(converted);
    }
    return (Bytes){NULL, 0};
}

static Bytes hold_buffer(PyObject *value, int flags, CallArguments *arguments) {
    Py_buffer *buffer = &arguments->buffers[arguments->held];
    if (PyObject_GetBuffer(value, buffer, flags) < 0) {
        return (Bytes){NULL, 0};
    }
    arguments->held++;
    return buffer->len > 0 ? (Bytes){buffer->buf, buffer->len} : (Bytes){EMPTY, 0};
}

Bytes argument_text(const NativeMethod *method, Py_ssize_t index, PyObject *value, CallArguments *arguments) {
    Bytes text = {NULL, 0};
    if (!PyUnicode_Check(value)) {
        return argument_refuse(method, index, value);
    }
    if (PyUnicode_GET_LENGTH(value) <= CACHED_TEXT) {
        text.data = PyUnicode_AsUTF8AndSize(value, &text.size);
    } else { /* a cached copy would double the memory of a long text for as long as it lives */
        PyObject *encoded = PyUnicode_AsUTF8String(value);
        if (encoded != NULL) {
            text = hold_buffer(encoded, PyBUF_SIMPLE, arguments);
            Py_DECREF(encoded);
        }
    }
    return text.data != NULL ? text : argument_refuse(method, index, value);
}

Bytes argument_buffer(const NativeMethod *method, Py_ssize_t index, PyObject *value, CallArguments *arguments) {
    const int flags = method->kinds[index] == 'w' ? PyBUF_WRITABLE : PyBUF_SIMPLE;
    const Bytes bytes = hold_buffer(value, flags, arguments);
    return bytes.data != NULL ? bytes : argument_refuse(method, index, value);
}

int argument_truth(const NativeMethod *method, Py_ssize_t index, PyObject *value) {
    PyObject *converted = convert_in_python(method, index, value);
    const int truth = converted == NULL ? -1 : converted == Py_True; /* `to_bool` returns True or False */
    Py_XDECREF(converted);
    return truth;
}

int64_t argument_integer(const NativeMethod *method, Py_ssize_t index, PyObject *value) {
    PyObject *converted = convert_in_python(method, index, value);
    const int64_t number = converted == NULL ? -1 : PyLong_AsLongLong(converted);
    Py_XDECREF(converted);
    return number;
}

double argument_number(const NativeMethod *method, Py_ssize_t index, PyObject *value) {
    PyObject *converted = convert_in_python(method, index, value);
    const double number = converted == NULL ? -1.0 : PyFloat_AsDouble(converted);
    Py_XDECREF(converted);
    return number;
}
