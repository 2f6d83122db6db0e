#define XCTX_USES_FRAMES
#include "xctx/_stores/generators.h"

/* Process: set while the module is imported, and never changed. Objects are owned. */
static PyObject *name_of_module;   /* "__name__" */
static PyObject *transparent;      /* the last constant of a transparent function's code */

/* Functions that drive generators which bind for their caller. The name of a function is interned, so it is compared first, by
 * address, and the other two only if it matches. Of a qualified name that begins with a dot only the end is compared. */
static struct {
    const char *name, *qualname, *module;
    PyObject *interned;
} drivers[] = {
    {"__enter__", "_GeneratorContextManager.__enter__", "contextlib", NULL},
    {"__aenter__", "_AsyncGeneratorContextManager.__aenter__", "contextlib", NULL},
    {"call_fixture_func", "call_fixture_func", "_pytest.fixtures", NULL},
    {"_multicall", "_multicall", "pluggy._execution", NULL},
    {"_multicall", "_multicall", "pluggy._callers", NULL},
    {"run_old_style_hookwrapper", "run_old_style_hookwrapper", "pluggy._execution", NULL},
    {"run_old_style_hookwrapper", "run_old_style_hookwrapper", "pluggy._callers", NULL},
    {"setup", ".setup", "pytest_asyncio.plugin", NULL},
    {"_run_tests_and_fixtures", "TestRunner._run_tests_and_fixtures", "anyio._backends._asyncio", NULL},
    {"_run_tests_and_fixtures", "TestRunner._run_tests_and_fixtures", "anyio._backends._trio", NULL},
};

static int is_text(PyObject *o, const char *text) {
    return o != NULL && PyUnicode_Check(o) && PyUnicode_CompareWithASCIIString(o, text) == 0;
}

static int ends_with(PyObject *o, const char *end) {
    const char *text = PyUnicode_AsUTF8(o);
    size_t length, of_end = strlen(end);
    if (text == NULL) {
        PyErr_Clear();
        return 0;
    }
    length = strlen(text);
    return length >= of_end && strcmp(text + length - of_end, end) == 0;
}

/* Whether the code of a frame belongs to the module of that name. */
static int is_of_module(const xctx_frame *frame, const char *module) {
    PyObject *globals = xctx_globals_of(frame);
    PyObject *found = globals != NULL && PyDict_Check(globals) ? PyDict_GetItemWithError(globals, name_of_module) : NULL;
    if (found == NULL) PyErr_Clear();
    return is_text(found, module);
}

static int binds_for_caller(const xctx_frame *driver) {
    PyCodeObject *code = xctx_code_of(driver);
    size_t i;
    for (i = 0; i < sizeof(drivers) / sizeof(drivers[0]); i++) {
        if (XCTX_LIKELY(code->co_name != drivers[i].interned)) continue;
        if (drivers[i].qualname[0] == '.' ? ends_with(code->co_qualname, drivers[i].qualname)
                                          : is_text(code->co_qualname, drivers[i].qualname)) {
            if (is_of_module(driver, drivers[i].module)) return 1;
        }
    }
    return 0;
}

static int is_transparent(const PyCodeObject *code) {
    Py_ssize_t n = PyTuple_GET_SIZE(code->co_consts);
    return n > 0 && PyTuple_GET_ITEM(code->co_consts, n - 1) == transparent;
}

/* Whether a frame is at an instruction that runs what `yield from` or `await` delegates to. 3.12 advances to the instruction's
 * cache before it pushes the frame of a generator. When an exception is thrown in, the frame is where it was suspended: before
 * a RESUME whose argument says that it follows a delegation. */
static int is_delegating(xctx_frame *frame) {
    Py_ssize_t at = xctx_offset_in_code(frame), size;
    PyObject *bytes = PyCode_GetCode(xctx_code_of(frame));
    const unsigned char *code;
    int delegates = 0;
    if (bytes == NULL) {   /* no memory */
        PyErr_Clear();
        return 0;
    }
    code = (const unsigned char *)PyBytes_AS_STRING(bytes);
    size = PyBytes_GET_SIZE(bytes);
    if (at >= 0 && at + 1 < size) {
        delegates = code[at] == SEND || (at >= 2 && code[at] == CACHE && code[at - 2] == SEND)
                    || (code[at] == RESUME && (code[at + 1] & 3) >= 2)
                    || (at + 3 < size && code[at + 2] == RESUME && (code[at + 3] & 3) >= 2);
    }
    Py_DECREF(bytes);
    return delegates;
}

/* The frame that binds by hand: contextlib's stacks call __enter__ for their caller. */
static xctx_frame *frame_by_hand(PyThreadState *tstate) {
    xctx_frame *frame = xctx_current_frame(tstate);
    while (frame != NULL && is_of_module(frame, "contextlib")) frame = xctx_caller_frame(frame);
    return frame;
}

void *xctx_frame_by_hand(PyThreadState *tstate) { return frame_by_hand(tstate); }

int xctx_find_place(PyThreadState *tstate, xctx_entering how, xctx_place *place) {
    xctx_frame *frame = how == XCTX_BY_HAND ? frame_by_hand(tstate) : xctx_current_frame(tstate);
    xctx_frame *outermost, *caller;
    int flags, within = 1;
    if (XCTX_LIKELY(frame == NULL || !xctx_is_generators(frame))) return 0;
    flags = xctx_code_of(frame)->co_flags;
    if ((flags & (CO_COROUTINE | CO_ITERABLE_COROUTINE)) && how != XCTX_BY_HAND) return 0;
    if (how == XCTX_BY_STEP && !(flags & CO_ASYNC_GENERATOR)) return 0;
    outermost = frame;
    if (is_transparent(xctx_code_of(frame))) return 0;
    /* A generator or coroutine that another one delegates to, by `yield from` or `await`, counts as a part of that one. An
     * async generator is never delegated to. Functions of wrappers.py delegate too, but what they decorate counts by itself. */
    caller = xctx_caller_frame(frame);
    while (!(flags & CO_ASYNC_GENERATOR) && caller != NULL && xctx_is_generators(caller) && is_delegating(caller)) {
        flags = xctx_code_of(caller)->co_flags;
        if (is_transparent(xctx_code_of(caller))) return 0;
        within = within && !is_of_module(caller, "xctx._runtime.wrappers");
        if (within) outermost = caller;
        caller = xctx_caller_frame(caller);
    }
    if (flags & (CO_COROUTINE | CO_ITERABLE_COROUTINE)) return 0;
    if (caller != NULL && binds_for_caller(caller)) return 0;
    if (xctx_code_of(frame)->co_flags & (CO_COROUTINE | CO_ITERABLE_COROUTINE)) frame = outermost;
    place->frame = frame;
    place->outermost = how == XCTX_BY_HAND ? outermost : frame;
    place->generator = xctx_generator_of((xctx_frame *)place->outermost);
    place->code = xctx_code_of((xctx_frame *)place->outermost);
    place->by_hand = how == XCTX_BY_HAND;
    return 1;
}

/* A frame that is on this stack is alive. */
static int is_on_stack(const PyThreadState *tstate, const void *frame) {
    const xctx_frame *each = xctx_innermost_frame(tstate);
    while (each != NULL && (const void *)each != frame) each = xctx_previous_frame(each);
    return each != NULL;
}

/* Whether a generator or async generator runs here, not only coroutines. */
static int runs_any(PyThreadState *tstate) {
    xctx_frame *frame = xctx_current_frame(tstate);
    while (frame != NULL && !(xctx_is_generators(frame) && !(xctx_code_of(frame)->co_flags & CO_COROUTINE))) {
        frame = xctx_caller_frame(frame);
    }
    return frame != NULL;
}

xctx_running xctx_is_running(PyThreadState *tstate, PyObject *reference, void *outermost, void *code, int by_hand) {
    PyObject *generator = xctx_referent(reference);
    xctx_running found = XCTX_RESTS;
    if (XCTX_UNLIKELY(generator == NULL)) {
        if (is_on_stack(tstate, outermost)) return (void *)xctx_code_of(outermost) == code ? XCTX_RUNS_HERE : XCTX_RESTS;
        return !by_hand && runs_any(tstate) ? XCTX_RUNS_HERE : XCTX_RESTS;
    }
#ifdef Py_GIL_DISABLED
    if (is_on_stack(tstate, outermost)) return XCTX_RUNS_HERE;
    if (PyWeakref_GetRef(reference, &generator) <= 0) {
        PyErr_Clear();
        return XCTX_RESTS;
    }
    if (xctx_is_executing(generator)) {
        found = xctx_previous_frame(xctx_frame_of(generator)) == NULL ? XCTX_RUNS_HERE : XCTX_RUNS_ELSEWHERE;
    }
    Py_DECREF(generator);
#else
    if (XCTX_LIKELY((void *)xctx_innermost_frame(tstate) == outermost)) return XCTX_RUNS_HERE;
    if (!xctx_is_executing(generator)) return XCTX_RESTS;
    if (is_on_stack(tstate, outermost)) return XCTX_RUNS_HERE;
    found = xctx_previous_frame(xctx_frame_of(generator)) == NULL ? XCTX_RUNS_HERE : XCTX_RUNS_ELSEWHERE;
#endif
    return found;
}

void *xctx_next_generator(PyThreadState *tstate, void *from) {
    xctx_frame *frame = from == NULL ? xctx_current_frame(tstate) : xctx_caller_frame((xctx_frame *)from);
    while (frame != NULL && !xctx_is_generators(frame)) frame = xctx_caller_frame(frame);
    return frame;
}

int xctx_depth_beneath(PyObject *shown, void *frame) {
    const xctx_frame *each = xctx_shown_frame(shown);
    int depth;
    for (depth = 1; each != NULL; depth++) {
        if ((const void *)each == frame) return depth;
        each = xctx_previous_frame(each);
    }
    return 0;
}

int xctx_set_transparent(PyObject *mark) {
    transparent = Py_NewRef(mark);
    return 0;
}

int xctx_set_up_generators(void) {
    size_t i;
    name_of_module = PyUnicode_InternFromString("__name__");
    if (name_of_module == NULL) return -1;
    for (i = 0; i < sizeof(drivers) / sizeof(drivers[0]); i++) {
        drivers[i].interned = PyUnicode_InternFromString(drivers[i].name);
        if (drivers[i].interned == NULL) return -1;
    }
    return 0;
}
