/* The table: every operation that a proxy forwards, one line each.
 *
 * A line reads: when, slot, family, the function that does it.
 *   family  - the shape of the slot. slots.c defines the function of a slot once a family, as DEFINE_<family>.
 *   when    - ALWAYS: every proxy has the slot, either because CPython asks for it whatever the target is, for the other
 *             operand's sake (`[1] + proxy`), or because every object has it (`repr`).
 *             IF: a LocalWrapper has the slot where its target's type has it, because CPython and programs infer from the
 *             slot what an object can do (`callable`, `iter`, `operator.index`, `collections.abc`). A LocalProxy always
 *             has it, because its target changes.
 *
 * Left out, with the reason:
 *   tp_getattr, tp_setattr    obsolete; tp_getattro and tp_setattro serve
 *   tp_clear                  see _proxy/body.h
 *   tp_finalize, tp_del       the death of a proxy is not the death of its target
 *   bf_releasebuffer          the buffer belongs to the target, which releases it
 *   tp_descr_*, __set_name__  on LocalProxy: in a class body there is no target yet (werkzeug leaves them out too)
 *   bf_getbuffer              on LocalProxy: C code asks the class whether an object has a buffer, and then insists on it
 *                             where the object would have done as something else, a number or an iterable
 *   __new__, __init__, __init_subclass__, __slots__, __subclasshook__, __class_getitem__ on the class
 *                             belong to the proxy's own class
 *   __prepare__, __mro_entries__, __getnewargs__, __getstate__, __missing__, __match_args__, __annotations__ ...
 *                             are looked up in the object, so tp_getattro forwards them
 *   __deepcopy__              the same; where the target has none, __reduce_ex__ leads copy.deepcopy to the target
 */
#ifndef XCTX_PROXY_SLOTS_H
#define XCTX_PROXY_SLOTS_H

#include "xctx/_proxy/body.h"

#define PROXY_SLOTS(ALWAYS, IF) \
    ALWAYS(tp_repr, REPR, PyObject_Repr) \
    ALWAYS(tp_str, UNARY, PyObject_Str) \
    ALWAYS(tp_richcompare, COMPARE, PyObject_RichCompare) \
    IF(tp_hash, HASH, PyObject_Hash) \
    IF(tp_call, CALL, PyVectorcall_Call) \
    IF(tp_iter, ITER, PyObject_GetIter) \
    IF(tp_iternext, NEXT, tp_iternext) \
    IF(tp_descr_get, DESCR_GET, tp_descr_get) \
    IF(tp_descr_set, DESCR_SET, tp_descr_set) \
    \
    ALWAYS(nb_bool, BOOL, PyObject_IsTrue) \
    ALWAYS(nb_negative, UNARY, PyNumber_Negative) \
    ALWAYS(nb_positive, UNARY, PyNumber_Positive) \
    ALWAYS(nb_absolute, UNARY, PyNumber_Absolute) \
    ALWAYS(nb_invert, UNARY, PyNumber_Invert) \
    IF(nb_int, UNARY, PyNumber_Long) \
    IF(nb_float, UNARY, PyNumber_Float) \
    IF(nb_index, UNARY, PyNumber_Index) \
    \
    ALWAYS(nb_add, BINARY, PyNumber_Add) \
    ALWAYS(nb_subtract, BINARY, PyNumber_Subtract) \
    ALWAYS(nb_multiply, BINARY, PyNumber_Multiply) \
    ALWAYS(nb_matrix_multiply, BINARY, PyNumber_MatrixMultiply) \
    ALWAYS(nb_true_divide, BINARY, PyNumber_TrueDivide) \
    ALWAYS(nb_floor_divide, BINARY, PyNumber_FloorDivide) \
    ALWAYS(nb_remainder, BINARY, PyNumber_Remainder) \
    ALWAYS(nb_divmod, BINARY, PyNumber_Divmod) \
    ALWAYS(nb_power, POWER, PyNumber_Power) \
    ALWAYS(nb_lshift, BINARY, PyNumber_Lshift) \
    ALWAYS(nb_rshift, BINARY, PyNumber_Rshift) \
    ALWAYS(nb_and, BINARY, PyNumber_And) \
    ALWAYS(nb_xor, BINARY, PyNumber_Xor) \
    ALWAYS(nb_or, BINARY, PyNumber_Or) \
    \
    ALWAYS(nb_inplace_add, INPLACE, PyNumber_InPlaceAdd) \
    ALWAYS(nb_inplace_subtract, INPLACE, PyNumber_InPlaceSubtract) \
    ALWAYS(nb_inplace_multiply, INPLACE, PyNumber_InPlaceMultiply) \
    ALWAYS(nb_inplace_matrix_multiply, INPLACE, PyNumber_InPlaceMatrixMultiply) \
    ALWAYS(nb_inplace_true_divide, INPLACE, PyNumber_InPlaceTrueDivide) \
    ALWAYS(nb_inplace_floor_divide, INPLACE, PyNumber_InPlaceFloorDivide) \
    ALWAYS(nb_inplace_remainder, INPLACE, PyNumber_InPlaceRemainder) \
    ALWAYS(nb_inplace_power, INPLACE_POWER, PyNumber_InPlacePower) \
    ALWAYS(nb_inplace_lshift, INPLACE, PyNumber_InPlaceLshift) \
    ALWAYS(nb_inplace_rshift, INPLACE, PyNumber_InPlaceRshift) \
    ALWAYS(nb_inplace_and, INPLACE, PyNumber_InPlaceAnd) \
    ALWAYS(nb_inplace_xor, INPLACE, PyNumber_InPlaceXor) \
    ALWAYS(nb_inplace_or, INPLACE, PyNumber_InPlaceOr) \
    \
    IF(mp_length, LENGTH, size_of) \
    IF(mp_subscript, KEY, PyObject_GetItem) \
    IF(mp_ass_subscript, SET_KEY, PyObject_SetItem) \
    IF(sq_length, LENGTH, size_of) \
    IF(sq_contains, CONTAINS, PySequence_Contains) \
    IF(sq_concat, BINARY, PySequence_Concat) \
    IF(sq_repeat, REPEAT, PySequence_Repeat) \
    IF(sq_inplace_concat, INPLACE, PySequence_InPlaceConcat) \
    IF(sq_inplace_repeat, INPLACE_REPEAT, PySequence_InPlaceRepeat) \
    IF(sq_item, INDEX, sq_item) \
    IF(sq_ass_item, SET_INDEX, sq_ass_item) \
    \
    IF(bf_getbuffer, BUFFER, PyObject_GetBuffer) \
    IF(am_await, AWAIT, am_await) \
    IF(am_aiter, ASYNC, am_aiter) \
    IF(am_anext, ASYNC, am_anext) \
    IF(am_send, SEND, PyIter_Send)

/* Special methods without a slot, which CPython looks up in the type. A line reads: when, name, what the call does with
 * `target`, `name`, `args`, `nargs` and `kwnames` (slots.c has the functions). */
#define PROXY_METHODS(ALWAYS, IF) \
    ALWAYS(__format__, format_target(target, args, nargs)) \
    ALWAYS(__dir__, PyObject_Dir(target)) \
    ALWAYS(__sizeof__, call_special(target, name, args, nargs, "type %.100s doesn't define %U")) \
    ALWAYS(__copy__, call_function("copy", "copy", target)) \
    ALWAYS(__reduce__, reduce_target(target)) \
    ALWAYS(__reduce_ex__, reduce_target(target)) \
    ALWAYS(__array_ufunc__, call_ufunc(args, nargs, kwnames)) \
    IF(__round__, call_special(target, name, args, nargs, "type %.100s doesn't define %U method")) \
    IF(__trunc__, call_function("math", "trunc", target)) \
    IF(__floor__, call_function("math", "floor", target)) \
    IF(__ceil__, call_function("math", "ceil", target)) \
    IF(__complex__, PyObject_CallOneArg((PyObject *)&PyComplex_Type, target)) \
    IF(__bytes__, PyObject_CallOneArg((PyObject *)&PyBytes_Type, target)) \
    IF(__fspath__, PyOS_FSPath(target)) \
    IF(__length_hint__, call_special(target, name, args, nargs, NULL)) \
    IF(__reversed__, PyObject_CallOneArg((PyObject *)&PyReversed_Type, target)) \
    IF(__instancecheck__, check_class(PyObject_IsInstance, target, args, nargs)) \
    IF(__subclasscheck__, check_class(PyObject_IsSubclass, target, args, nargs)) \
    IF(__enter__, call_special(target, name, args, nargs, NO_WITH)) \
    IF(__exit__, call_special(target, name, args, nargs, NO_WITH)) \
    IF(__aenter__, call_special(target, name, args, nargs, NO_ASYNC_WITH)) \
    IF(__aexit__, call_special(target, name, args, nargs, NO_ASYNC_WITH)) \
    IF(__set_name__, call_special(target, name, args, nargs, "type %.100s doesn't define %U")) \
    IF(__replace__, call_replace(target, args, nargs, kwnames))

/* ---- what slots.c makes of the table --------------------------------------------------------------------- */

#define PROXY_SKIP(...)
#define PROXY_ONE(...) +1
#define PROXY_METHOD_INDEX(method, call) PROXY_METHOD##method,

/* The IF methods by their place in the table, as PROXY_METHOD__round__. */
enum { PROXY_METHODS(PROXY_SKIP, PROXY_METHOD_INDEX) PROXY_N_IF_METHODS };

enum {
    PROXY_N_ALWAYS_SLOTS = 0 PROXY_SLOTS(PROXY_ONE, PROXY_SKIP),
    PROXY_N_IF_SLOTS = 0 PROXY_SLOTS(PROXY_SKIP, PROXY_ONE),
    PROXY_N_ALWAYS_METHODS = 0 PROXY_METHODS(PROXY_ONE, PROXY_SKIP)
};

#undef PROXY_SKIP
#undef PROXY_ONE
#undef PROXY_METHOD_INDEX

#if defined(__GNUC__)
#  pragma GCC visibility push(hidden)
#endif

extern const PyType_Slot proxy_always_slots[PROXY_N_ALWAYS_SLOTS];
extern const PyType_Slot proxy_if_slots[PROXY_N_IF_SLOTS];
extern const PyMethodDef proxy_always_methods[PROXY_N_ALWAYS_METHODS];
extern PyMethodDef proxy_if_methods[PROXY_N_IF_METHODS];  /* never written; PyDescr_NewMethod wants it like this */

/* State of the process: the interned names of proxy_if_methods, made by proxy_slots_init(). */
extern PyObject *proxy_if_method_names[PROXY_N_IF_METHODS];
int proxy_slots_init(void);

/* The function in the table for a slot, such as Py_nb_int. */
void *proxy_slot(int slot);

#if defined(__GNUC__)
#  pragma GCC visibility pop
#endif

#endif
