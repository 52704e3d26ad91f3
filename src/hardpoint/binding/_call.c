/* One call: arguments into words and doubles, the plugin's function, and the Python result.
 *
 * This is the hot path, and the whole of it is in this file and in the inline functions of the headers: gcc inlines
 * within one file. Whatever is not the plain case (keywords, a closed instance, a wrong type, a status) is handled in
 * Python, by the code of the other bindings, so that all of them raise the same errors.
 */
#include "_arguments.h"
#include "_holder.h"
#include "_out.h"

enum { KEEP_GIL_BELOW = 2048 }; /* bytes passed to a quick method; hashlib's rule. Releasing costs 30 ns of 60 */

typedef union {
    int64_t integer;
    double number;
    uint8_t truth;
} Scalar;

/* Fills in all words and doubles of a call; `values` are the arguments without self. -1 with an error. `arguments` has
 * to be released in either case. The plugin writes to `scalar` and `out`. */
HP_HOT int prepare(const NativeMethod *method, void *self, PyObject *const *values, CallArguments *arguments,
                   void *scalar, hp_out *out) {
    uint64_t *word = arguments->call.words;
    double *number = arguments->call.doubles;
    size_t size = 0;
    arguments->held = 0;
    *word++ = (uint64_t)(uintptr_t)self;
    for (Py_ssize_t index = 0; index < method->count; index++) {
        PyObject *value = values[index];
        Bytes bytes;
        switch (method->kinds[index]) {
        case 's':
            if (PyUnicode_Check(value) && PyUnicode_IS_COMPACT_ASCII(value)) {
                bytes = (Bytes){PyUnicode_DATA(value), PyUnicode_GET_LENGTH(value)};
                break;
            }
            bytes = argument_text(method, index, value, arguments);
            break;
        case 'i':
            *word = (uint64_t)integer_of(method, index, value);
            if (*word++ == UINT64_MAX && PyErr_Occurred()) {
                return -1;
            }
            continue;
        case 'f':
            *number = PyFloat_Check(value) ? PyFloat_AS_DOUBLE(value) : argument_number(method, index, value);
            if (*number++ == -1.0 && PyErr_Occurred()) {
                return -1;
            }
            continue;
        case '?':
            if (value != Py_True && value != Py_False) {
                const int truth = argument_truth(method, index, value);
                if (truth < 0) {
                    return -1;
                }
                *word++ = (uint64_t)truth;
                continue;
            }
            *word++ = value == Py_True;
            continue;
        default:
            bytes = buffer_of(method, index, value, arguments);
        }
        if (bytes.data == NULL) {
            return -1;
        }
        *word++ = (uint64_t)(uintptr_t)bytes.data;
        *word++ = (uint64_t)bytes.size;
        size += (size_t)bytes.size;
    }
    if (is_scalar(method->result)) {
        *word++ = (uint64_t)(uintptr_t)scalar;
    }
    *word++ = (uint64_t)(uintptr_t)out;
    hp_call_close(&arguments->call, method->shape, word, number);
    arguments->size = size;
    return 0;
}

/* Calls the plugin's function, with the GIL released unless the method is quick and its input small. */
static inline hp_status run(const NativeMethod *method, const CallArguments *arguments) {
    hp_status status;
    if (method->quick && arguments->size < KEEP_GIL_BELOW) {
        return hp_call_function(method->function, method->shape, &arguments->call);
    }
    Py_BEGIN_ALLOW_THREADS
    status = hp_call_function(method->function, method->shape, &arguments->call);
    Py_END_ALLOW_THREADS
    return status;
}

/* ---- the result -------------------------------------------------------------------------------------------------- */

#define HIGH_BITS 0x8080808080808080u

/* Copies `size` bytes; true if all were ASCII, else the copy may be incomplete. The last bytes are copied once more
 * together with those before them, which is cheaper than a loop over the remainder. */
static inline bool copy_ascii(char *to, const char *from, size_t size) {
    uint64_t first = 0, second = 0;
    if (size >= 16) {
        for (size_t at = 0; at + 16 < size && ((first | second) & HIGH_BITS) == 0; at += 16) {
            memcpy(&first, from + at, 8);
            memcpy(&second, from + at + 8, 8);
            memcpy(to + at, &first, 8);
            memcpy(to + at + 8, &second, 8);
        }
        from += size - 16;
        to += size - 16;
        size = 16;
    }
    uint64_t high = first | second;
    if (size >= 8) {
        memcpy(&first, from, 8);
        memcpy(&second, from + size - 8, 8);
        memcpy(to, &first, 8);
        memcpy(to + size - 8, &second, 8);
        high |= first | second;
    } else if (size >= 4) { /* such as "English": a loop over bytes costs 2.5 ns more */
        uint32_t head, tail;
        memcpy(&head, from, 4);
        memcpy(&tail, from + size - 4, 4);
        memcpy(to, &head, 4);
        memcpy(to + size - 4, &tail, 4);
        high |= head | tail;
    } else {
        for (size_t at = 0; at < size; at++) {
            to[at] = from[at];
            high |= (uint8_t)from[at];
        }
    }
    return (high & HIGH_BITS) == 0;
}

/* A str of UTF-8. Most text is ASCII, which Python's decoder copies in 20 ns and this in 12. */
static inline PyObject *make_text(const char *data, size_t size) {
    PyObject *text = PyUnicode_New((Py_ssize_t)size, 127);
    if (text == NULL || copy_ascii(PyUnicode_DATA(text), data, size)) {
        return text;
    }
    Py_DECREF(text);
    return PyUnicode_DecodeUTF8(data, (Py_ssize_t)size, NULL);
}

static inline PyObject *make_result(const NativeMethod *method, hp_status status, const Scalar *scalar,
                                    const Out *out) {
    if (!out_is_fine(out, status)) {
        return out_conclude(out, status, method->conclude);
    }
    switch (method->result) {
    case 's': {
        PyObject *text = make_text(out->data, out->out.len);
        if (text == NULL && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
            PyErr_Clear();
            return out_conclude(out, status, method->conclude);
        }
        return text;
    }
    case 'b':
        return PyBytes_FromStringAndSize(out->data, (Py_ssize_t)out->out.len);
    case 'i':
        return PyLong_FromLongLong(scalar->integer);
    case 'f':
        return PyFloat_FromDouble(scalar->number);
    case '?':
        return PyBool_FromLong(scalar->truth);
    default:
        Py_RETURN_NONE;
    }
}

/* ---- the vectorcall ---------------------------------------------------------------------------------------------- */

/* The arguments as a tuple in order, self first, which Python has checked; NULL with its TypeError. */
static PyObject *order(const NativeMethod *method, PyObject *const *args, size_t nargsf, PyObject *kwnames) {
    PyObject *ordered = PyObject_Vectorcall(method->arguments, args, nargsf, kwnames);
    if (ordered != NULL && (!PyTuple_CheckExact(ordered) || PyTuple_GET_SIZE(ordered) != method->count + 1 ||
                            method->owner == NULL ||
                            !PyObject_TypeCheck(PyTuple_GET_ITEM(ordered, 0), method->owner))) {
        PyErr_SetString(PyExc_TypeError, "a native method is called on an object of its class");
        Py_CLEAR(ordered);
    }
    return ordered;
}

PyObject *method_call_out_of_order(PyObject *callable, PyObject *const *args, size_t nargsf, PyObject *kwnames) {
    const NativeMethod *method = (const NativeMethod *)callable;
    PyObject *result = NULL, *ordered = order(method, args, nargsf, kwnames);
    if (ordered != NULL) {
        result = method->vectorcall(callable, &PyTuple_GET_ITEM(ordered, 0), (size_t)PyTuple_GET_SIZE(ordered), NULL);
        Py_DECREF(ordered);
    }
    return result;
}

/* `hot` decides only where the code lies, among the other functions of the module: 1 to 2 of 58 ns (measured). */
__attribute__((hot)) PyObject *method_call(PyObject *callable, PyObject *const *args, size_t nargsf,
                                           PyObject *kwnames) {
    const NativeMethod *method = (const NativeMethod *)callable;
    if (kwnames != NULL || PyVectorcall_NARGS(nargsf) != method->count + 1 || method->owner == NULL ||
        !PyObject_TypeCheck(args[0], method->owner)) {
        return method_call_out_of_order(callable, args, nargsf, kwnames);
    }
    PyObject *result = NULL;
    CallArguments arguments;
    Scalar scalar;
    Out out;
    Holder *holder = holder_of(method, args[0]);
    if (holder == NULL) {
        return NULL;
    }
    if (holder->lock == NULL || turn_take(method, args[0], holder, INT64_MAX) == 0) {
        out_open(&out);
        scalar.integer = 0;
        if (prepare(method, holder->pointer, args + 1, &arguments, &scalar, &out.out) == 0) {
            const hp_status status = run(method, &arguments);
            result = make_result(method, status, &scalar, &out);
        }
        out_close(&out);
        arguments_release(&arguments);
        if (holder->lock != NULL) {
            turn_end(holder);
        }
    }
    Py_DECREF(holder);
    return result;
}
