/* The floor of a benchmark: a plugin's function called in a loop in C, without conversions and results. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <time.h>

#include "../binding/_registers.h"
#include "../contracts/hardpoint.h"

enum { ROOM = 1024 }; /* as a fresh hp_out of the native binding has */

typedef struct {
    hp_out out;
    char *grown; /* memory of a larger result; NULL while `first` is enough */
    char first[ROOM];
} Result;

static hp_status grow(hp_out *out, size_t need) {
    Result *result = (Result *)out;
    if (need <= out->cap) {
        return HP_OK;
    }
    const size_t room = need > 2 * out->cap ? need : 2 * out->cap;
    char *grown = room > PTRDIFF_MAX ? NULL : realloc(result->grown, room);
    if (grown == NULL) {
        return HP_NO_MEMORY;
    }
    if (result->grown == NULL) {
        memcpy(grown, result->first, out->len);
    }
    out->data = result->grown = grown;
    out->cap = room;
    return HP_OK;
}

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

/* Fills in the call: the words of self and the arguments, then those of a scalar result and of the hp_out. */
static hp_shape fill(hp_call *call, const Py_buffer *words, const Py_buffer *doubles, void *scalar, hp_out *out) {
    int count = (int)(words->len / 8), numbers = (int)(doubles->len / 8);
    memcpy(call->words, words->buf, (size_t)count * 8);
    memcpy(call->doubles, doubles->buf, (size_t)numbers * 8);
    if (scalar != NULL) {
        call->words[count++] = (uint64_t)(uintptr_t)scalar;
    }
    call->words[count++] = (uint64_t)(uintptr_t)out;
    const hp_shape shape = hp_shape_of(count, numbers);
    hp_call_close(call, shape, call->words + count, call->doubles + numbers);
    return shape;
}

PyDoc_STRVAR(run_doc, "run(function, words, doubles, has_scalar, count) -> (status of the last, nanoseconds of all)");

static PyObject *floor_run(PyObject *Py_UNUSED(module), PyObject *args) {
    unsigned long long function;
    Py_buffer words, doubles;
    int has_scalar;
    Py_ssize_t count;
    if (!PyArg_ParseTuple(args, "Ky*y*pn:run", &function, &words, &doubles, &has_scalar, &count)) {
        return NULL;
    }
    PyObject *made = NULL;
    if (words.len / 8 > HP_MOST_WORDS - 2 || doubles.len / 8 > HP_MOST_DOUBLES) {
        PyErr_SetString(PyExc_ValueError, "more arguments than a method can have");
    } else {
        int64_t scalar = 0, taken;
        hp_call call;
        hp_status status = HP_OK;
        Result result = {.out = {.data = result.first, .cap = ROOM, .grow = grow}};
        const hp_shape shape = fill(&call, &words, &doubles, has_scalar ? &scalar : NULL, &result.out);
        Py_BEGIN_ALLOW_THREADS
        taken = -now();
        for (Py_ssize_t turn = 0; turn < count && status == HP_OK; turn++) {
            result.out.len = 0;
            status = hp_call_function((hp_function)(uintptr_t)function, shape, &call);
        }
        taken += now();
        Py_END_ALLOW_THREADS
        free(result.grown);
        made = Py_BuildValue("iL", (int)status, (long long)taken);
    }
    PyBuffer_Release(&words);
    PyBuffer_Release(&doubles);
    return made;
}

static PyMethodDef functions[] = {
    {"run", floor_run, METH_VARARGS, run_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "hardpoint.benchmark._floor",
    .m_doc = "A loop in C over one function of a vtable; used through hardpoint.benchmark.floor.",
    .m_methods = functions,
};

PyMODINIT_FUNC PyInit__floor(void) {
    return PyModuleDef_Init(&definition);
}
