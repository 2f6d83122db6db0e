"""What the tests of several rooms share, apart from fixtures (those are in conftest.py).

effort.py        how much of each law a run tries: the quick run, the full one, the nightly one
interpreters.py  scripts in a child interpreter
packages.py      which packages are installed, and which each interpreter's tests expect
units.py         every key and every kind of execution unit, and how to run a function in one
waiting.py       waiting for what another thread or process will do
"""

import pytest

# Before these modules are imported, so that their assertions show the values that they compare.
pytest.register_assert_rewrite(*(f"{__name__}.{name}" for name in ("interpreters", "packages", "units", "waiting")))
