"""Where xctx has no locks, as on macOS and in what `make test-portable` builds: all that would make a lock says so."""

import pickle
import sys

import pytest
from helpers.packages import offers

import xctx
from xctx import __main__ as program
from xctx._lock import listing
from xctx._lock import lock as room

pytestmark = pytest.mark.skipif(offers("SharedLock"), reason="there are locks here")

KINDS = [xctx.SharedLock, xctx.SharedRLock]
SAYS = "locks between processes are not known to xctx on this system"


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def kind(request):
    return request.param


def test_a_lock_cannot_be_made(kind):
    for arguments in [(), ("name",)]:
        with pytest.raises(NotImplementedError, match=SAYS):
            kind(*arguments)


def test_nor_opened_at_a_path(kind, tmp_path):
    for create in (True, False):
        with pytest.raises(NotImplementedError, match=SAYS):
            kind.at(tmp_path / "lock", create=create)
    assert not list(tmp_path.iterdir())


def test_nor_by_another_process(kind):
    class Handed:
        def __reduce__(self):
            return room.open_named, (kind, "name", xctx.keys.task, "warn")

    with pytest.raises(NotImplementedError, match=SAYS):
        pickle.loads(pickle.dumps(Handed()))


def test_an_object_without_memory_is_not_initialised(kind):
    lock = kind.__new__(kind)
    for use in (lock.acquire, lock.release, lock.__enter__, lock.holders, lambda: lock.waiters):
        with pytest.raises(RuntimeError, match="not initialised"):
            use()


def test_the_list_of_locks_says_so(capsys):
    with pytest.raises(SystemExit):
        listing.main([])
    assert SAYS in capsys.readouterr().err


def test_the_program_says_so(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["xctx"])
    assert program.show() == 0
    assert f"none: {SAYS}" in capsys.readouterr().out
