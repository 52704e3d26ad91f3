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
    MOST_SPARED = 1 << 22,  /* bytes of memory that are kept from one result for the next */
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

/* The memory of the last larger result, kept for the next one: the C library may give such memory back to the kernel each
 * time, and then a page costs more than what is written to it. Taken and put back whole, so that no lock is needed. */
static char *spare;

/* The room in memory is written before it. */
enum { ROOM = 16 };

static char *resize(char *data, size_t size) {
    char *memory = realloc(data == NULL ? NULL : data - ROOM, size + ROOM);
    if (memory == NULL) {
        return NULL;
    }
    memcpy(memory, &size, sizeof size);
    return memory + ROOM;
}

static size_t room_of(const char *data) {
    size_t size;
    memcpy(&size, data - ROOM, sizeof size);
    return size;
}

/* hp_out.grow. It needs no GIL, so that a plugin may hold a lock over it which a call with the GIL kept waits for. */
static hp_status grow(hp_out *out, size_t need) {
    Out *mine = (Out *)out;
    if (need <= mine->cap) {
        return HP_OK;
    }
    const bool is_first = mine->data == mine->first;
    const size_t size = need > 2 * mine->cap ? need : 2 * mine->cap;
    char *data = is_first ? __atomic_exchange_n(&spare, NULL, __ATOMIC_ACQUIRE) : mine->data;
    if (data == NULL || room_of(data) < size) {
        char *larger = size > PTRDIFF_MAX - ROOM ? NULL : resize(data, size);
        if (larger == NULL) {
            if (is_first && data != NULL) {
                free(data - ROOM);
            }
            mine->failed = true;
            return HP_NO_MEMORY;
        }
        data = larger;
    }
    if (is_first) {
        memcpy(data, mine->first, out->len < mine->cap ? out->len : mine->cap);
    }
    out->data = mine->data = data;
    out->cap = mine->cap = room_of(data);
    return HP_OK;
}

static inline void out_open(Out *out) {
    out->out = (hp_out){.data = out->first, .len = 0, .cap = OUT_SIZE, .grow = grow};
    out->data = out->first;
    out->cap = OUT_SIZE;
    out->failed = false;
}

static void give_back(char *data, size_t cap) {
    if (cap <= MOST_SPARED) {
        data = __atomic_exchange_n(&spare, data, __ATOMIC_RELEASE);
    }
    if (data != NULL) {
        free(data - ROOM);
    }
}

static inline void out_close(Out *out) {
    if (out->data != out->first) {
        give_back(out->data, out->cap);
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

static inline bool is_scalar(char kind) {
    return kind == 'i' || kind == 'f' || kind == '?';
}

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

/* Has Python say why there is nothing to hold: ClosedError. */
static Holder *ask_instance(const Method *method, PyObject *self) {
    PyObject *instance = slot_at(self, method->instance_offset);
    if (instance == NULL) {
        PyErr_Format(PyExc_AttributeError, "%R was not made by hardpoint.load, and has no _instance", self);
        return NULL;
    }
    PyObject *held = PyObject_CallMethod(instance, "hold", "O", method->name);
    if (held != NULL && !Py_IS_TYPE(held, &Holder_Type)) {
        PyErr_Format(PyExc_TypeError, "%R is not an instance that the native binding made", instance);
        Py_CLEAR(held);
    }
    return (Holder *)held;
}

/* What a call has to hold, a new reference; NULL with ClosedError if there may be none. */
static inline Holder *hold(const Method *method, PyObject *self) {
    PyObject *instance = slot_at(self, method->instance_offset);
    if (instance != NULL && Py_IS_TYPE(instance, instance_type)) {
        PyObject *holder = slot_at(instance, holder_offset);
        if (holder != NULL && Py_IS_TYPE(holder, &Holder_Type) && ((Holder *)holder)->process == process) {
            return (Holder *)Py_NewRef(holder);
        }
    }
    return ask_instance(method, self);
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
    int held;     /* of these */
    Py_buffer buffers[MOST_PARAMETERS];
} Arguments;

typedef struct {
    const void *data; /* NULL with an error set */
    Py_ssize_t size;
} Bytes;

static const uint8_t NOTHING[1]; /* what an empty buffer points to: never NULL */

static inline void let_go(Arguments *arguments) {
    while (arguments->held > 0) {
        PyBuffer_Release(&arguments->buffers[--arguments->held]);
    }
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
static Bytes refuse(const Method *method, Py_ssize_t index, PyObject *value) {
    PyObject *meant = ask_python(method, index, value);
    if (meant != NULL) {
        PyErr_SetString(PyExc_SystemError, "an argument was refused here and taken there");
        Py_DECREF(meant);
    }
    return (Bytes){NULL, 0};
}

/* The buffer of an object, held until the call is over. */
static Bytes hold_buffer(PyObject *value, int flags, Arguments *arguments) {
    Py_buffer *buffer = &arguments->buffers[arguments->held];
    if (PyObject_GetBuffer(value, buffer, flags) < 0) {
        return (Bytes){NULL, 0};
    }
    arguments->held++;
    return buffer->len > 0 ? (Bytes){buffer->buf, buffer->len} : (Bytes){NOTHING, 0};
}

static Bytes text_of(const Method *method, Py_ssize_t index, PyObject *value, Arguments *arguments) {
    Bytes text = {NULL, 0};
    if (!PyUnicode_Check(value)) {
        return refuse(method, index, value);
    }
    if (PyUnicode_GET_LENGTH(value) <= CACHED_TEXT) {
        text.data = PyUnicode_AsUTF8AndSize(value, &text.size);
    } else { /* or a long text would have its UTF-8 beside it for as long as it lives */
        PyObject *encoded = PyUnicode_AsUTF8String(value);
        if (encoded != NULL) {
            text = hold_buffer(encoded, PyBUF_SIMPLE, arguments);
            Py_DECREF(encoded);
        }
    }
    return text.data != NULL ? text : refuse(method, index, value);
}

static Bytes buffer_of(const Method *method, Py_ssize_t index, PyObject *value, Arguments *arguments) {
    const bool writable = method->kinds[index] == 'w';
    if (!writable && PyBytes_CheckExact(value)) {
        return (Bytes){PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)};
    }
    const Bytes bytes = hold_buffer(value, writable ? PyBUF_WRITABLE : PyBUF_SIMPLE, arguments);
    return bytes.data != NULL ? bytes : refuse(method, index, value);
}

/* -1 with an error, or also without. */
static int64_t integer_of(const Method *method, Py_ssize_t index, PyObject *value) {
    int overflow = 1;
    int64_t number = 0;
    if (PyLong_Check(value)) {
        number = PyLong_AsLongLongAndOverflow(value, &overflow);
    }
    if (overflow != 0) {
        PyObject *meant = ask_python(method, index, value);
        number = meant == NULL ? -1 : PyLong_AsLongLong(meant);
        Py_XDECREF(meant);
    }
    return number;
}

/* The same. */
static double number_of(const Method *method, Py_ssize_t index, PyObject *value) {
    PyObject *meant = ask_python(method, index, value);
    const double number = meant == NULL ? -1.0 : PyFloat_AsDouble(meant);
    Py_XDECREF(meant);
    return number;
}

/* All the words and doubles of a call; `values` are the arguments without self. -1 with an error, and then too
 * `arguments` has to be let go. `scalar` and `out` are where the plugin writes. */
HP_HOT int prepare(const Method *method, void *self, PyObject *const *values, Arguments *arguments, void *scalar,
                   hp_out *out) {
    uint64_t *word = arguments->call.words;
    double *number = arguments->call.doubles;
    size_t given = 0;
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
            bytes = text_of(method, index, value, arguments);
            break;
        case 'i':
            *word = (uint64_t)integer_of(method, index, value);
            if (*word++ == UINT64_MAX && PyErr_Occurred()) {
                return -1;
            }
            continue;
        case 'f':
            *number = PyFloat_Check(value) ? PyFloat_AS_DOUBLE(value) : number_of(method, index, value);
            if (*number++ == -1.0 && PyErr_Occurred()) {
                return -1;
            }
            continue;
        case '?':
            if (value != Py_True && value != Py_False) {
                (void)refuse(method, index, value);
                return -1;
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
        given += (size_t)bytes.size;
    }
    if (is_scalar(method->result)) {
        *word++ = (uint64_t)(uintptr_t)scalar;
    }
    *word++ = (uint64_t)(uintptr_t)out;
    hp_call_close(&arguments->call, method->shape, word, number);
    arguments->given = given;
    return 0;
}

/* ---- one call ------------------------------------------------------------------------------------------------------ */

typedef union {
    int64_t integer;
    double number;
    uint8_t truth;
} Scalar;

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

#define HIGH_BITS 0x8080808080808080u

/* Copies `size` bytes, and says whether all were ASCII; if not, the copy may have been given up. The last ones are copied
 * once more with those before them, which is cheaper than a loop over what is left. */
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
    } else if (size >= 4) { /* "English": a loop over bytes costs 2.5 ns more */
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

/* UTF-8 as a str. Most is ASCII, for which Python's decoder takes 20 ns where 12 will do. */
static inline PyObject *make_text(const char *data, size_t size) {
    PyObject *text = PyUnicode_New((Py_ssize_t)size, 127);
    if (text == NULL || copy_ascii(PyUnicode_DATA(text), data, size)) {
        return text;
    }
    Py_DECREF(text);
    return PyUnicode_DecodeUTF8(data, (Py_ssize_t)size, NULL);
}

static inline PyObject *make_result(const Method *method, hp_status status, const Scalar *scalar, const Out *out) {
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

static PyObject *method_vectorcall(PyObject *callable, PyObject *const *args, size_t nargsf, PyObject *kwnames);

/* A call that is not plainly positional, or not of the right length, or on another object. */
static PyObject *call_out_of_order(PyObject *callable, PyObject *const *args, size_t nargsf, PyObject *kwnames) {
    PyObject *result = NULL, *ordered = order((const Method *)callable, args, nargsf, kwnames);
    if (ordered != NULL) {
        result = method_vectorcall(callable, &PyTuple_GET_ITEM(ordered, 0), (size_t)PyTuple_GET_SIZE(ordered), NULL);
        Py_DECREF(ordered);
    }
    return result;
}

static PyObject *method_vectorcall(PyObject *callable, PyObject *const *args, size_t nargsf, PyObject *kwnames) {
    const Method *method = (const Method *)callable;
    if (kwnames != NULL || PyVectorcall_NARGS(nargsf) != method->count + 1 || method->owner == NULL ||
        !PyObject_TypeCheck(args[0], method->owner)) {
        return call_out_of_order(callable, args, nargsf, kwnames);
    }
    PyObject *result = NULL;
    Arguments arguments;
    Scalar scalar;
    Out out;
    Holder *holder = hold(method, args[0]);
    if (holder == NULL) {
        return NULL;
    }
    if (holder->lock == NULL || take_turn(method, args[0], holder) == 0) {
        out_open(&out);
        scalar.integer = 0;
        if (prepare(method, holder->pointer, args + 1, &arguments, &scalar, &out.out) == 0) {
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

/* ---- the type Method ----------------------------------------------------------------------------------------------- */

/* The shape of calls by a plan; -1 with an error if there is something in it that the contract language has not. */
static int plan(Method *method, const char *kinds, Py_ssize_t count, int result) {
    int words = 2 + is_scalar((char)result), doubles = 0; /* self and the hp_out */
    if (count > MOST_PARAMETERS || result <= 0 || result > 127 || strchr("sbif?n", result) == NULL) {
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
            PyErr_Format(PyExc_ValueError, "no kind of parameter is written '%c'", kinds[index]);
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
    if (holder->lock != NULL && take_turn(method, PyTuple_GET_ITEM(ordered, 0), holder) < 0) {
        Py_DECREF(holder);
        Py_DECREF(ordered);
        return NULL;
    }
    out_open(&out);
    scalar.integer = 0;
    if (prepare(method, holder->pointer, &PyTuple_GET_ITEM(ordered, 1), &arguments, &scalar, &out.out) == 0) {
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
    if (holder->lock != NULL) {
        end_turn(holder);
    }
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
        PyErr_SetString(PyExc_ImportError, "plugins are loaded in the main interpreter alone");
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
