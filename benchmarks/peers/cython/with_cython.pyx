# cython: language_level=3
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_DecodeUTF8


cdef extern from "vtable.h":
    ctypedef int hp_status

    ctypedef struct hp_out:
        char *data
        size_t len

    ctypedef struct room:
        hp_out out

    ctypedef struct greeter_v1:
        hp_status (*greet)(void *self, const char *name, size_t name_len, hp_out *out)
        hp_status (*lang)(void *self, hp_out *out)

    void room_open(room *)
    void room_close(room *)
    bint room_is_good(const room *, hp_status)
    const greeter_v1 *open_greeter(const char *)
    const char *dlerror()


cdef str result_of(room *room_, hp_status status):
    try:
        if not room_is_good(room_, status):
            raise RuntimeError(f"the plugin failed with status {status}")
        return PyUnicode_DecodeUTF8(room_.out.data, room_.out.len, NULL)
    finally:
        room_close(room_)


cdef class Greeter:
    cdef const greeter_v1 *vtable

    def __cinit__(self, str path):
        self.vtable = open_greeter(path.encode())
        if self.vtable is NULL:
            raise OSError(dlerror().decode())

    def greet(self, str name not None):
        cdef Py_ssize_t length
        cdef const char *text = PyUnicode_AsUTF8AndSize(name, &length)
        cdef room room_
        room_open(&room_)
        return result_of(&room_, self.vtable.greet(NULL, text, length, &room_.out))

    def lang(self):
        cdef room room_
        room_open(&room_)
        return result_of(&room_, self.vtable.lang(NULL, &room_.out))
