/* In which generator a binding is made, and whether that generator runs.
 *
 * What a generator's or async generator's own frame binds is seen, in the context in which it is bound, only by code that
 * the generator runs: while its frame is on the stack of this thread. A generator that exists to bind for its caller is
 * excepted: the code that drives it is known (contextlib's, a test framework's), or xctx.transparent has marked it.
 *
 * A frame is compared by its address. It is read only while a weak reference says that the generator is alive. */
#ifndef XCTX_GENERATORS_H
#define XCTX_GENERATORS_H

#include "xctx/_runtime/cpython.h"

/* Where in the code something is bound. All pointers are borrowed from the stack. */
typedef struct {
    void *frame;           /* the frame that binds */
    void *outermost;       /* the frame of the generator that delegates to that one, directly or not; often the same */
    PyObject *generator;   /* the generator that `outermost` lies in */
    void *code;            /* the code of that generator */
    int by_hand;
} xctx_place;

typedef enum { XCTX_BY_STATEMENT, XCTX_BY_HAND, XCTX_BY_STEP } xctx_entering;

/* Finds the place from where this thread binds something: 0 outside of generators, and in excepted ones.
 *
 * BY_STATEMENT: by a with statement, which ends in the frame in which it began: `outermost` is `frame`.
 * BY_HAND: by a call of __enter__, maybe through an ExitStack. What a coroutine binds then belongs to the async generator that
 *   awaits the coroutine.
 * BY_STEP: for a step of a decorated function. Only a step of an async generator can be left half done. */
XCTX_HIDDEN int xctx_find_place(PyThreadState *tstate, xctx_entering how, xctx_place *place);

typedef enum { XCTX_RESTS, XCTX_RUNS_HERE, XCTX_RUNS_ELSEWHERE } xctx_running;

/* Whether a generator runs on this thread's stack. `reference` is a weak reference to it; the other arguments are fields of its
 * xctx_place.
 *
 * A generator to which nothing refers any more is finalised, and runs its `finally:`, after the weak reference has died. Then
 * it is recognised by its address and its code alone; or, if a generator that it delegates to runs, only by the fact that some
 * generator runs here. That is enough for what a with statement bound, because the statement ends then. It is not enough for
 * what was bound by hand, which may stay bound for ever. */
XCTX_HIDDEN xctx_running xctx_is_running(PyThreadState *tstate, PyObject *reference, void *outermost, void *code,
                                         int by_hand);

/* The next frame outwards of a generator that this thread runs; the innermost if `frame` is NULL. NULL at the end. */
XCTX_HIDDEN void *xctx_next_generator(PyThreadState *tstate, void *frame);

/* How many frames outwards `frame` is from a frame object of a greenlet that is switched out: 1 if it is the frame of that
 * object, 0 if it is not on that stack. */
XCTX_HIDDEN int xctx_depth_beneath(PyObject *shown, void *frame);

/* The frame that calls xctx, skipping those of contextlib. Compared only. */
XCTX_HIDDEN void *xctx_frame_by_hand(PyThreadState *tstate);

/* Sets the mark: the last constant of a transparent function's code. To be called once. */
XCTX_HIDDEN int xctx_set_transparent(PyObject *mark);

/* Makes the strings that the above compares with. 0, or -1 with an error. */
XCTX_HIDDEN int xctx_set_up_generators(void);

#endif
