/* RemoteMethod: a method of an isolated plugin, whose calls go through a channel. */
#ifndef HARDPOINT_REMOTE_H
#define HARDPOINT_REMOTE_H

#include "_method.h"

#pragma GCC visibility push(hidden)

extern PyTypeObject RemoteMethod_Type;

/* remote_set_up(Connection): sets the class whose slot `address` has a channel. */
PyObject *remote_set_up(PyObject *module, PyObject *type);

/* remote_holder(session, plugin, free, is_pool, serial) -> Holder */
PyObject *remote_holder(PyObject *module, PyObject *args);

#pragma GCC visibility pop

#endif
