/* The type NativeMethod: a descriptor on the class of a plugin object. */
#include "_method.h"

#include <stddef.h>
#include <structmember.h>

Py_ssize_t slot_offset(PyObject *type, const char *name) {
    Py_ssize_t offset = -1;
    PyObject *text = PyUnicode_InternFromString(name); /* Python's cache of look-ups would keep each other text */
    PyObject *found = text == NULL ? NULL : PyObject_GetAttr(type, text);
    Py_XDECREF(text);
    if (found != NULL && Py_IS_TYPE(found, &PyMemberDescr_Type) &&
        ((PyMemberDescrObject *)found)->d_member->type == T_OBJECT_EX) {
        offset = ((PyMemberDescrObject *)found)->d_member->offset;
    } else if (found != NULL) {
        PyErr_Format(PyExc_TypeError, "%R has no slot %s", type, name);
    }
    Py_XDECREF(found);
    return offset;
}

int method_plan(NativeMethod *method, const char *kinds, Py_ssize_t count, int result) {
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
            PyErr_Format(PyExc_ValueError, "'%c' is not a kind of parameter", kinds[index]);
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
        PyErr_SetString(PyExc_TypeError, "NativeMethod takes no keywords");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "Ks#CpUOOO:NativeMethod", &address, &kinds, &count, &result, &quick, &name, &arguments,
                          &convert, &conclude)) {
        return NULL;
    }
    NativeMethod *method = (NativeMethod *)type->tp_alloc(type, 0);
    if (method == NULL || method_plan(method, kinds, count, result) < 0) {
        Py_XDECREF(method);
        return NULL;
    }
    method->vectorcall = method_call;
    method->function = (hp_function)(uintptr_t)address;
    method->quick = quick != 0;
    method->name = Py_NewRef(name);
    method->arguments = Py_NewRef(arguments);
    method->convert = Py_NewRef(convert);
    method->conclude = Py_NewRef(conclude);
    return (PyObject *)method;
}

static int method_traverse(NativeMethod *method, visitproc visit, void *arg) {
    Py_VISIT(method->owner);
    Py_VISIT(method->arguments);
    Py_VISIT(method->convert);
    Py_VISIT(method->conclude);
    Py_VISIT(method->dict);
    return 0;
}

static int method_clear(NativeMethod *method) {
    Py_CLEAR(method->owner);
    Py_CLEAR(method->dict);
    return 0;
}

void method_drop(NativeMethod *method) {
    if (method->weak_references != NULL) {
        PyObject_ClearWeakRefs((PyObject *)method);
    }
    method_clear(method);
    Py_XDECREF(method->name);
    Py_XDECREF(method->arguments);
    Py_XDECREF(method->convert);
    Py_XDECREF(method->conclude);
}

static void method_dealloc(NativeMethod *method) {
    PyObject_GC_UnTrack(method);
    method_drop(method);
    Py_TYPE(method)->tp_free((PyObject *)method);
}

static PyObject *method_get(PyObject *method, PyObject *object, PyObject *Py_UNUSED(type)) {
    return object == NULL ? Py_NewRef(method) : PyMethod_New(method, object);
}

static PyObject *method_repr(NativeMethod *method) {
    return PyUnicode_FromFormat("<native method %U at %p>", method->name, method);
}

/* object.__set_name__: remembers the class that the method is made for. */
static PyObject *method_set_name(NativeMethod *method, PyObject *args) {
    PyObject *owner, *name;
    if (!PyArg_ParseTuple(args, "O!U:__set_name__", &PyType_Type, &owner, &name)) {
        return NULL;
    }
    const Py_ssize_t offset = slot_offset(owner, "_instance");
    if (offset < 0) {
        return NULL;
    }
    if (method->owner != NULL) {
        PyErr_Format(PyExc_TypeError, "%R already has a class", method);
        return NULL;
    }
    method->instance_offset = offset;
    method->owner = (PyTypeObject *)Py_NewRef(owner);
    Py_RETURN_NONE;
}

static PyMemberDef method_members[] = {
    {"address", T_ULONG, offsetof(NativeMethod, function), READONLY, "The address of the plugin's function."},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef method_methods[] = {
    {"__set_name__", (PyCFunction)method_set_name, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef method_attributes[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject NativeMethod_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "hardpoint.binding._native.NativeMethod",
    .tp_doc = "NativeMethod(address, kinds, result, quick, name, arguments, convert, conclude)",
    .tp_basicsize = sizeof(NativeMethod),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR |
                Py_TPFLAGS_IMMUTABLETYPE,
    .tp_vectorcall_offset = offsetof(NativeMethod, vectorcall),
    .tp_dictoffset = offsetof(NativeMethod, dict),
    .tp_weaklistoffset = offsetof(NativeMethod, weak_references),
    .tp_new = method_new,
    .tp_traverse = (traverseproc)method_traverse,
    .tp_clear = (inquiry)method_clear,
    .tp_dealloc = (destructor)method_dealloc,
    .tp_call = PyVectorcall_Call,
    .tp_descr_get = method_get,
    .tp_repr = (reprfunc)method_repr,
    .tp_methods = method_methods,
    .tp_members = method_members,
    .tp_getset = method_attributes,
};
