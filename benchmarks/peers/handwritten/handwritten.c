/* An extension module as a good C programmer writes it by hand for this one vtable. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "vtable.h"

typedef struct greeter {
    PyObject_HEAD
    const greeter_v1 *vtable;
} greeter;

static PyObject *result_of(room *room_, hp_status status) {
    PyObject *text = NULL;
    if (room_is_good(room_, status)) {
        text = PyUnicode_DecodeUTF8(room_->out.data, (Py_ssize_t)room_->out.len, NULL);
    } else {
        PyErr_Format(PyExc_RuntimeError, "the plugin failed with status %d", (int)status);
    }
    room_close(room_);
    return text;
}

static PyObject *greet(PyObject *self, PyObject *name) {
    Py_ssize_t len;
    const char *text = PyUnicode_AsUTF8AndSize(name, &len);
    if (text == NULL) {
        return NULL;
    }
    room room_;
    room_open(&room_);
    return result_of(&room_, ((greeter *)self)->vtable->greet(NULL, text, (size_t)len, &room_.out));
}

static PyObject *lang(PyObject *self, PyObject *unused) {
    (void)unused;
    room room_;
    room_open(&room_);
    return result_of(&room_, ((greeter *)self)->vtable->lang(NULL, &room_.out));
}

static PyObject *new_greeter(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    (void)kwargs;
    const char *path;
    if (!PyArg_ParseTuple(args, "s", &path)) {
        return NULL;
    }
    const greeter_v1 *vtable = open_greeter(path);
    if (vtable == NULL) {
        PyErr_SetString(PyExc_OSError, dlerror());
        return NULL;
    }
    greeter *self = (greeter *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->vtable = vtable;
    }
    return (PyObject *)self;
}

static PyMethodDef methods[] = {
    {"greet", greet, METH_O, NULL},
    {"lang", lang, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "handwritten.Greeter",
    .tp_basicsize = sizeof(greeter),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = new_greeter,
    .tp_methods = methods,
};

/* The same with methods of a type of their own, which a binding for any contract needs. CPython has no specialised
 * instructions for them; this peer shows the cost of that. */
typedef struct descriptor {
    PyObject_HEAD
    vectorcallfunc call;
} descriptor;

static PyTypeObject described_type;

static bool is_call(PyObject *const *args, size_t nargsf, PyObject *kwnames, Py_ssize_t count) {
    if (kwnames == NULL && PyVectorcall_NARGS(nargsf) == count && Py_IS_TYPE(args[0], &described_type)) {
        return true;
    }
    PyErr_SetString(PyExc_TypeError, "this method takes other arguments");
    return false;
}

static PyObject *call_greet(PyObject *callable, PyObject *const *args, size_t nargsf, PyObject *kwnames) {
    (void)callable;
    return is_call(args, nargsf, kwnames, 2) ? greet(args[0], args[1]) : NULL;
}

static PyObject *call_lang(PyObject *callable, PyObject *const *args, size_t nargsf, PyObject *kwnames) {
    (void)callable;
    return is_call(args, nargsf, kwnames, 1) ? lang(args[0], NULL) : NULL;
}

static PyObject *get(PyObject *self, PyObject *object, PyObject *owner) {
    (void)owner;
    return object == NULL ? Py_NewRef(self) : PyMethod_New(self, object);
}

static PyTypeObject descriptor_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "handwritten.descriptor",
    .tp_basicsize = sizeof(descriptor),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR,
    .tp_vectorcall_offset = offsetof(descriptor, call),
    .tp_call = PyVectorcall_Call,
    .tp_descr_get = get,
};

static PyTypeObject described_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "handwritten.Described",
    .tp_basicsize = sizeof(greeter),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = new_greeter,
};

static int describe(const char *name, vectorcallfunc call) {
    descriptor *made = PyObject_New(descriptor, &descriptor_type);
    if (made == NULL) {
        return -1;
    }
    made->call = call;
    const int status = PyDict_SetItemString(described_type.tp_dict, name, (PyObject *)made);
    Py_DECREF(made);
    return status;
}

static int add_types(PyObject *made) {
    if (PyType_Ready(&type) < 0 || PyType_Ready(&descriptor_type) < 0 || PyType_Ready(&described_type) < 0 ||
        describe("greet", call_greet) < 0 || describe("lang", call_lang) < 0) {
        return -1;
    }
    PyType_Modified(&described_type);
    return PyModule_AddObjectRef(made, "Greeter", (PyObject *)&type) < 0 ||
                   PyModule_AddObjectRef(made, "Described", (PyObject *)&described_type) < 0
               ? -1
               : 0;
}

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "handwritten", .m_size = -1};

PyMODINIT_FUNC PyInit_handwritten(void) {
    PyObject *made = PyModule_Create(&module);
    if (made != NULL && add_types(made) < 0) {
        Py_CLEAR(made);
    }
    return made;
}
