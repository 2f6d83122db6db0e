"""What the tests of the wire have in common."""

import pytest
from wire_names import Everything


@pytest.fixture
def current():
    return Everything()


@pytest.fixture
def dropped():
    """A report, as a list of what was dropped."""

    class Dropped(list):
        def __call__(self, what, why):
            assert isinstance(what, str) and isinstance(why, str)
            self.append((what, why))

    return Dropped()
