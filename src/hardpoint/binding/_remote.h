/* RemoteMethod: a method of an isolated plugin, whose calls go through a channel. */
#ifndef HARDPOINT_REMOTE_H
#define HARDPOINT_REMOTE_H

#include "_method.h"

#pragma GCC visibility push(hidden)

typedef struct {
    NativeMethod base;
    uint32_t index;    /* of the method in its contract */
    int64_t timeout;   /* ns that a call may take; 0 for no limit */
    PyObject *method;  /* the contract's Method, for errors */
    PyObject *plugin;  /* the Plugin that it was made for; that of a Holder differs after a reload */
} RemoteMethod;

extern PyTypeObject RemoteMethod_Type;

/* hardpoint.isolation.host.connection.Connection, and the offset of its `address`; see remote_set_up. */
extern PyTypeObject *connection_type;
extern Py_ssize_t address_offset;

/* Calls the method: the vectorcall slot. */
PyObject *remote_call(PyObject *callable, PyObject *const *args, size_t nargsf, PyObject *kwnames);

/* remote_set_up(Connection): sets the class whose slot `address` has a channel. */
PyObject *remote_set_up(PyObject *module, PyObject *type);

/* remote_holder(session, plugin, free, is_pool, serial) -> Holder */
PyObject *remote_holder(PyObject *module, PyObject *args);

#pragma GCC visibility pop

#endif
