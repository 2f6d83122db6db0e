"""Locks with a name: which user owns them, where their files are, and that none is left."""

import os
import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from lock_child import LONG, SOON, Child

import xctx
from xctx._lock import names as lock_names
from xctx._lock.mappings import leave_names, use_file

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")


def hold(lock, mode):
    """What a child does that holds the lock until it is killed."""

    def work(child):
        assert lock.acquire(mode == "exclusive", timeout=LONG)
        child.say("held")
        child.hear()

    return work


def in_thread(function):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result(LONG)


@pytest.fixture
def names(tmp_path, monkeypatch):
    place = tmp_path / "locks"
    monkeypatch.setattr(lock_names, "directory", lambda: str(place))
    return place


def test_a_name_is_one_lock(names):
    one, other = xctx.SharedLock("a"), xctx.SharedRLock("a")
    third = xctx.SharedLock("b")
    assert (one.name, other.name, third.name) == ("a", "a", "b")
    with one.exclusive():
        assert in_thread(lambda: other.acquire(blocking=False)) is False
        assert third.acquire(blocking=False)
        third.release()
    with other:
        pass
    assert names.stat().st_mode & 0o777 == 0o700
    del one
    assert (names / "a").exists()
    del other
    assert not (names / "a").exists()
    del third
    assert not names.exists()


def test_a_lock_with_a_name_is_pickled_by_it(names):
    lock = xctx.SharedLock("a", key=xctx.keys.thread)
    again = pickle.loads(pickle.dumps(lock))
    assert (type(again), again.name, again.key) == (xctx.SharedLock, "a", xctx.keys.thread)
    with lock.exclusive():
        with pytest.raises(ValueError, match="re-entrant"):
            again.acquire(blocking=False)


@pytest.mark.parametrize("key", [None, xctx.keys.thread, xctx.keys.process])
def test_two_handles_of_one_name_are_one_lock(names, key):
    one, other = xctx.SharedLock("a", key=key), xctx.SharedLock("a", key=key)
    again = pickle.loads(pickle.dumps(xctx.SharedRLock("a", key=key)))
    with one.exclusive():
        with pytest.raises(ValueError, match="re-entrant"):
            other.acquire(timeout=0.01)
        assert again.acquire(exclusive=True, blocking=False)
        assert (one.count, again.mode) == (2, "exclusive")
        again.release()
    assert other.acquire()
    one.release()
    assert other.holders() == []
    del one, other
    assert (names / "a").exists()
    del again
    assert not names.exists()


def test_threads_that_open_one_name_at_once_get_one_lock(names):
    together = threading.Barrier(4)
    opened = []

    def work():
        together.wait(LONG)
        opened.append(xctx.SharedLock("a"))

    for _ in range(10):
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG)
        with opened[0].exclusive():
            while len(opened) > 1:
                with pytest.raises(ValueError, match="re-entrant"):
                    opened.pop().acquire(timeout=0.01)
        opened.clear()
    assert not names.exists()


def test_an_unrelated_process_opens_it_by_name():
    name = f"test-unrelated-{os.getpid()}"
    lock = xctx.SharedLock(name)
    program = f"""if True:
        import xctx
        lock = xctx.SharedLock({name!r})
        print(lock.acquire(blocking=False))
        lock.mode and lock.release()
        """

    def other():
        return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=6 * LONG).stdout

    with lock.exclusive():
        assert other() == "False\n"
    assert other() == "True\n"
    path = Path(lock_names.directory()) / name
    assert path.exists()
    del lock
    assert not path.exists()


def test_the_last_user_removes_the_file_also_after_the_others_were_killed(names):
    lock = xctx.SharedLock("a")
    with Child(hold(lock, "shared")) as child:
        assert child.hear() == "held"
        child.kill()
        child.wait()
    assert (names / "a").exists()
    del lock
    assert not names.exists()


def test_a_file_stays_as_long_as_somebody_has_to_be_told_of_a_death(names):
    lock = xctx.SharedLock("a")
    with Child(hold(lock, "exclusive")) as child:
        assert child.hear() == "held"
        child.kill()
        child.wait()
    del lock
    lock = xctx.SharedLock("a")
    assert lock.owner_died
    with lock.exclusive(mend=True):
        lock.mark_consistent()
    del lock
    assert not names.exists()


def test_a_child_uses_the_name_from_its_fork_on(names):
    lock = xctx.SharedLock("a")

    def work(child):
        child.say("forked")
        child.hear()
        assert (names / "a").exists()

    with Child(work) as child:
        assert child.hear() == "forked"
        del lock
        assert (names / "a").exists()
        child.say()
        assert child.wait() == 0
    # It ended in a hurry, as children do, and was the last: so the file is left to the next one who opens the name.
    assert {path.name for path in names.iterdir()} == {"a"}
    xctx.SharedLock("a")
    assert not names.exists()


@pytest.mark.parametrize("mode", ["shared", "exclusive"])
def test_who_opens_a_name_whose_users_were_all_killed_is_told(names, mode):
    with Child(lambda child: hold(xctx.SharedLock("a"), mode)(child)) as child:
        assert child.hear() == "held"
        child.kill()
        child.wait()
    assert (names / "a").exists()
    lock = xctx.SharedLock("a")
    assert lock.owner_died == (mode == "exclusive")
    assert lock.holders() == []
    with lock.exclusive(mend=True):
        lock.mark_consistent()
    del lock
    assert not names.exists()


@pytest.mark.parametrize("name", ["", ".a", "a/b", "a\0b", "a" * 300])
def test_names_that_cannot_be(name):
    with pytest.raises(ValueError, match="cannot name a lock"):
        xctx.SharedLock(name)
    with pytest.raises(TypeError, match="a lock's name"):
        xctx.SharedLock(name.encode())


def test_links_are_not_followed(names, tmp_path):
    names.mkdir(mode=0o700)
    target = tmp_path / "target"
    target.write_text("precious")
    (names / "a").symlink_to(target)
    with pytest.raises(PermissionError, match="link"):
        xctx.SharedLock("a")
    assert target.read_text() == "precious"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (names / "a").unlink()
    names.rmdir()
    names.symlink_to(elsewhere)
    with pytest.raises(PermissionError):
        xctx.SharedLock("a")
    assert list(elsewhere.iterdir()) == []


def test_files_and_directories_of_others_are_refused(names):
    xctx.SharedLock("a")
    names.mkdir(mode=0o700)
    names.chmod(0o755)
    with pytest.raises(PermissionError):
        xctx.SharedLock("a")
    names.chmod(0o700)
    if os.getuid() == 0:
        (names / "a").touch()
        os.chown(names / "a", 12345, -1)
        with pytest.raises(PermissionError):
            xctx.SharedLock("a")
        assert (names / "a").stat().st_size == 0


def test_other_files_in_the_directory_stay(names):
    names.mkdir(mode=0o700)
    (names / "notes").write_text("precious")
    with xctx.SharedLock("a"):
        pass
    assert [path.name for path in names.iterdir()] == ["notes"]


def test_a_directory_that_another_user_made_first_denies_no_service(tmp_path, monkeypatch):
    if os.getuid() != 0:
        pytest.skip("only root makes what is another's")
    monkeypatch.setattr(lock_names, "PARENTS", (str(tmp_path),))
    own = f"xctx-{os.geteuid()}"
    for name in (own, own + ".1"):
        (tmp_path / name).mkdir(mode=0o700)
        os.chown(tmp_path / name, 12345, -1)
    assert lock_names.directory() == str(tmp_path / (own + ".2"))
    lock = xctx.SharedLock("a")
    os.rmdir(tmp_path / own)  # others may come to the first place by now, where there is nobody
    assert lock_names.directory() == str(tmp_path / (own + ".2"))
    assert xctx.SharedLock("a").path == lock.path
    del lock
    for number in range(200):
        place = tmp_path / (f"{own}.{number}" if number else own)
        place.mkdir(exist_ok=True)
        os.chown(place, 12345, -1)
    assert xctx.SharedLock("a").path == str(tmp_path / (own + ".200") / "a")


def test_a_process_that_opened_it_and_dies_gives_back_what_its_child_never_held(names):
    """The child has the mapping of the one who opened it, too: that must not keep the dead one's lock alive."""

    def opener(child):
        lock = xctx.SharedLock("a")
        assert lock.acquire(exclusive=True)
        if os.fork() == 0:
            child.say("forked")
            child.hear()
            os._exit(0)
        time.sleep(LONG)

    with Child(opener) as child:
        assert child.hear() == "forked"
        lock = xctx.SharedLock("a")
        assert not lock.acquire(blocking=False)
        child.kill()
        child.wait()
        with pytest.warns(xctx.OwnerDiedWarning):
            assert lock.acquire(exclusive=True, timeout=SOON)
        lock.release()


@pytest.mark.parametrize("size", [14, 100_000])
def test_a_file_of_something_else_is_no_lock_and_stays_as_it_was(names, size):
    names.mkdir(mode=0o700)
    held = os.open(names / "a", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.write(held, b"x" * size)
        assert use_file(held, False)  # in use, so it is not cleaned away
        with pytest.raises(ValueError, match="something else"):
            xctx.SharedLock("a")
        assert (names / "a").read_bytes() == b"x" * size
    finally:
        os.close(held)


def test_a_file_of_the_right_size_that_is_no_lock(names):
    xctx.SharedLock("a")
    names.mkdir(mode=0o700)
    lock = xctx.SharedLock("a")
    size = (names / "a").stat().st_size
    del lock
    names.mkdir(mode=0o700)
    held = os.open(names / "a", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.write(held, b"x" * size)
        assert use_file(held, False)
        with pytest.raises(ValueError, match="something else"):
            xctx.SharedLock("a")
        assert (names / "a").read_bytes() == b"x" * size
    finally:
        os.close(held)


def test_a_hard_link_is_refused(names, tmp_path):
    names.mkdir(mode=0o700)
    target = tmp_path / "target"
    target.touch(mode=0o600)
    held = os.open(target, os.O_RDWR)
    try:
        assert use_file(held, False)
        os.link(target, names / "a")
        with pytest.raises(PermissionError, match="hard link"):
            xctx.SharedLock("a")
        assert target.stat().st_size == 0
    finally:
        os.close(held)


def test_what_another_made_since_is_not_removed(names):
    """Before one who was the last removes the name, another may have, and a third made it anew."""
    lock = xctx.SharedLock("a")
    os.rename(names / "a", names / "elsewhere")
    other = xctx.SharedLock("a")
    with other.exclusive():
        del lock
        again = xctx.SharedLock("a")
        assert in_thread(lambda: again.acquire(blocking=False)) is False
    del other, again
    assert not (names / "a").exists()


def test_many_who_come_and_go_use_one_file(names):
    """Each process counts under the lock; whoever removes the file while another opens it must not part them."""
    counter = os.open(names.parent / "counter", os.O_RDWR | os.O_CREAT, 0o600)
    os.write(counter, b"%8d" % 0)

    def work(child):
        for _ in range(60):
            lock = xctx.SharedLock("a")
            with lock.exclusive():
                number = int(os.pread(counter, 8, 0))
                os.pwrite(counter, b"%8d" % (number + 1), 0)
            del lock
        # As the children of multiprocessing do: where an earlier test left a gevent hub, a timer that it has not run
        # since still refers to the lock's memory.
        leave_names()

    children = [Child(work) for _ in range(4)]
    for child in children:
        with child:
            assert child.wait(6 * LONG) == 0
    assert int(os.pread(counter, 8, 0)) == 240
    os.close(counter)
    assert not (names / "a").exists()


PROGRAMS = {
    "a global": "lock = xctx.SharedLock(name)",
    "held": "lock = xctx.SharedLock(name); lock.acquire()",
    "in a cycle": "lock = [xctx.SharedLock(name)]; lock.append(lock); lock[0].acquire()",
    "in another thread": "import threading; threading.Thread(target=lambda: threading.Event().wait(0.1), "
    "args=()).start(); lock = xctx.SharedLock(name)",
    "on a class": "class C: lock = xctx.SharedLock(name)",
    "in a daemon": "import threading; threading.Thread(target=lambda lock: threading.Event().wait(), "
    "args=(xctx.SharedLock(name),), daemon=True).start()",
    "in a local": "store = xctx.local(); store.lock = xctx.SharedLock(name)",
}


@pytest.mark.parametrize("how", PROGRAMS)
def test_a_program_that_ends_leaves_no_file(how):
    name = f"test-ends-{os.getpid()}"
    program = f"import xctx; name = {name!r}\n{PROGRAMS[how]}"
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", program], capture_output=True, text=True, timeout=6 * LONG
    )
    assert (done.stderr, done.returncode) == ("", 0)
    assert not (Path(lock_names.directory()) / name).exists()


def test_a_process_started_by_multiprocessing_that_is_the_last_leaves_no_file():
    """It ends without taking its modules down."""
    name = f"test-last-{os.getpid()}"
    program = f"""if True:
        import multiprocessing, os, time, xctx
        def work(lock, parent):
            while os.getppid() == parent:
                time.sleep(0.01)
            with lock.exclusive():
                pass
        if __name__ == "__main__":
            lock = xctx.SharedLock({name!r})
            multiprocessing.get_context("fork").Process(target=work, args=(lock, os.getpid())).start()
            os._exit(0)
        """
    # Its output is at an end when the child's is, too.
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=6 * LONG)
    assert (done.stderr, done.returncode) == ("", 0)
    assert not (Path(lock_names.directory()) / name).exists()
