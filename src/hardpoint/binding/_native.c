/* The binding in C: one generic path for every signature of the contract language.
 *
 * A Method is a descriptor on the class of a plugin object: a plan (which kinds of arguments, which result), the slot's
 * address, and the Python functions that word what goes wrong. A call converts the arguments into words and doubles,
 * calls once through the registers, and makes the result. All that is not plain sailing (keywords, a closed instance, a
 * wrong type, a status) goes to Python, where the other bindings go too, so that they all say the same.
 *
 * Everything here runs with the GIL held but for the plugin's own code; see `run`.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>
#include <time.h>

#include "../contracts/hardpoint.h"
#include "_registers.h"

#ifdef PYPY_VERSION
#error "PyPy calls through cffi, which its compiler knows"
#endif

enum {
    MOST_PARAMETERS = 8,
    OUT_SIZE = 1024,        /* room in a fresh hp_out; the ABI promises 512 */
    KEEP_GIL_BELOW = 2048,  /* bytes given to a quick method; hashlib's rule. Releasing costs 30 ns of 60 */
    CACHED_TEXT = 4096      /* characters up to which a str may keep its UTF-8 for the next call */
};

/* ---- where a method leaves its text ------------------------------------------------------------------------------ */

typedef struct {
    hp_out out; /* what the plugin sees; it could write to all of it */
    char *data; /* the host's own copies */
    size_t cap;
    bool failed; /* a grow was refused */
    char first[OUT_SIZE];
} Out;

/* hp_out.grow. It needs no GIL, so that a plugin may hold a lock over it which a call with the GIL kept waits for. */
static hp_status grow(hp_out *out, size_t need) {
    Out *mine = (Out *)out;
    if (need <= mine->cap) {
        return HP_OK;
    }
    const size_t size = need > 2 * mine->cap ? need : 2 * mine->cap;
    char *data = realloc(mine->data == mine->first ? NULL : mine->data, size);
    if (data == NULL) {
        mine->failed = true;
        return HP_NO_MEMORY;
    }
    if (mine->data == mine->first) {
        memcpy(data, mine->first, out->len < mine->cap ? out->len : mine->cap);
    }
    out->data = mine->data = data;
    out->cap = mine->cap = size;
    return HP_OK;
}

static inline void out_open(Out *out) {
    out->out = (hp_out){.data = out->first, .len = 0, .cap = OUT_SIZE, .grow = grow};
    out->data = out->first;
    out->cap = OUT_SIZE;
    out->failed = false;
}

static inline void out_close(Out *out) {
    if (out->data != out->first) {
        free(out->data);
    }
}

static inline bool out_is_intact(const Out *out) {
    return out->out.data == out->data && out->out.cap == out->cap;
}

/* Whether a call succeeded, and left nothing to complain of. */
static inline bool out_is_fine(const Out *out, hp_status status) {
    return status == HP_OK && !out->failed && out_is_intact(out) && out->out.len <= out->cap;
}

/* Has Python say what a call means that was not fine: conclude(status, text, length, cap, failed, intact). */
static PyObject *out_conclude(const Out *out, hp_status status, PyObject *conclude) {
    const bool intact = out_is_intact(out);
    const size_t len = !intact ? 0 : out->out.len < out->cap ? out->out.len : out->cap;
    return PyObject_CallFunction(conclude, "iy#KKOO", (int)status, out->data, (Py_ssize_t)len,
                                 (unsigned long long)out->out.len, (unsigned long long)out->cap,
                                 out->failed ? Py_True : Py_False, intact ? Py_True : Py_False);
}

/* ---- Holder: the pointer that create gave, for as long as somebody holds it: then it is destroyed ------------------ */

typedef struct {
    PyObject_HEAD
    void *pointer;
    void (*destroy)(void *self);
    PyThread_type_lock lock; /* what a serial plugin's calls take, one at a time; NULL for others */
    unsigned long owner;     /* the thread that has it; read and written with the GIL held */
    unsigned long process;
} Holder;

static PyTypeObject Holder_Type;

static unsigned long process; /* counts the forks above this process */

static Holder *holder_new(void *pointer, void (*destroy)(void *), bool serial) {
    Holder *holder = PyObject_New(Holder, &Holder_Type);
    if (holder == NULL) {
        return NULL;
    }
    holder->pointer = pointer;
    holder->destroy = NULL;
    holder->owner = 0;
    holder->process = process;
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

static void holder_dealloc(Holder *holder) {
    /* As the other bindings: in a forked child it is the parent's, and at exit nobody can say what is still there. */
    if (holder->destroy != NULL && holder->process == process && !is_finalizing()) {
        Py_BEGIN_ALLOW_THREADS
        holder->destroy(holder->pointer);
        Py_END_ALLOW_THREADS
    }
    if (holder->lock != NULL) {
        PyThread_free_lock(holder->lock);
    }
    PyObject_Free(holder);
}

static PyTypeObject Holder_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "hardpoint.binding._native.Holder",
    .tp_doc = "The pointer that create gave; whoever lets go of it last destroys the instance.",
    .tp_basicsize = sizeof(Holder),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .tp_dealloc = (destructor)holder_dealloc,
};

/* ---- Method: a plan, and how it is called -------------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    hp_function function;
    Py_ssize_t count;            /* of parameters */
    char kinds[MOST_PARAMETERS]; /* 's' str, 'b' bytes, 'w' bytearray, 'i' int, 'f' float, '?' bool */
    char result;                 /* the same, or 'n' for None */
    bool quick;
    hp_shape shape;
    PyTypeObject *owner;        /* the class that it is a method of */
    Py_ssize_t instance_offset; /* where objects of that class have their Instance */
    PyObject *name;
    PyObject *arguments; /* (self, *args, **kwargs) -> all of them in their order */
    PyObject *convert;   /* (index, value, error) -> what an argument means that is not plainly of its kind */
    PyObject *conclude;  /* see out_conclude */
    PyObject *dict;
    PyObject *weak_references;
} Method;

static PyTypeObject Method_Type;

/* hardpoint.binding.instance.Instance, and where it has its Holder; see `set_up`. */
static PyTypeObject *instance_type;
static Py_ssize_t holder_offset;

static inline PyObject *slot_at(PyObject *object, Py_ssize_t offset) {
    return *(PyObject **)((char *)object + offset);
}

/* The offset of a slot that Python made for a name in `__slots__`; -1 with an error if there is none. */
static Py_ssize_t offset_of(PyObject *type, const char *name) {
    Py_ssize_t offset = -1;
    PyObject *found = PyObject_GetAttrString(type, name);
    if (found != NULL && Py_IS_TYPE(found, &PyMemberDescr_Type) &&
        ((PyMemberDescrObject *)found)->d_member->type == T_OBJECT_EX) {
        offset = ((PyMemberDescrObject *)found)->d_member->offset;
    } else if (found != NULL) {
        PyErr_Format(PyExc_TypeError, "%R has no slot %s", type, name);
    }
    Py_XDECREF(found);
    return offset;
}

/* What a call has to hold, a new reference; NULL with ClosedError if there may be none. */
static Holder *hold(const Method *method, PyObject *self) {
    PyObject *instance = slot_at(self, method->instance_offset);
    if (instance == NULL) {
        return (Holder *)PyObject_GetAttrString(self, "_instance"); /* which it has not: AttributeError */
    }
    if (Py_IS_TYPE(instance, instance_type)) {
        PyObject *holder = slot_at(instance, holder_offset);
        if (holder != NULL && Py_IS_TYPE(holder, &Holder_Type) && ((Holder *)holder)->process == process) {
            return (Holder *)Py_NewRef(holder);
        }
    }
    PyObject *held = PyObject_CallMethod(instance, "hold", "O", method->name);
    if (held != NULL && !Py_IS_TYPE(held, &Holder_Type)) {
        PyErr_Format(PyExc_TypeError, "%R is not an instance that the native binding made", instance);
        Py_CLEAR(held);
    }
    return (Holder *)held;
}

/* ---- one at a time, for HP_SERIAL ---------------------------------------------------------------------------------- */

/* Whether the instance is still the one held, after a wait in which it may have been closed. */
static int check_still_open(const Method *method, PyObject *self, const Holder *holder) {
    Holder *now = hold(method, self);
    const bool same = now == holder;
    if (now != NULL && !same) {
        PyErr_SetString(PyExc_RuntimeError, "the instance was exchanged during a call");
    }
    Py_XDECREF(now);
    return same ? 0 : -1;
}

static void raise_nested(const Method *method, PyObject *self) {
    PyObject *instance = slot_at(self, method->instance_offset);
    PyObject *error = PyObject_CallMethod(instance, "nested", "O", method->name);
    if (error != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
        Py_DECREF(error);
    }
}

static void end_turn(Holder *holder) {
    holder->owner = 0;
    PyThread_release_lock(holder->lock);
}

/* Wait for the lock. Only with the GIL released: the thread that has it may want the GIL before it lets go (seen). */
static int take_turn(const Method *method, PyObject *self, Holder *holder) {
    const unsigned long me = PyThread_get_thread_ident();
    PyLockStatus got = PyThread_acquire_lock_timed(holder->lock, 0, 0);
    if (got != PY_LOCK_ACQUIRED && holder->owner == me) {
        raise_nested(method, self);
        return -1;
    }
    const bool waited = got != PY_LOCK_ACQUIRED;
    while (got != PY_LOCK_ACQUIRED) {
        Py_BEGIN_ALLOW_THREADS
        got = PyThread_acquire_lock_timed(holder->lock, -1, 1);
        Py_END_ALLOW_THREADS
        if (got == PY_LOCK_INTR && PyErr_CheckSignals() < 0) {
            return -1;
        }
    }
    holder->owner = me;
    if (waited && check_still_open(method, self, holder) < 0) {
        end_turn(holder);
        return -1;
    }
    return 0;
}

/* ---- arguments ----------------------------------------------------------------------------------------------------- */

typedef struct {
    hp_call call;
    size_t given; /* bytes in its buffers */
    int held;     /* of these two */
    int texts;
    Py_buffer buffers[MOST_PARAMETERS];
    PyObject *encoded[MOST_PARAMETERS];
} Arguments;

static const uint8_t NOTHING[1]; /* what an empty buffer points to: never NULL */

static void let_go(Arguments *arguments) {
    for (int index = 0; index < arguments->held; index++) {
        PyBuffer_Release(&arguments->buffers[index]);
    }
    for (int index = 0; index < arguments->texts; index++) {
        Py_DECREF(arguments->encoded[index]);
    }
}

static inline void put_bytes(Arguments *arguments, const void *data, Py_ssize_t size) {
    hp_put_word(&arguments->call, (uint64_t)(uintptr_t)(size > 0 ? data : NOTHING));
    hp_put_word(&arguments->call, (uint64_t)size);
    arguments->given += (size_t)size;
}

/* The exception that is set, taken; None if there is none. */
static PyObject *take_error(void) {
#if PY_VERSION_HEX >= 0x030C0000
    PyObject *error = PyErr_GetRaisedException();
#else
    PyObject *type, *error, *trace;
    PyErr_Fetch(&type, &error, &trace);
    PyErr_NormalizeException(&type, &error, &trace);
    if (trace != NULL) {
        PyException_SetTraceback(error, trace);
    }
    Py_XDECREF(type);
    Py_XDECREF(trace);
#endif
    return error != NULL ? error : Py_NewRef(Py_None);
}

/* What an argument means that is not plainly of its kind: Python says it, or raises. */
static PyObject *ask_python(const Method *method, Py_ssize_t index, PyObject *value) {
    PyObject *error = take_error();
    PyObject *meant = PyObject_CallFunction(method->convert, "nOO", index, value, error);
    Py_DECREF(error);
    return meant;
}

/* For the kinds that Python can only refuse. */
static int refuse(const Method *method, Py_ssize_t index, PyObject *value) {
    PyObject *meant = ask_python(method, index, value);
    if (meant != NULL) {
        PyErr_SetString(PyExc_SystemError, "an argument was refused here and taken there");
        Py_DECREF(meant);
    }
    return -1;
}

static int put_text(const Method *method, Py_ssize_t index, PyObject *value, Arguments *arguments) {
    Py_ssize_t size = 0;
    const char *data = NULL;
    if (PyUnicode_Check(value)) {
        if (PyUnicode_IS_COMPACT_ASCII(value)) {
            put_bytes(arguments, PyUnicode_DATA(value), PyUnicode_GET_LENGTH(value));
            return 0;
        }
        if (PyUnicode_GET_LENGTH(value) <= CACHED_TEXT) {
            data = PyUnicode_AsUTF8AndSize(value, &size);
        } else { /* or a long text would have its UTF-8 beside it for as long as it lives */
            PyObject *encoded = PyUnicode_AsUTF8String(value);
            if (encoded != NULL) {
                arguments->encoded[arguments->texts++] = encoded;
                data = PyBytes_AS_STRING(encoded);
                size = PyBytes_GET_SIZE(encoded);
            }
        }
    }
    if (data == NULL) {
        return refuse(method, index, value);
    }
    put_bytes(arguments, data, size);
    return 0;
}

static int put_buffer(const Method *method, Py_ssize_t index, PyObject *value, Arguments *arguments) {
    const bool writable = method->kinds[index] == 'w';
    if (!writable && PyBytes_CheckExact(value)) {
        put_bytes(arguments, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value));
        return 0;
    }
    Py_buffer *buffer = &arguments->buffers[arguments->held];
    if (PyObject_GetBuffer(value, buffer, writable ? PyBUF_WRITABLE : PyBUF_SIMPLE) < 0) {
        return refuse(method, index, value);
    }
    arguments->held++;
    put_bytes(arguments, buffer->buf, buffer->len);
    return 0;
}

static int put_int(const Method *method, Py_ssize_t index, PyObject *value, Arguments *arguments) {
    int overflow = 1;
    long long number = 0;
    if (PyLong_Check(value)) {
        number = PyLong_AsLongLongAndOverflow(value, &overflow);
    }
    if (overflow != 0) {
        PyObject *meant = ask_python(method, index, value);
        if (meant == NULL) {
            return -1;
        }
        number = PyLong_AsLongLong(meant);
        Py_DECREF(meant);
        if (number == -1 && PyErr_Occurred()) {
            return -1;
        }
    }
    hp_put_word(&arguments->call, (uint64_t)number);
    return 0;
}

static int put_float(const Method *method, Py_ssize_t index, PyObject *value, Arguments *arguments) {
    double number;
    if (PyFloat_Check(value)) {
        number = PyFloat_AS_DOUBLE(value);
    } else {
        PyObject *meant = ask_python(method, index, value);
        if (meant == NULL) {
            return -1;
        }
        number = PyFloat_AsDouble(meant);
        Py_DECREF(meant);
        if (number == -1.0 && PyErr_Occurred()) {
            return -1;
        }
    }
    hp_put_double(&arguments->call, number);
    return 0;
}

static int put_bool(const Method *method, Py_ssize_t index, PyObject *value, Arguments *arguments) {
    if (value != Py_True && value != Py_False) {
        return refuse(method, index, value);
    }
    hp_put_word(&arguments->call, value == Py_True);
    return 0;
}

static inline int put(const Method *method, Py_ssize_t index, PyObject *value, Arguments *arguments) {
    switch (method->kinds[index]) {
    case 's':
        return put_text(method, index, value, arguments);
    case 'i':
        return put_int(method, index, value, arguments);
    case 'f':
        return put_float(method, index, value, arguments);
    case '?':
        return put_bool(method, index, value, arguments);
    default:
        return put_buffer(method, index, value, arguments);
    }
}

/* ---- one call ------------------------------------------------------------------------------------------------------ */

typedef union {
    int64_t integer;
    double number;
    uint8_t truth;
} Scalar;

static inline bool is_scalar(char kind) {
    return kind == 'i' || kind == 'f' || kind == '?';
}

/* All the words and doubles of a call; `values` are the arguments without self. -1 with an error, and then too
 * `arguments` has to be let go. */
static inline int prepare(const Method *method, const Holder *holder, PyObject *const *values, Arguments *arguments,
                          Scalar *scalar, Out *out) {
    hp_call_open(&arguments->call, method->shape);
    arguments->given = 0;
    arguments->held = arguments->texts = 0;
    hp_put_word(&arguments->call, (uint64_t)(uintptr_t)holder->pointer);
    for (Py_ssize_t index = 0; index < method->count; index++) {
        if (put(method, index, values[index], arguments) < 0) {
            return -1;
        }
    }
    scalar->integer = 0;
    if (is_scalar(method->result)) {
        hp_put_word(&arguments->call, (uint64_t)(uintptr_t)scalar);
    }
    hp_put_word(&arguments->call, (uint64_t)(uintptr_t)&out->out);
    return 0;
}

/* The plugin's own code. The GIL is released for it, but for a quick method with little to do. */
static inline hp_status run(const Method *method, const Arguments *arguments) {
    hp_status status;
    if (method->quick && arguments->given < KEEP_GIL_BELOW) {
        return hp_call_function(method->function, method->shape, &arguments->call);
    }
    Py_BEGIN_ALLOW_THREADS
    status = hp_call_function(method->function, method->shape, &arguments->call);
    Py_END_ALLOW_THREADS
    return status;
}

static inline PyObject *make_result(const Method *method, hp_status status, const Scalar *scalar, const Out *out) {
    if (!out_is_fine(out, status)) {
        return out_conclude(out, status, method->conclude);
    }
    switch (method->result) {
    case 's': {
        PyObject *text = PyUnicode_DecodeUTF8(out->data, (Py_ssize_t)out->out.len, NULL);
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

/* One call with everything in its order; `arguments[0]` is an object of the method's class. */
static inline PyObject *call_in_order(const Method *method, PyObject *const *values) {
    PyObject *result = NULL;
    Arguments arguments;
    Scalar scalar;
    Out out;
    Holder *holder = hold(method, values[0]);
    if (holder == NULL) {
        return NULL;
    }
    if (holder->lock == NULL || take_turn(method, values[0], holder) == 0) {
        out_open(&out);
        if (prepare(method, holder, values + 1, &arguments, &scalar, &out) == 0) {
            const hp_status status = run(method, &arguments);
            result = make_result(method, status, &scalar, &out);
        }
        out_close(&out);
        let_go(&arguments);
        if (holder->lock != NULL) {
            end_turn(holder);
        }
    }
    Py_DECREF(holder);
    return result;
}

/* The arguments as a tuple in their order, self first, which Python has checked; NULL with its TypeError. */
static PyObject *order(const Method *method, PyObject *const *args, size_t nargsf, PyObject *kwnames) {
    PyObject *ordered = PyObject_Vectorcall(method->arguments, args, nargsf, kwnames);
    if (ordered != NULL && (!PyTuple_CheckExact(ordered) || PyTuple_GET_SIZE(ordered) != method->count + 1 ||
                            method->owner == NULL ||
                            !PyObject_TypeCheck(PyTuple_GET_ITEM(ordered, 0), method->owner))) {
        PyErr_SetString(PyExc_TypeError, "a native method is called on an object of its class");
        Py_CLEAR(ordered);
    }
    return ordered;
}

static PyObject *method_vectorcall(PyObject *callable, PyObject *const *args, size_t nargsf, PyObject *kwnames) {
    const Method *method = (const Method *)callable;
    if (kwnames == NULL && PyVectorcall_NARGS(nargsf) == method->count + 1 && Py_TYPE(args[0]) == method->owner) {
        return call_in_order(method, args);
    }
    PyObject *ordered = order(method, args, nargsf, kwnames);
    if (ordered == NULL) {
        return NULL;
    }
    PyObject *result = call_in_order(method, &PyTuple_GET_ITEM(ordered, 0));
    Py_DECREF(ordered);
    return result;
}

/* ---- the type Method ----------------------------------------------------------------------------------------------- */

/* The shape of calls by a plan; -1 with an error if there is something in it that the contract language has not. */
static int plan(Method *method, const char *kinds, Py_ssize_t count, int result) {
    int words = 2 + is_scalar((char)result), doubles = 0; /* self and the hp_out */
    if (count > MOST_PARAMETERS || strchr("sbif?n", result) == NULL) {
        PyErr_SetString(PyExc_ValueError, "a method has at most 8 parameters, and a result of a known kind");
        return -1;
    }
    for (Py_ssize_t index = 0; index < count; index++) {
        switch (kinds[index]) {
        case 's':
        case 'b':
        case 'w':
            words += 2;
            break;
        case 'i':
        case '?':
            words += 1;
            break;
        case 'f':
            doubles += 1;
            break;
        default:
            PyErr_Format(PyExc_ValueError, "no kind of parameter is written %R", kinds);
            return -1;
        }
        method->kinds[index] = kinds[index];
    }
    method->count = count;
    method->result = (char)result;
    method->shape = hp_shape_of(words, doubles);
    return 0;
}

static PyObject *method_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    unsigned long long address;
    const char *kinds;
    Py_ssize_t count;
    int result, quick;
    PyObject *name, *arguments, *convert, *conclude;
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0) {
        PyErr_SetString(PyExc_TypeError, "Method takes no keywords");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "Ks#CpUOOO:Method", &address, &kinds, &count, &result, &quick, &name, &arguments,
                          &convert, &conclude)) {
        return NULL;
    }
    Method *method = (Method *)type->tp_alloc(type, 0);
    if (method == NULL || plan(method, kinds, count, result) < 0) {
        Py_XDECREF(method);
        return NULL;
    }
    method->vectorcall = method_vectorcall;
    method->function = (hp_function)(uintptr_t)address;
    method->quick = quick != 0;
    method->name = Py_NewRef(name);
    method->arguments = Py_NewRef(arguments);
    method->convert = Py_NewRef(convert);
    method->conclude = Py_NewRef(conclude);
    return (PyObject *)method;
}

static int method_traverse(Method *method, visitproc visit, void *arg) {
    Py_VISIT(method->owner);
    Py_VISIT(method->arguments);
    Py_VISIT(method->convert);
    Py_VISIT(method->conclude);
    Py_VISIT(method->dict);
    return 0;
}

static int method_clear(Method *method) {
    Py_CLEAR(method->owner);
    Py_CLEAR(method->dict);
    return 0;
}

static void method_dealloc(Method *method) {
    PyObject_GC_UnTrack(method);
    if (method->weak_references != NULL) {
        PyObject_ClearWeakRefs((PyObject *)method);
    }
    method_clear(method);
    Py_XDECREF(method->name);
    Py_XDECREF(method->arguments);
    Py_XDECREF(method->convert);
    Py_XDECREF(method->conclude);
    Py_TYPE(method)->tp_free((PyObject *)method);
}

static PyObject *method_get(PyObject *method, PyObject *object, PyObject *Py_UNUSED(type)) {
    return object == NULL ? Py_NewRef(method) : PyMethod_New(method, object);
}

static PyObject *method_repr(Method *method) {
    return PyUnicode_FromFormat("<native method %U at %p>", method->name, method);
}

/* Called when the class is made, as object.__set_name__ is; a method has one class. */
static PyObject *method_set_name(Method *method, PyObject *args) {
    PyObject *owner, *name;
    if (!PyArg_ParseTuple(args, "O!U:__set_name__", &PyType_Type, &owner, &name)) {
        return NULL;
    }
    const Py_ssize_t offset = offset_of(owner, "_instance");
    if (offset < 0) {
        return NULL;
    }
    if (method->owner != NULL) {
        PyErr_Format(PyExc_TypeError, "%R has a class already", method);
        return NULL;
    }
    method->instance_offset = offset;
    method->owner = (PyTypeObject *)Py_NewRef(owner);
    Py_RETURN_NONE;
}

static PyMethodDef method_methods[] = {
    {"__set_name__", (PyCFunction)method_set_name, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef method_attributes[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyTypeObject Method_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "hardpoint.binding._native.Method",
    .tp_doc = "Method(address, kinds, result, quick, name, arguments, convert, conclude)",
    .tp_basicsize = sizeof(Method),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR |
                Py_TPFLAGS_IMMUTABLETYPE,
    .tp_vectorcall_offset = offsetof(Method, vectorcall),
    .tp_dictoffset = offsetof(Method, dict),
    .tp_weaklistoffset = offsetof(Method, weak_references),
    .tp_new = method_new,
    .tp_traverse = (traverseproc)method_traverse,
    .tp_clear = (inquiry)method_clear,
    .tp_dealloc = (destructor)method_dealloc,
    .tp_call = PyVectorcall_Call,
    .tp_descr_get = method_get,
    .tp_repr = (reprfunc)method_repr,
    .tp_methods = method_methods,
    .tp_getset = method_attributes,
};

/* ---- the module's functions ---------------------------------------------------------------------------------------- */

typedef hp_status (*create_function)(const hp_host *host, const char *config, size_t size, void **self, hp_out *out);

PyDoc_STRVAR(create_doc, "create(create, destroy, serial, host, config, conclude) -> Holder of a new instance");

static PyObject *native_create(PyObject *Py_UNUSED(module), PyObject *args) {
    unsigned long long create, destroy, host;
    int serial;
    const char *config;
    Py_ssize_t size;
    PyObject *conclude;
    if (!PyArg_ParseTuple(args, "KKpKz#O:create", &create, &destroy, &serial, &host, &config, &size, &conclude)) {
        return NULL;
    }
    Holder *holder = holder_new(NULL, NULL, serial != 0);
    if (holder == NULL || create == 0) {
        if (holder != NULL) {
            holder->destroy = (void (*)(void *))(uintptr_t)destroy;
        }
        return (PyObject *)holder;
    }
    Out out;
    hp_status status;
    void *self = NULL;
    out_open(&out);
    Py_BEGIN_ALLOW_THREADS
    status = ((create_function)(uintptr_t)create)((const hp_host *)(uintptr_t)host, config, (size_t)size, &self,
                                                  &out.out);
    Py_END_ALLOW_THREADS
    if (status == HP_OK) {
        holder->pointer = self;
        holder->destroy = (void (*)(void *))(uintptr_t)destroy;
    }
    PyObject *result = (PyObject *)holder;
    if (!out_is_fine(&out, status)) { /* then an instance that it made in vain is destroyed with its holder */
        result = out_conclude(&out, status, conclude);
        Py_DECREF(holder);
    }
    out_close(&out);
    return result;
}

PyDoc_STRVAR(floor_doc, "floor(method, arguments, count) -> nanoseconds that `count` calls take in a loop in C");

/* What a benchmark holds a call against: the arguments, self among them, are converted once, and no result is made. */
static PyObject *native_floor(PyObject *Py_UNUSED(module), PyObject *args) {
    Method *method;
    PyObject *values, *result = NULL;
    Py_ssize_t count;
    if (!PyArg_ParseTuple(args, "O!O!n:floor", &Method_Type, &method, &PyTuple_Type, &values, &count)) {
        return NULL;
    }
    PyObject *ordered = order(method, &PyTuple_GET_ITEM(values, 0), (size_t)PyTuple_GET_SIZE(values), NULL);
    Holder *holder = ordered == NULL ? NULL : hold(method, PyTuple_GET_ITEM(ordered, 0));
    if (holder == NULL) {
        Py_XDECREF(ordered);
        return NULL;
    }
    Arguments arguments;
    Scalar scalar;
    Out out;
    hp_status status = HP_OK;
    out_open(&out);
    if (prepare(method, holder, &PyTuple_GET_ITEM(ordered, 1), &arguments, &scalar, &out) == 0) {
        struct timespec start, end;
        Py_BEGIN_ALLOW_THREADS
        clock_gettime(CLOCK_MONOTONIC, &start);
        for (Py_ssize_t turn = 0; turn < count && status == HP_OK; turn++) {
            out.out.len = 0;
            status = hp_call_function(method->function, method->shape, &arguments.call);
        }
        clock_gettime(CLOCK_MONOTONIC, &end);
        Py_END_ALLOW_THREADS
        result = out_is_fine(&out, status)
                     ? PyLong_FromLongLong((end.tv_sec - start.tv_sec) * 1000000000LL + end.tv_nsec - start.tv_nsec)
                     : out_conclude(&out, status, method->conclude);
    }
    out_close(&out);
    let_go(&arguments);
    Py_DECREF(holder);
    Py_DECREF(ordered);
    return result;
}

PyDoc_STRVAR(set_up_doc, "set_up(Instance): tells the class of what a plugin object has as `_instance`");

static PyObject *native_set_up(PyObject *Py_UNUSED(module), PyObject *type) {
    const Py_ssize_t offset = offset_of(type, "_holder");
    if (offset < 0) {
        return NULL;
    }
    holder_offset = offset;
    Py_XSETREF(instance_type, (PyTypeObject *)Py_NewRef(type));
    Py_RETURN_NONE;
}

PyDoc_STRVAR(count_fork_doc, "count_fork(): this is a forked child, and what was made before is its parent's");

static PyObject *native_count_fork(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(none)) {
    process++;
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"create", native_create, METH_VARARGS, create_doc},
    {"floor", native_floor, METH_VARARGS, floor_doc},
    {"set_up", native_set_up, METH_O, set_up_doc},
    {"count_fork", native_count_fork, METH_NOARGS, count_fork_doc},
    {NULL, NULL, 0, NULL},
};

static int execute(PyObject *module) {
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(PyExc_ImportError, "the native binding works in the main interpreter alone");
        return -1;
    }
    if (PyModule_AddType(module, &Holder_Type) < 0 || PyModule_AddType(module, &Method_Type) < 0) {
        return -1;
    }
    return 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, execute},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "hardpoint.binding._native",
    .m_doc = "The binding in C; hardpoint.binding.native is its face.",
    .m_methods = functions,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__native(void) {
    return PyModuleDef_Init(&definition);
}
