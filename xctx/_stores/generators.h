/* Which generator a binding is made in, and whether that generator runs.
 *
 * What a generator's or async generator's own frame binds is seen, in the context in which it is bound, only by code that
 * the generator runs: while its frame is on the stack of this thread. A generator that exists to bind for its caller is
 * excepted. It is known by the code that drives it (contextlib's, a test framework's), or it is marked by xctx.transparent.
 *
 * A frame is compared by its address and never read after the generator may have died: a weak reference tells. */
#ifndef XCTX_GENERATORS_H
#define XCTX_GENERATORS_H

#include "xctx/_runtime/cpython.h"

/* Where something is bound. All is borrowed from the stack. */
typedef struct {
    void *frame;           /* the frame that binds */
    void *outermost;       /* the frame of the generator that delegates to that one, directly or not; often the same */
    PyObject *generator;   /* the generator that the latter is within */
    void *code;            /* the code that it runs */
    int by_hand;
} xctx_place;

typedef enum { XCTX_BY_STATEMENT, XCTX_BY_HAND, XCTX_BY_STEP } xctx_entering;

/* Finds the place from where this thread binds something: 0 outside of generators, and in excepted ones.
 *
 * BY_STATEMENT: by a with statement, which ends in the frame that it began in: `outermost` is `frame`.
 * BY_HAND: by a call of __enter__, maybe of an ExitStack. What a coroutine binds is then the async generator's that awaits it.
 * BY_STEP: for a step of a decorated function. Only those of an async generator can be left half done. */
XCTX_HIDDEN int xctx_find_place(PyThreadState *tstate, xctx_entering how, xctx_place *place);

typedef enum { XCTX_RESTS, XCTX_RUNS_HERE, XCTX_RUNS_ELSEWHERE } xctx_running;

/* Whether a generator runs on this thread's stack. `reference` is a weak one to it, `outermost` and `by_hand` as above.
 *
 * A generator that nobody refers to any more is finalised, and runs its `finally:`, when the reference to it is dead already.
 * Then it is known by its address and its code alone, and what it delegates to by being a generator that runs. A with
 * statement ends by that; but what was bound by hand may stay bound for ever. */
XCTX_HIDDEN xctx_running xctx_is_running(PyThreadState *tstate, PyObject *reference, void *outermost, void *code,
                                         int by_hand);

/* Walks along the frames of generators that this thread runs, the innermost first: begin with NULL. NULL at the end. */
XCTX_HIDDEN void *xctx_next_generator(PyThreadState *tstate, void *frame);

/* How far `frame` is beneath a frame object, of a greenlet that is switched out: 1 if it is that one; 0 if it is not there. */
XCTX_HIDDEN int xctx_depth_beneath(PyObject *shown, void *frame);

/* The frame that calls us, without those of an ExitStack. Compared only. */
XCTX_HIDDEN void *xctx_frame_by_hand(PyThreadState *tstate);

/* Sets what stands last among the constants of a transparent function's code. To be called once. */
XCTX_HIDDEN int xctx_set_transparent(PyObject *mark);

/* Makes the names that the above goes by. 0, or -1 with an error. */
XCTX_HIDDEN int xctx_set_up_generators(void);

#endif
