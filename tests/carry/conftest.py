"""What the tests of carry have in common."""

import pytest

import xctx


@pytest.fixture
def x(key):
    return xctx.xlocal(key=key)


@pytest.fixture
def y():
    return xctx.xlocal()


@pytest.fixture(params=["isolated", "carry"])
def keep(request):
    """Both decorators: what carry wraps is isolated too."""
    return getattr(xctx, request.param)
