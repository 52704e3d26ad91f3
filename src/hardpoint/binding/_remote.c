/* The type RemoteMethod: a method of an isolated plugin; its calls are in _remote_call.c. */
#include "_remote.h"
#include "_holder.h"

#include <structmember.h>

PyTypeObject *connection_type;
Py_ssize_t address_offset;

static PyObject *remote_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    unsigned int index;
    const char *kinds;
    Py_ssize_t count;
    int result, quick;
    long long timeout;
    PyObject *name, *arguments, *convert, *finish, *definition, *plugin;
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0) {
        PyErr_SetString(PyExc_TypeError, "RemoteMethod takes no keywords");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "Is#CpUOOOOOL:RemoteMethod", &index, &kinds, &count, &result, &quick, &name, &arguments,
                          &convert, &finish, &definition, &plugin, &timeout)) {
        return NULL;
    }
    RemoteMethod *method = (RemoteMethod *)type->tp_alloc(type, 0);
    if (method == NULL || method_plan(&method->base, kinds, count, result) < 0) {
        Py_XDECREF(method);
        return NULL;
    }
    method->base.vectorcall = remote_call;
    method->base.quick = quick != 0;
    method->base.name = Py_NewRef(name);
    method->base.arguments = Py_NewRef(arguments);
    method->base.convert = Py_NewRef(convert);
    method->base.conclude = Py_NewRef(finish);
    method->index = index;
    method->timeout = timeout;
    method->method = Py_NewRef(definition);
    method->plugin = Py_NewRef(plugin);
    return (PyObject *)method;
}

static void remote_dealloc(RemoteMethod *method) {
    PyObject_GC_UnTrack(method);
    method_drop(&method->base);
    Py_XDECREF(method->method);
    Py_XDECREF(method->plugin);
    Py_TYPE(method)->tp_free((PyObject *)method);
}

/* object.__set_name__: the method may be called on objects of every class of the family that its class is made with,
 * since `reload` gives an object another class. */
static PyObject *remote_set_name(RemoteMethod *method, PyObject *args) {
    PyObject *owner, *name;
    if (!PyArg_ParseTuple(args, "O!U:__set_name__", &PyType_Type, &owner, &name)) {
        return NULL;
    }
    PyTypeObject *family = ((PyTypeObject *)owner)->tp_base;
    const Py_ssize_t offset = slot_offset(owner, "_instance");
    if (offset < 0) {
        return NULL;
    }
    if (method->base.owner != NULL) {
        PyErr_Format(PyExc_TypeError, "%R already has a class", method);
        return NULL;
    }
    method->base.instance_offset = offset;
    method->base.owner = (PyTypeObject *)Py_NewRef(family);
    Py_RETURN_NONE;
}

static PyMethodDef remote_methods[] = {
    {"__set_name__", (PyCFunction)remote_set_name, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

PyTypeObject RemoteMethod_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "hardpoint.binding._native.RemoteMethod",
    .tp_doc = "RemoteMethod(index, kinds, result, quick, name, arguments, convert, conclude, method, plugin, timeout)",
    .tp_base = &NativeMethod_Type,
    .tp_basicsize = sizeof(RemoteMethod),
    /* Without HAVE_GC here, that flag and its functions are the base's. */
    .tp_flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR | Py_TPFLAGS_IMMUTABLETYPE,
    .tp_vectorcall_offset = offsetof(NativeMethod, vectorcall),
    .tp_new = remote_new,
    .tp_dealloc = (destructor)remote_dealloc,
    .tp_call = PyVectorcall_Call,
    .tp_methods = remote_methods,
};

/* ---- for the module ---------------------------------------------------------------------------------------------- */

PyObject *remote_set_up(PyObject *Py_UNUSED(module), PyObject *type) {
    const Py_ssize_t offset = slot_offset(type, "address");
    if (offset < 0) {
        return NULL;
    }
    address_offset = offset;
    Py_XSETREF(connection_type, (PyTypeObject *)Py_NewRef(type));
    Py_RETURN_NONE;
}

PyObject *remote_holder(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject *session, *plugin, *free;
    int serial, is_pool;
    if (!PyArg_ParseTuple(args, "OOO!pp:remote_holder", &session, &plugin, &PyList_Type, &free, &is_pool, &serial)) {
        return NULL;
    }
    Holder *holder = holder_new(NULL, NULL, serial != 0);
    if (holder != NULL) {
        holder->pointer = Py_NewRef(plugin);
        holder->session = Py_NewRef(session);
        holder->free = Py_NewRef(free);
        holder->is_pool = is_pool != 0;
    }
    return (PyObject *)holder;
}
