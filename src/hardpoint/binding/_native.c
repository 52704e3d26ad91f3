/* The binding in C: one generic path for every signature of the contract language. This file is the module itself.
 *
 * A NativeMethod is a descriptor on the class of a plugin object. It has a plan (the kinds of arguments and result), the
 * function's address, and Python functions that convert unusual arguments and raise errors.
 *
 *     _native.c      the module: create, set_up, system_calls
 *     _method.[ch]   the type NativeMethod
 *     _call.c        one call: the hot path
 *     _arguments.[ch], _out.[ch], _holder.[ch]   arguments, results, instances; what a plain call needs is inline
 *     _remote.[ch]   the type RemoteMethod: the same for a plugin in a worker
 *     _remote_call.c one call over a channel
 *     _registers.h   a C call by words and doubles
 *
 * Everything runs with the GIL held, except the plugin's own code; see `run` in _call.c.
 */
#include "_holder.h"
#include "_out.h"
#include "_remote.h"

#include <pthread.h>
#include <unistd.h>

#ifdef PYPY_VERSION
#error "PyPy calls through cffi, which its compiler knows"
#endif

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
    if (!out_is_fine(&out, status)) { /* an instance that create made all the same is destroyed with its Holder */
        result = out_conclude(&out, status, conclude);
        Py_DECREF(holder);
    }
    out_close(&out);
    return result;
}

PyDoc_STRVAR(set_up_doc, "set_up(Instance): set the class of a plugin object's `_instance`");

static PyObject *native_set_up(PyObject *Py_UNUSED(module), PyObject *type) {
    const Py_ssize_t offset = slot_offset(type, "_holder");
    if (offset < 0) {
        return NULL;
    }
    holder_offset = offset;
    Py_XSETREF(instance_type, (PyTypeObject *)Py_NewRef(type));
    Py_RETURN_NONE;
}

PyDoc_STRVAR(remote_set_up_doc, "remote_set_up(Connection): set the class whose slot `address` has a channel");
PyDoc_STRVAR(remote_holder_doc,
             "remote_holder(session, plugin, free, is_pool, serial) -> Holder that ends the session");

PyDoc_STRVAR(system_calls_doc, "system_calls(table) -> list of results; a call is 6 longs: its number and 5 arguments");

static PyObject *native_system_calls(PyObject *Py_UNUSED(module), PyObject *table) {
    enum { MOST = 96 };
    Py_buffer calls;
    if (PyObject_GetBuffer(table, &calls, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    long words[6], found[MOST];
    Py_ssize_t count = calls.len / (Py_ssize_t)sizeof words;
    count = count < MOST ? count : MOST;
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t at = 0; at < count; at++) {
        memcpy(words, (const char *)calls.buf + at * (Py_ssize_t)sizeof words, sizeof words);
        found[at] = syscall(words[0], words[1], words[2], words[3], words[4], words[5]);
    }
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&calls);
    PyObject *results = PyList_New(count);
    for (Py_ssize_t at = 0; results != NULL && at < count; at++) {
        PyObject *result = PyLong_FromLong(found[at]);
        if (result == NULL) {
            Py_CLEAR(results);
        } else {
            PyList_SET_ITEM(results, at, result);
        }
    }
    return results;
}

static PyMethodDef functions[] = {
    {"create", native_create, METH_VARARGS, create_doc},
    {"set_up", native_set_up, METH_O, set_up_doc},
    {"remote_set_up", remote_set_up, METH_O, remote_set_up_doc},
    {"remote_holder", remote_holder, METH_VARARGS, remote_holder_doc},
    {"system_calls", native_system_calls, METH_O, system_calls_doc},
    {NULL, NULL, 0, NULL},
};

/* Not through os.register_at_fork: uWSGI forks without Python's functions for it. */
static void count_fork(void) {
    fork_count++;
}

static int execute(PyObject *module) {
    static bool is_counting;
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(PyExc_ImportError, "plugins are loaded in the main interpreter alone");
        return -1;
    }
    if (PyModule_AddType(module, &Holder_Type) < 0 || PyModule_AddType(module, &NativeMethod_Type) < 0 ||
        PyModule_AddType(module, &RemoteMethod_Type) < 0) {
        return -1;
    }
    if (!is_counting && pthread_atfork(NULL, NULL, count_fork) != 0) {
        PyErr_NoMemory();
        return -1;
    }
    is_counting = true;
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
    .m_doc = "The binding in C; used through hardpoint.binding.native.",
    .m_methods = functions,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__native(void) {
    return PyModuleDef_Init(&definition);
}
