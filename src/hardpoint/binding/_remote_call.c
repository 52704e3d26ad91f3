/* One call of an isolated plugin: arguments straight into a channel, and the answer out of it.
 *
 * A Holder of such a plugin has its session (isolation/host/session.py), which opens channels, starts workers and words
 * errors; and its list of free connections, from which a call takes one and to which it gives it back. The session is
 * asked only when that list is empty or when something went wrong. What a worker sent is copied before it is used.
 */
#include "_remote.h"
#include "_arguments.h"
#include "_holder.h"
#include "../isolation/channel/_host.h"

#include <errno.h>

enum {
    FEW_PAUSES = 24, MANY_PAUSES = 48, /* with the GIL held: releasing it costs as much */
    LARGE = 1 << 16,                   /* bytes from which a copy is made without the GIL */
    SEND_FAILED = 5                    /* for session.failed, beside what hp_channel_wait gives */
};

/* A call under way. */
typedef struct {
    const RemoteMethod *method;
    PyObject *self;
    Holder *holder;
    PyObject *connection;
    hp_channel *channel;
    int64_t deadline;
    int read_error;                     /* errno of a read that failed; 0 so far */
    uint64_t offset;                    /* in the request half, behind what was written */
    uint64_t offsets[MOST_PARAMETERS];  /* of the buffers that the plugin changes */
    Py_buffer *changed[MOST_PARAMETERS];
    CallArguments arguments;
} Call;

/* ---- connections ------------------------------------------------------------------------------------------------- */

static hp_channel *channel_of(PyObject *connection) {
    if (!Py_IS_TYPE(connection, connection_type)) {
        PyErr_Format(PyExc_TypeError, "%R is not a connection to a worker", connection);
        return NULL;
    }
    PyObject *address = slot_at(connection, address_offset);
    if (address == NULL) {
        PyErr_Format(PyExc_AttributeError, "%R has no address", connection);
        return NULL;
    }
    return (hp_channel *)PyLong_AsVoidPtr(address);
}

/* Takes the last free connection whose worker lives; NULL without an error if there is none. */
static PyObject *take_free(PyObject *free) {
    Py_ssize_t count;
    while ((count = PyList_GET_SIZE(free)) > 0) {
        PyObject *connection = Py_NewRef(PyList_GET_ITEM(free, count - 1));
        if (PyList_SetSlice(free, count - 1, count, NULL) < 0) {
            Py_DECREF(connection);
            return NULL;
        }
        const hp_channel *channel = channel_of(connection);
        if (channel == NULL || !hp_channel_is_gone(channel)) {
            return connection;
        }
        Py_DECREF(connection);
    }
    return NULL;
}

static int take(Call *call) {
    const NativeMethod *method = &call->method->base;
    call->connection = take_free(call->holder->free);
    if (call->connection == NULL && !PyErr_Occurred()) {
        call->connection =
            PyObject_CallMethod(call->holder->session, "take", "OL", method->name, (long long)call->deadline);
    }
    call->channel = call->connection == NULL ? NULL : channel_of(call->connection);
    return call->channel == NULL ? -1 : 0;
}

/* Gives the connection back after an answer. The session keeps books where there are several workers, and gives back
 * memory. */
static int give(Call *call) {
    const hp_channel *channel = call->channel;
    PyObject *session = call->holder->session;
    if (channel->used <= CHANNEL_LARGE && channel->answered <= CHANNEL_LARGE && !call->holder->is_pool) {
        return PyList_Append(call->holder->free, call->connection);
    }
    PyObject *given = PyObject_CallMethod(session, "give", "O", call->connection);
    Py_XDECREF(given);
    return given == NULL ? -1 : 0;
}

/* Gives the connection back after a call with that result, or with the error that is set if it is NULL. */
static PyObject *give_after(Call *call, PyObject *result) {
    PyObject *error = result == NULL ? error_take() : NULL;
    if (give(call) < 0) {
        if (error == NULL) {
            Py_CLEAR(result);
            return NULL;
        }
        PyErr_Clear();
    }
    if (error != NULL) {
        error_put(error);
    }
    return result;
}

/* Has the session raise the error of a call that got no answer. */
static PyObject *failed(const Call *call, int code, int detail) {
    PyObject *raised = PyObject_CallMethod(call->holder->session, "failed", "OOii", call->connection,
                                           call->method->method, code, detail);
    if (raised != NULL) {
        PyErr_SetString(PyExc_SystemError, "a call failed, and the session raised nothing");
        Py_DECREF(raised);
    }
    return NULL;
}

/* Drops the channel of a call that a signal handler's exception ended: the answer may still come. Keeps that
 * exception. */
static PyObject *gave_up(const Call *call) {
    if (call->holder->forks != fork_count) {
        return NULL; /* the channel is the parent's */
    }
    PyObject *error = error_take();
    PyObject *dropped = PyObject_CallMethod(call->holder->session, "gave_up", "O", call->connection);
    if (dropped == NULL) {
        PyErr_WriteUnraisable(call->holder->session);
    }
    Py_XDECREF(dropped);
    error_put(error);
    return NULL;
}

/* True in a child that the host forked during this call, as in a signal handler or an argument's __index__: there the
 * channel's memory is gone, and the plugin is the parent's. Sets ClosedError. */
static bool is_forked(const Call *call) {
    if (call->holder->forks == fork_count) {
        return false;
    }
    Py_XDECREF((PyObject *)holder_ask(&call->method->base, call->self));
    return true;
}

/* ---- arguments --------------------------------------------------------------------------------------------------- */

static int store(const hp_channel *channel, uint64_t offset, const void *data, uint64_t size) {
    int error;
    if (size < LARGE) {
        return channel_store(channel, offset, data, size);
    }
    Py_BEGIN_ALLOW_THREADS
    error = channel_store(channel, offset, data, size);
    Py_END_ALLOW_THREADS
    return error;
}

/* Writes a buffer behind those before it: 0, or an errno. */
static int place(Call *call, Py_ssize_t index, Bytes bytes) {
    call->channel->request->values[index] = (uint64_t)bytes.size;
    const int error = store(call->channel, call->offset, bytes.data, (uint64_t)bytes.size);
    call->offsets[index] = call->offset;
    call->offset = channel_align(call->offset + (uint64_t)bytes.size);
    return error;
}

/* Converts one argument that is a number; -1 with an error. */
static int convert_value(const NativeMethod *method, Py_ssize_t index, PyObject *value, uint64_t *word) {
    double number;
    int truth;
    switch (method->kinds[index]) {
    case 'i':
        *word = (uint64_t)integer_of(method, index, value);
        return *word == UINT64_MAX && PyErr_Occurred() ? -1 : 0;
    case 'f':
        number = PyFloat_Check(value) ? PyFloat_AS_DOUBLE(value) : argument_number(method, index, value);
        memcpy(word, &number, sizeof number);
        return number == -1.0 && PyErr_Occurred() ? -1 : 0;
    default:
        truth = value == Py_True ? 1 : value == Py_False ? 0 : argument_truth(method, index, value);
        *word = (uint64_t)truth;
        return truth < 0 ? -1 : 0;
    }
}

static int write_value(Call *call, Py_ssize_t index, PyObject *value) {
    uint64_t word;
    call->changed[index] = NULL;
    if (convert_value(&call->method->base, index, value, &word) < 0 || is_forked(call)) {
        return -1;
    }
    call->channel->request->values[index] = word;
    return 0;
}

static inline Bytes bytes_of(Call *call, Py_ssize_t index, PyObject *value) {
    const NativeMethod *method = &call->method->base;
    CallArguments *arguments = &call->arguments;
    if (method->kinds[index] != 's') {
        const int held = arguments->held;
        const Bytes bytes = buffer_of(method, index, value, arguments);
        call->changed[index] = method->kinds[index] == 'w' && arguments->held > held ? &arguments->buffers[held] : NULL;
        return bytes;
    }
    call->changed[index] = NULL;
    if (PyUnicode_Check(value) && PyUnicode_IS_COMPACT_ASCII(value)) {
        return (Bytes){PyUnicode_DATA(value), PyUnicode_GET_LENGTH(value)};
    }
    return argument_text(method, index, value, arguments);
}

static int write_buffer(Call *call, Py_ssize_t index, PyObject *value) {
    const Bytes bytes = bytes_of(call, index, value);
    return bytes.data == NULL || is_forked(call) ? -1 : place(call, index, bytes);
}

/* Writes all arguments: 0, an errno of the channel, or -1 with a Python error. */
static int write_arguments(Call *call, PyObject *const *values) {
    const NativeMethod *method = &call->method->base;
    int error = 0;
    call->offset = channel_align(sizeof(Request) + 8 * (uint64_t)method->count);
    for (Py_ssize_t index = 0; index < method->count && error == 0; index++) {
        const char kind = method->kinds[index];
        const bool is_value = kind == 'i' || kind == 'f' || kind == '?';
        error = is_value ? write_value(call, index, values[index]) : write_buffer(call, index, values[index]);
    }
    call->channel->used = call->offset; /* also after an error: what was written is given back by its size */
    return error;
}

/* ---- the answer -------------------------------------------------------------------------------------------------- */

static int read_half(const Call *call, int reply, uint64_t offset, void *to, uint64_t size) {
    int error;
    if (size < LARGE) {
        return hp_channel_read(call->channel, reply, offset, to, size);
    }
    Py_BEGIN_ALLOW_THREADS
    error = hp_channel_read(call->channel, reply, offset, to, size);
    Py_END_ALLOW_THREADS
    return error;
}

/* Copies back the buffers that the plugin changes, by the host's own sizes: 0 or an errno. */
static int read_changed(const Call *call) {
    int error = 0;
    for (Py_ssize_t index = 0; index < call->method->base.count && error == 0; index++) {
        const Py_buffer *buffer = call->changed[index];
        if (buffer != NULL && buffer->len > 0) {
            error = read_half(call, 0, call->offsets[index], buffer->buf, (uint64_t)buffer->len);
        }
    }
    return error;
}

/* A private copy of the answer's text; NULL with an error, or without one and with read_error. */
static PyObject *read_bytes(Call *call, uint64_t size) {
    PyObject *copy = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    call->read_error = copy == NULL ? 0 : read_half(call, 1, 0, PyBytes_AS_STRING(copy), size);
    if (call->read_error != 0) {
        Py_CLEAR(copy);
    }
    return copy;
}

/* Copies ASCII out of memory that the worker can change meanwhile: each word is read once, checked and stored. False if
 * something is not ASCII; then the copy is incomplete. */
static bool copy_ascii_once(char *to, const char *from, size_t size) {
    const uint64_t high = 0x8080808080808080u;
    uint64_t seen = 0;
    size_t at = 0;
    for (; at + 8 <= size && (seen & high) == 0; at += 8) {
        const uint64_t word = channel_load(from + at);
        memcpy(to + at, &word, sizeof word);
        seen |= word;
    }
    if (at < size && (seen & high) == 0) { /* the memory goes on behind the text */
        const uint64_t word = channel_load(from + at);
        memcpy(to + at, &word, size - at);
        seen |= word & (high >> (64 - 8 * (size - at)));
    }
    return (seen & high) == 0;
}

/* A str; NULL with an error, and if it is not UTF-8, the bytes in *copy. */
static PyObject *read_text(Call *call, uint64_t size, PyObject **copy) {
    if (size + sizeof(Reply) + 8 <= CHANNEL_MAPPED) {
        PyObject *text = PyUnicode_New((Py_ssize_t)size, 127);
        if (text == NULL || copy_ascii_once(PyUnicode_DATA(text), call->channel->reply->text, size)) {
            return text;
        }
        Py_DECREF(text);
    }
    *copy = read_bytes(call, size);
    return *copy == NULL ? NULL : PyUnicode_DecodeUTF8(PyBytes_AS_STRING(*copy), (Py_ssize_t)size, NULL);
}

/* conclude(status, text, length, cap, failed, intact): the error of a call that did not simply succeed, as in
 * process. */
static PyObject *conclude(Call *call, const hp_answer *answer, PyObject *text) {
    const bool too_long = (answer->flags & REPLY_TOO_LONG) != 0;
    PyObject *read = text != NULL ? Py_NewRef(text) : read_bytes(call, too_long ? 0 : answer->len);
    if (read == NULL) {
        return NULL;
    }
    PyObject *result = PyObject_CallFunction(
        call->method->base.conclude, "iOKKOO", (int)answer->status, read, (unsigned long long)answer->len,
        (unsigned long long)(too_long ? answer->scalar : answer->len),
        (answer->flags & REPLY_GROW_REFUSED) != 0 ? Py_True : Py_False,
        (answer->flags & REPLY_TAMPERED) != 0 ? Py_False : Py_True);
    Py_DECREF(read);
    return result;
}

static PyObject *make_result(Call *call, const hp_answer *answer) {
    double number;
    PyObject *result, *copy = NULL;
    if (answer->flags != 0 || answer->status != HP_OK) {
        return conclude(call, answer, NULL);
    }
    switch (call->method->base.result) {
    case 's':
        result = read_text(call, answer->len, &copy);
        if (result == NULL && copy != NULL && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
            PyErr_Clear();
            result = conclude(call, answer, copy);
        }
        Py_XDECREF(copy);
        return result;
    case 'b':
        return read_bytes(call, answer->len);
    case 'i':
        return PyLong_FromLongLong((int64_t)answer->scalar);
    case 'f':
        memcpy(&number, &answer->scalar, sizeof number);
        return PyFloat_FromDouble(number);
    case '?':
        return PyBool_FromLong((answer->scalar & 0xFF) != 0);
    default:
        Py_RETURN_NONE;
    }
}

/* ---- the call ---------------------------------------------------------------------------------------------------- */

/* Waits for the answer: HP_ANSWERED, HP_TIMED_OUT, HP_GONE, HP_MALFORMED, or -1 with the error of a signal handler. */
static int wait_for_answer(const Call *call) {
    hp_channel *channel = call->channel;
    int found;
    if (channel_poll(channel, call->method->base.quick && !channel->waiter.woke ? MANY_PAUSES : FEW_PAUSES)) {
        return HP_ANSWERED;
    }
    do {
        Py_BEGIN_ALLOW_THREADS
        found = hp_channel_wait(channel, call->deadline);
        Py_END_ALLOW_THREADS
        if (found == HP_INTERRUPTED && (PyErr_CheckSignals() < 0 || is_forked(call))) {
            return -1;
        }
    } while (found == HP_INTERRUPTED);
    return found;
}

/* Sends what was written, and makes the result of the answer. */
static PyObject *exchange(Call *call) {
    hp_answer answer;
    const int error = channel_publish(call->channel, call->method->index);
    if (error != 0) {
        return error == EPROTO ? failed(call, HP_MALFORMED, MALFORMED_WORD) : failed(call, SEND_FAILED, error);
    }
    const int found = wait_for_answer(call);
    if (found != HP_ANSWERED) {
        const int why = found == HP_MALFORMED ? hp_channel_why(call->channel) : 0;
        return found < 0 ? gave_up(call) : failed(call, found, why);
    }
    int wrong = hp_channel_answer(call->channel, &answer);
    wrong = wrong == 0 && (answer.flags & REPLY_NO_THREAD) != 0 ? MALFORMED_FLAGS : wrong;
    if (wrong != 0) {
        return failed(call, HP_MALFORMED, wrong);
    }
    call->read_error = read_changed(call);
    PyObject *result = call->read_error == 0 ? make_result(call, &answer) : NULL;
    return call->read_error != 0 ? failed(call, SEND_FAILED, call->read_error) : give_after(call, result);
}

/* After a reload, a method that was looked up before it is called on the new worker, whose plugin may not have it. */
static int check_plugin(const Call *call) {
    const PyObject *plugin = (PyObject *)call->holder->pointer;
    if (plugin == call->method->plugin) {
        return 0;
    }
    PyObject *has = PyObject_CallMethod(call->holder->session, "require", "(O)", call->method->method);
    Py_XDECREF(has);
    return has == NULL ? -1 : 0;
}

static PyObject *call_in_turn(Call *call, PyObject *const *values) {
    PyObject *result = NULL;
    call->arguments.held = 0;
    if (check_plugin(call) < 0 || take(call) < 0) {
        Py_XDECREF(call->connection);
        return NULL;
    }
    const int error = write_arguments(call, values);
    if (error == 0) {
        result = exchange(call);
    } else if (error > 0) {
        result = failed(call, SEND_FAILED, error);
    } else if (call->holder->forks == fork_count) { /* nothing was sent, and the connection is as good as before */
        result = give_after(call, NULL);
    }
    arguments_release(&call->arguments);
    Py_DECREF(call->connection);
    return result;
}

static int64_t deadline_of(const RemoteMethod *method) {
    if (method->timeout == 0) {
        return INT64_MAX;
    }
    const int64_t now = clock_now();
    return method->timeout < INT64_MAX - now ? now + method->timeout : INT64_MAX;
}

PyObject *remote_call(PyObject *callable, PyObject *const *args, size_t nargsf, PyObject *kwnames) {
    const RemoteMethod *method = (const RemoteMethod *)callable;
    const NativeMethod *base = &method->base;
    if (kwnames != NULL || PyVectorcall_NARGS(nargsf) != base->count + 1 || base->owner == NULL ||
        !PyObject_TypeCheck(args[0], base->owner)) {
        return method_call_out_of_order(callable, args, nargsf, kwnames);
    }
    PyObject *result = NULL;
    Call call;
    call.method = method;
    call.self = args[0];
    call.connection = NULL;
    call.deadline = deadline_of(method);
    call.holder = holder_of(base, args[0]);
    if (call.holder == NULL) {
        return NULL;
    }
    const int turn = call.holder->lock == NULL ? 0 : turn_take(base, args[0], call.holder, call.deadline);
    if (turn == 0) {
        result = call_in_turn(&call, args + 1);
        if (call.holder->lock != NULL) {
            turn_end(call.holder);
        }
    } else if (turn > 0) {
        result = PyObject_CallMethod(call.holder->session, "no_turn", "(O)", method->method);
    }
    Py_DECREF(call.holder);
    return result;
}
