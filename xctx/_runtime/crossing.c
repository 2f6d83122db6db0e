/* How objects of types of xctx cross to another interpreter; see crossing.h. */
#define PY_SSIZE_T_CLEAN
#include "xctx/_runtime/crossing.h"

#if XCTX_HAS_CROSSING

#  include <fcntl.h>
#  include <pthread.h>
#  include <sys/stat.h>
#  include <unistd.h>

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

/* --- files on their way ------------------------------------------------------------------------------------------------ */

/* What is pickled goes as bytes, which keep nothing alive. So a file that is named in them is kept open here, until it has arrived
 * as often as it was sent. What never arrives makes room for others at last. Process; guarded by `mutex`. */
static struct {
    int fd;
    dev_t device;
    ino_t inode;
    unsigned sent;     /* how often, and not arrived so far; 0 where this entry is free */
    uint64_t turn;     /* when it was last sent: the number of that sending */
} in_transit[XCTX_MOST_IN_TRANSIT];
static uint64_t turns;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;   /* held for a few system calls that do not wait, and across a fork */

static void before_fork(void) { pthread_mutex_lock(&mutex); }
static void after_fork_in_parent(void) { pthread_mutex_unlock(&mutex); }
static void after_fork_in_child(void) { pthread_mutex_init(&mutex, NULL); }
static void watch_forks(void) { pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child); }

/* A program may close our descriptor, and get its number for another file. */
static int is_of(int fd, dev_t device, ino_t inode) {
    struct stat about;
    return !fstat(fd, &about) && about.st_dev == device && about.st_ino == inode;
}

/* The entry of a file, or -1. Under the mutex. */
static int entry_of(dev_t device, ino_t inode) {
    int i;
    for (i = 0; i < XCTX_MOST_IN_TRANSIT; i++)
        if (in_transit[i].sent && in_transit[i].device == device && in_transit[i].inode == inode
            && is_of(in_transit[i].fd, device, inode)) return i;
    return -1;
}

static void free_entry(int i) {
    if (in_transit[i].sent && is_of(in_transit[i].fd, in_transit[i].device, in_transit[i].inode)) close(in_transit[i].fd);
    in_transit[i].sent = 0;
}

PyObject *xctx_send_file(PyObject *Py_UNUSED(module), PyObject *args) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    unsigned long long device, inode;
    int fd, i, each;
    if (!PyArg_ParseTuple(args, "iKK", &fd, &device, &inode)) return NULL;
    pthread_once(&once, watch_forks);
    pthread_mutex_lock(&mutex);
    i = entry_of((dev_t)device, (ino_t)inode);
    if (i < 0) {
        for (i = each = 0; each < XCTX_MOST_IN_TRANSIT && in_transit[i].sent; each++)
            if (!in_transit[each].sent || in_transit[each].turn < in_transit[i].turn) i = each;
        free_entry(i);
        fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);   /* without a descriptor for it, it arrives while the sender keeps it */
        if (fd >= 0) {
            in_transit[i].fd = fd;
            in_transit[i].device = (dev_t)device;
            in_transit[i].inode = (ino_t)inode;
        }
    }
    if (fd >= 0) {
        in_transit[i].sent++;
        in_transit[i].turn = ++turns;
    }
    pthread_mutex_unlock(&mutex);
    Py_RETURN_NONE;
}

PyObject *xctx_receive_file(PyObject *Py_UNUSED(module), PyObject *args) {
    unsigned long long device, inode;
    int sender, i, fd, failed;
    if (!PyArg_ParseTuple(args, "iKK", &sender, &device, &inode)) return NULL;
    pthread_mutex_lock(&mutex);
    i = entry_of((dev_t)device, (ino_t)inode);
    fd = fcntl(i < 0 ? sender : in_transit[i].fd, F_DUPFD_CLOEXEC, 0);
    failed = errno;
    if (i >= 0 && in_transit[i].sent == 1) free_entry(i);
    else if (i >= 0) in_transit[i].sent--;
    pthread_mutex_unlock(&mutex);
    if (fd >= 0 && is_of(fd, (dev_t)device, (ino_t)inode)) return PyLong_FromLong(fd);
    if (fd >= 0) close(fd);
    else if (failed != EBADF) {
        errno = failed;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_NONE;
}

#endif
