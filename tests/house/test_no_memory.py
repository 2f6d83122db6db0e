"""Where memory runs out in the middle of an operation it raises MemoryError, and nothing is left of it."""

import contextvars
import importlib.util
import os
import sysconfig

import no_memory
import pytest
from helpers.units import in_fork

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="each is tried in a forked child, and nothing forks here"),
    pytest.mark.skipif(not importlib.util.find_spec("_testcapi"), reason="this interpreter has no _testcapi"),
    pytest.mark.skipif(
        bool(sysconfig.get_config_var("Py_GIL_DISABLED")), reason="these builds insist on an allocator of their own"
    ),
]


# Where that does not hold, and why: a unit's lock stays busy where there is no room for the attempt that it is busy
# with, and so does one that is left by `async with` where there is none for the coroutine; and where there is no room
# for the arguments of an exit that is called by hand, it is not called. A snapshot of all xlocals shows a fault now and
# then, whose cause is not known yet.
KNOWN = ("lock", "entered_by_hand", "captured")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name, marks=[pytest.mark.xfail(strict=False, reason="see above")] if name.startswith(KNOWN) else []
        )
        for name in no_memory.OPERATIONS
    ],
)
def test_nothing_is_left_where_memory_fails(name):
    # In a context with few variables: where the hashes of two begin alike, CPython's mapping has nodes within nodes,
    # and loses one of them, with what is bound, where there is no memory for the other (hamt_node_bitmap_assoc).
    assert in_fork(lambda: contextvars.Context().run(no_memory.try_everything, name)) == []
