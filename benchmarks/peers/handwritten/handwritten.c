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

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "handwritten", .m_size = -1};

PyMODINIT_FUNC PyInit_handwritten(void) {
    PyObject *made = PyModule_Create(&module);
    if (made != NULL && (PyType_Ready(&type) < 0 || PyModule_AddObjectRef(made, "Greeter", (PyObject *)&type) < 0)) {
        Py_CLEAR(made);
    }
    return made;
}
