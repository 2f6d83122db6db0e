/* How objects of types of xctx cross to another interpreter; see crossing.h. */
#define PY_SSIZE_T_CLEAN
#include "xctx/_runtime/crossing.h"

#if XCTX_HAS_CROSSING

#  if defined(__GNUC__)
#    pragma GCC diagnostic push
#    pragma GCC diagnostic ignored "-Wextra"
#    pragma GCC diagnostic ignored "-Wall"
#    pragma GCC diagnostic ignored "-Wpedantic"
#  endif
#  define Py_BUILD_CORE 1
#  include "internal/pycore_crossinterp.h"
#  if defined(__GNUC__)
#    pragma GCC diagnostic pop
#  endif

/* CPython's function that makes a tuple of what crossed. It is the same for all tuples and interpreters: whoever sends the
 * first one sets it, before that can arrive. Process. */
static xid_newobjfunc make_tuple;

/* In the interpreter that receives it. */
static PyObject *arrive(_PyXIData_t *data) {
    PyObject *parts = __atomic_load_n(&make_tuple, __ATOMIC_RELAXED)(data);
    PyObject *module = NULL, *maker = NULL, *arguments = NULL, *made = NULL;
    if (parts == NULL) return NULL;
    if ((module = PyImport_Import(PyTuple_GET_ITEM(parts, 0))) != NULL
        && (maker = PyObject_GetAttr(module, PyTuple_GET_ITEM(parts, 1))) != NULL
        && (arguments = PyTuple_GetSlice(parts, 2, PyTuple_GET_SIZE(parts))) != NULL)
        made = PyObject_CallObject(maker, arguments);
    Py_XDECREF(arguments);
    Py_XDECREF(maker);
    Py_XDECREF(module);
    Py_DECREF(parts);
    return made;
}

static int leave(PyThreadState *tstate, PyObject *thing, xidata_fallback_t Py_UNUSED(fallback), _PyXIData_t *data) {
    PyObject *parts = PyObject_CallMethod(thing, "_cross", NULL);
    int failed;
    if (parts == NULL) return -1;
    failed = _PyObject_GetXIData(tstate, parts, _PyXIDATA_FULL_FALLBACK, data);   /* `data` holds the tuple from now on */
    Py_DECREF(parts);
    if (failed) return -1;
    __atomic_store_n(&make_tuple, data->new_object, __ATOMIC_RELAXED);
    _PyXIData_SET_NEW_OBJECT(data, arrive);
    return 0;
}

PyObject *xctx_let_cross(PyObject *Py_UNUSED(module), PyObject *type) {
    _PyXIData_getdata_t how = {NULL, leave};
    if (!PyType_Check(type)) return PyErr_Format(PyExc_TypeError, "a type was expected, got %R", type);
    if (_PyXIData_RegisterClass(PyThreadState_Get(), (PyTypeObject *)type, how)) return NULL;
    Py_RETURN_NONE;
}

PyObject *xctx_try_crossing(PyObject *Py_UNUSED(module), PyObject *thing) {
    _PyXIData_t *data = _PyXIData_New();
    int failed;
    if (data == NULL) return NULL;
    failed = _PyObject_GetXIData(PyThreadState_Get(), thing, _PyXIDATA_FULL_FALLBACK, data);
    if (failed) {
        _PyXIData_Free(data);
        return NULL;
    }
    if (_PyXIData_ReleaseAndRawFree(data)) return NULL;
    Py_RETURN_NONE;
}

#endif
