"""Where memory runs out in the middle of an operation it raises MemoryError, and nothing is left of it."""

import importlib.util
import os
import sys
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
    pytest.mark.skipif(
        sys.version_info[:2] in ((3, 12), (3, 13)),
        reason="CPython 3.12.1 and 3.13.0 crash where there is no memory for a function; later ones were not tried",
    ),
]


def parameters():
    """Each operation under each key; in the quick run each operation under one key, and each key in some operation."""
    families = {}
    for name in no_memory.OPERATIONS:
        families.setdefault(name.partition("[")[0], []).append(name)
    for number, names in enumerate(sorted(families.values(), key=len)):
        for name in names:
            chosen = name == names[number % len(names)]
            yield name if chosen else pytest.param(name, marks=pytest.mark.thorough)


@pytest.mark.parametrize("name", list(parameters()))
def test_nothing_is_left_where_memory_fails(name):
    assert in_fork(lambda: no_memory.try_everything(name)) == []
