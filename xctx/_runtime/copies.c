/* The module xctx._runtime.copies: which interpreter of the process has which copy of the compiled rooms; see copies.h.
 *
 * All interpreters share this module, so its variables refer to no objects, and none belongs to a thread. An interpreter may
 * have a GIL of its own: a mutex guards what changes. */
#define PY_SSIZE_T_CLEAN
#if !defined(_GNU_SOURCE)
#  define _GNU_SOURCE   /* dladdr, dl_iterate_phdr */
#endif
#include "xctx/_runtime/copies.h"
#include "xctx/_runtime/crossing.h"

static PyObject *is_main(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused)) {
    return PyBool_FromLong(PyInterpreterState_Get() == PyInterpreterState_Main());
}

static PyObject *interpreter(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused)) {
    return PyLong_FromLongLong(PyInterpreterState_GetID(PyInterpreterState_Get()));
}

#if XCTX_HAS_COPIES

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* CPython has this for its own module of interpreters: NULL and an error where the interpreter has gone from the list of all,
 * which is the last thing that happens to it. Identifiers are never reused. */
PyAPI_FUNC(PyInterpreterState *) _PyInterpreterState_LookUpID(int64_t);

#define MOST_SLOTS 16
#define NO_INTERPRETER (-1)
#define NAME_IN_DICT "xctx._runtime.copies"

/* A copy of one module. It never changes once it is in a list, and is never freed. */
typedef struct room {
    struct room *next;
    PyObject *(*init)(void);
    char *start;                /* its static variables, and what they are before anything runs */
    char *saved;
    size_t size;
    PyModuleDef_Slot slots[MOST_SLOTS];   /* what Cython has written, and what has to be added */
    char name[];
} room;

/* A copy of all modules, as far as its interpreter has imported them. It is never freed, but reused. */
typedef struct copy {
    struct copy *next;          /* never changes */
    int64_t interpreter;        /* which has it, or NO_INTERPRETER. Guarded by `mutex`, as all that follows */
    long number;                /* never changes */
    int ended;                  /* what `at_end` does has been done */
    room *rooms;                /* the newest first */
    xctx_copy *border;          /* NULL until its room has been loaded */
    int spoiled;                /* the memory of a thread could not be noted: not to be reused. Guarded by `threads_mutex` */
    xctx_thread_memory *threads;   /* likewise */
} copy;

/* Held across a fork, while the rooms' locks are taken. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
/* Innermost, and not held across a fork: a thread that uses a copy for the first time may have locks of the rooms. */
static pthread_mutex_t threads_mutex = PTHREAD_MUTEX_INITIALIZER;
static copy *copies;            /* the newest first */
static pthread_key_t of_thread; /* the memory that a thread has of copies. Never changes once it is made */
static int is_set_up;

/* --- the memory of threads --------------------------------------------------------------------------------------------- */

static void unlink_memory(xctx_thread_memory *memory) {
    *memory->before = memory->next;
    if (memory->next) memory->next->before = memory->before;
}

static void link_memory(xctx_thread_memory *memory) {
    copy *c = memory->copy;
    memory->next = c->threads;
    memory->before = &c->threads;
    if (memory->next) memory->next->before = &memory->next;
    c->threads = memory;
}

static void thread_ends(void *first) {
    xctx_thread_memory *memory;
    pthread_mutex_lock(&threads_mutex);
    for (memory = first; memory; memory = memory->other) unlink_memory(memory);
    pthread_mutex_unlock(&threads_mutex);
}

static void remember(void *of, xctx_thread_memory *memory) {
    copy *c = of;
    pthread_mutex_lock(&threads_mutex);
    memory->copy = c;
    memory->other = pthread_getspecific(of_thread);
    if (pthread_setspecific(of_thread, memory)) c->spoiled = 1;
    else link_memory(memory);
    pthread_mutex_unlock(&threads_mutex);
}

/* --- forks, and the end of the process --------------------------------------------------------------------------------- */

static void before_fork(void) {
    copy *c;
    pthread_mutex_lock(&mutex);
    for (c = copies; c; c = c->next)
        if (c->border && c->border->before_fork) c->border->before_fork();
}

static void after_fork_in_parent(void) {
    copy *c;
    for (c = copies; c; c = c->next)
        if (c->border && c->border->after_fork_in_parent) c->border->after_fork_in_parent();
    pthread_mutex_unlock(&mutex);
}

static void after_fork_in_child(void) {
    xctx_thread_memory *memory;
    copy *c;
    for (c = copies; c; c = c->next) {
        c->threads = NULL;   /* those threads are not here */
        if (c->border && c->border->after_fork_in_child) c->border->after_fork_in_child();
    }
    for (memory = pthread_getspecific(of_thread); memory; memory = memory->other) link_memory(memory);
    pthread_mutex_init(&threads_mutex, NULL);
    pthread_mutex_init(&mutex, NULL);
}

static void process_ends(void) {
    copy *c;
    if (pthread_mutex_trylock(&mutex)) return;
    for (c = copies; c; c = c->next)
        if (c->border && c->border->at_exit && !c->ended) c->border->at_exit();
    pthread_mutex_unlock(&mutex);
}

/* 0, or -1 where there is no room. Under the mutex. */
static int set_up(void) {
    static int has_key, has_handlers;
    if (is_set_up) return 0;
    if (!has_key && pthread_key_create(&of_thread, thread_ends)) return -1;
    has_key = 1;
    if (!has_handlers && pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child)) return -1;
    has_handlers = 1;
    if (atexit(process_ends)) return -1;
    is_set_up = 1;
    return 0;
}

/* --- which interpreter has which --------------------------------------------------------------------------------------- */

static int64_t this_interpreter(void) { return PyInterpreterState_GetID(PyInterpreterState_Get()); }

static copy *copy_of(int64_t interpreter) {
    copy *c;
    for (c = copies; c && c->interpreter != interpreter; c = c->next) {}
    return c;
}

static copy *my_copy(void) {
    copy *c;
    pthread_mutex_lock(&mutex);
    c = copy_of(this_interpreter());
    pthread_mutex_unlock(&mutex);
    return c;
}

static int has_ended(int64_t interpreter) {
    int ended;
    if (interpreter == NO_INTERPRETER) return 1;
    ended = _PyInterpreterState_LookUpID(interpreter) == NULL;
    if (ended) PyErr_Clear();
    return ended;
}

/* The interpreter's dict is cleared when its threads, modules and most objects are gone: their units have ended. */
static void interpreter_ends(PyObject *capsule) {
    copy *c = PyCapsule_GetPointer(capsule, NAME_IN_DICT);
    void (*at_end)(void) = NULL;
    pthread_mutex_lock(&mutex);
    if (!c->ended && c->border) at_end = c->border->at_end;
    c->ended = 1;
    pthread_mutex_unlock(&mutex);
    if (at_end) at_end();
}

static int watch_interpreter(copy *c) {
    PyObject *dict = PyInterpreterState_GetDict(PyInterpreterState_Get());   /* borrowed */
    PyObject *capsule = PyCapsule_New(c, NAME_IN_DICT, interpreter_ends);
    int failed;
    if (dict == NULL && !PyErr_Occurred()) PyErr_NoMemory();
    failed = capsule == NULL || dict == NULL || PyDict_SetItemString(dict, NAME_IN_DICT, capsule);
    if (capsule != NULL && failed) PyCapsule_SetDestructor(capsule, NULL);
    Py_XDECREF(capsule);
    return failed ? -1 : 0;
}

/* The address sanitizer puts bytes between variables that nothing may read. */
#if defined(__SANITIZE_ADDRESS__)
static __attribute__((no_sanitize_address)) void copy_segment(char *to, const char *from, size_t size) {
    volatile char *each = to;   /* or the compiler makes it a call of memcpy, which the sanitizer checks */
    while (size--) *each++ = *from++;
}
#else
#  define copy_segment memcpy
#endif

/* Resets a copy to what it was when it was loaded. Under the mutex, which no thread that forks gets meanwhile. */
static void begin_anew(copy *c) {
    xctx_thread_memory *memory;
    uint64_t serial = 0;
    room *r;
    if (c->border) {
        if (c->border->discard) c->border->discard();
        if (c->border->last_serial) serial = c->border->last_serial();
    }
    for (r = c->rooms; r; r = r->next) copy_segment(r->start, r->saved, r->size);
    pthread_mutex_lock(&threads_mutex);
    for (memory = c->threads; memory; memory = memory->next) memset(memory->start, 0, memory->size);
    pthread_mutex_unlock(&threads_mutex);
    if (c->border) {
        c->border->copy = c;
        c->border->remember = remember;
        c->border->first_serial = serial;
    }
    c->ended = 0;
}

static int rooms_of(const copy *c) {
    const room *r;
    int number = 0;
    for (r = c->rooms; r; r = r->next) number++;
    return number;
}

/* A copy of an interpreter that has ended, which is this one's from now on; or NULL. The interpreter is asked about without the
 * mutex, because CPython holds a lock of its own when it forks. */
static copy *take_over(int64_t interpreter) {
    copy *c, *best = NULL;
    int64_t before;
    int usable;
    pthread_mutex_lock(&mutex);
    c = copies;
    pthread_mutex_unlock(&mutex);
    for (; c; c = c->next) {
        pthread_mutex_lock(&mutex);
        before = c->interpreter;
        pthread_mutex_unlock(&mutex);
        if (!has_ended(before)) continue;
        pthread_mutex_lock(&mutex);
        pthread_mutex_lock(&threads_mutex);
        usable = !c->spoiled;
        pthread_mutex_unlock(&threads_mutex);
        /* Otherwise another interpreter was faster. A copy in which some rooms could not be loaded is the last choice. */
        if (usable && c->interpreter == before) {
            c->interpreter = NO_INTERPRETER;
            if (best == NULL || rooms_of(c) > rooms_of(best)) best = c;
        }
        pthread_mutex_unlock(&mutex);
    }
    if (best == NULL) return NULL;
    pthread_mutex_lock(&mutex);
    usable = best->interpreter == NO_INTERPRETER;
    if (usable) {
        begin_anew(best);
        best->interpreter = interpreter;
    }
    pthread_mutex_unlock(&mutex);
    return usable ? best : take_over(interpreter);
}

static PyObject *take(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused)) {
    int64_t interpreter = this_interpreter();
    copy *c = my_copy();
    int failed;
    if (c == NULL && (c = take_over(interpreter)) == NULL) {
        if ((c = calloc(1, sizeof(*c))) == NULL) return PyErr_NoMemory();
        pthread_mutex_lock(&mutex);
        failed = set_up();
        if (!failed) {
            c->interpreter = interpreter;
            c->number = copies ? copies->number + 1 : 1;
            c->next = copies;
            copies = c;
        }
        pthread_mutex_unlock(&mutex);
        if (failed) {
            free(c);
            return PyErr_NoMemory();
        }
    }
    if (watch_interpreter(c)) return NULL;
    return PyLong_FromLong(c->number);
}

/* How many copies there are, with that of this interpreter. */
static PyObject *count(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused)) {
    long number;
    pthread_mutex_lock(&mutex);
    number = copies ? copies->number : 0;
    pthread_mutex_unlock(&mutex);
    return PyLong_FromLong(number);
}

static PyObject *ticket(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused)) {
    static long last;   /* process; guarded by the mutex */
    long number;
    pthread_mutex_lock(&mutex);
    number = ++last;
    pthread_mutex_unlock(&mutex);
    return PyLong_FromLong(number);
}

/* --- loading ----------------------------------------------------------------------------------------------------------- */

static room *find_room(const char *name) {
    copy *c;
    room *r;
    pthread_mutex_lock(&mutex);
    c = copy_of(this_interpreter());
    for (r = c ? c->rooms : NULL; r && strcmp(r->name, name); r = r->next) {}
    pthread_mutex_unlock(&mutex);
    return r;
}

typedef struct {
    uintptr_t base;
    room *room;
} segments;

/* Finds what can be written of a shared object: one segment, of which the loader has protected the beginning. */
static int look_at(struct dl_phdr_info *info, size_t Py_UNUSED(size), void *data) {
    segments *wanted = data;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = 0, to = 0, relro = 0;
    int i, writable = 0;
    if (info->dlpi_addr != wanted->base) return 0;
    for (i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        uintptr_t begin = info->dlpi_addr + header->p_vaddr, end = begin + header->p_memsz;
        if (header->p_type == PT_LOAD && header->p_flags & PF_W) {
            from = begin;
            to = end;
            writable++;
        }
        if (header->p_type == PT_GNU_RELRO) relro = end & ~(page - 1);
    }
    if (writable != 1) return -1;
    if (relro > from) from = relro;
    wanted->room->start = (char *)from;
    wanted->room->size = to - from;
    return 1;
}

/* Whether a copy has that very function. */
static int is_known(PyObject *(*init)(void)) {
    const copy *c;
    const room *r;
    int known = 0;
    pthread_mutex_lock(&mutex);
    for (c = copies; c; c = c->next)
        for (r = c->rooms; r; r = r->next) known |= r->init == init;
    pthread_mutex_unlock(&mutex);
    return known;
}

/* Loads a file that no loader has seen before. */
static room *load_room(const char *name, const char *path) {
    const char *last = strrchr(name, '.');
    char symbol[128];
    segments wanted;
    Dl_info about;
    void *handle;
    copy *c = my_copy();
    room *r = NULL;
    if (c == NULL) PyErr_SetString(PyExc_ImportError, "this interpreter has no copy");
    else if ((r = calloc(1, sizeof(*r) + strlen(name) + 1)) == NULL) PyErr_NoMemory();
    if (r == NULL) return NULL;
    strcpy(r->name, name);
    snprintf(symbol, sizeof(symbol), "PyInit_%s", last ? last + 1 : name);
    handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        PyErr_SetString(PyExc_OSError, dlerror());
        goto failed;
    }
    /* From here on it stays, used or not. */
    *(void **)&r->init = dlsym(handle, symbol);
    if (r->init == NULL || !dladdr(*(void **)&r->init, &about)) {
        PyErr_Format(PyExc_ImportError, "%s has no %s", path, symbol);
        goto failed;
    }
    if (is_known(r->init)) {
        PyErr_Format(PyExc_ImportError, "the loader took %s for another file", path);
        goto failed;
    }
    wanted.base = (uintptr_t)about.dli_fbase;
    wanted.room = r;
    if (dl_iterate_phdr(look_at, &wanted) != 1) {
        PyErr_Format(PyExc_ImportError, "the segments of %s are not as expected", path);
        goto failed;
    }
    if ((r->saved = malloc(r->size)) == NULL) {
        PyErr_NoMemory();
        goto failed;
    }
    copy_segment(r->saved, r->start, r->size);
    xctx_copy *border = dlsym(handle, "xctx_this_copy");
    pthread_mutex_lock(&mutex);
    r->next = c->rooms;
    c->rooms = r;
    if (border) {
        border->copy = c;
        border->remember = remember;
        c->border = border;
    }
    pthread_mutex_unlock(&mutex);
    return r;
failed:
    free(r);
    return NULL;
}

static PyObject *is_loaded(PyObject *Py_UNUSED(module), PyObject *args) {
    const char *name;
    if (!PyArg_ParseTuple(args, "s", &name)) return NULL;
    return PyBool_FromLong(find_room(name) != NULL);
}

static PyObject *load(PyObject *Py_UNUSED(module), PyObject *args) {
    const char *name, *path;
    if (!PyArg_ParseTuple(args, "ss", &name, &path) || load_room(name, path) == NULL) return NULL;
    Py_RETURN_NONE;
}

static PyObject *create(PyObject *Py_UNUSED(module), PyObject *args) {
    const char *name;
    PyObject *spec;
    PyModuleDef *def;
    room *r;
    if (!PyArg_ParseTuple(args, "sO", &name, &spec)) return NULL;
    if ((r = find_room(name)) == NULL) return PyErr_Format(PyExc_ImportError, "%s is not loaded", name);
    if ((def = (PyModuleDef *)r->init()) == NULL) return NULL;
#if PY_VERSION_HEX >= 0x030C0000
    if (def->m_slots != r->slots) {
        int n;
        for (n = 0; def->m_slots[n].slot; n++)
            if (n < MOST_SLOTS) r->slots[n] = def->m_slots[n];
        if (n > MOST_SLOTS - 2) return PyErr_Format(PyExc_ImportError, "%s has too many slots", name);
        r->slots[n++] = (PyModuleDef_Slot){Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED};
        r->slots[n] = (PyModuleDef_Slot){0, NULL};
        def->m_slots = r->slots;
    }
#endif
    return PyModule_FromDefAndSpec(def, spec);
}

#endif

/* --- the module -------------------------------------------------------------------------------------------------------- */

static PyMethodDef methods[] = {
    {"is_main", is_main, METH_NOARGS, "Whether this is the main interpreter of the process."},
    {"interpreter", interpreter, METH_NOARGS, "The number of this interpreter, as CPython counts them: 0 for the main one."},
#if XCTX_HAS_COPIES
    {"take", take, METH_NOARGS, "Makes sure that this interpreter has a copy. Gives its number, counted from 1."},
    {"count", count, METH_NOARGS, "How many copies there are in this process."},
    {"ticket", ticket, METH_NOARGS, "A number that no interpreter of this process has been given before."},
    {"is_loaded", is_loaded, METH_VARARGS, "Whether this interpreter's copy of a module (name) is loaded."},
    {"load", load, METH_VARARGS, "Loads it: (name, path). OSError if the loader cannot."},
    {"create", create, METH_VARARGS, "Makes the module object: (name, spec)."},
#endif
#if XCTX_HAS_CROSSING
    {"let_cross", xctx_let_cross, METH_O, "Has objects of this type cross to other interpreters by their method _cross."},
    {"try_crossing", xctx_try_crossing, METH_O, "Raises what keeps this object from crossing; nothing if it can."},
    {"send_file", xctx_send_file, METH_VARARGS, "Keeps a file open that goes to another interpreter as a number: (descriptor, "
                                                "device, inode)."},
    {"receive_file", xctx_receive_file, METH_VARARGS, "A new descriptor of such a file, or None if nobody has it any more: "
                                                      "(the sender's descriptor, device, inode)."},
#endif
    {NULL, NULL, 0, NULL}
};

static PyModuleDef_Slot slots[] = {
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#ifdef Py_GIL_DISABLED
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL}
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "xctx._runtime.copies", "Copies of the compiled rooms, for further interpreters.", 0, methods, slots,
    NULL, NULL, NULL
};

PyMODINIT_FUNC PyInit_copies(void) { return PyModuleDef_Init(&definition); }
