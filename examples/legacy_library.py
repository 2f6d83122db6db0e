"""A library written for threading.local serves greenlets and threads at once, after its import is changed.

`Transactions` is such a library: "the current transaction" is found wherever the code happens to be, as long as one
thread does one thing at a time. The import is the only thing that this example changes: `local` is threading.local
first, then xctx.local, and nothing is monkey-patched.

    python examples/legacy_library.py

Without greenlet only the threads are shown. Ends with status 1 if anything is not as told.
"""

import contextlib
import sys
import threading


def legacy_library(local):
    """The library, as its module would be with ``from threading import local`` or ``from xctx import local``."""

    class Current(local):
        def __init__(self, database):
            self.database = database
            self.stack = []  # a list of its own wherever it is used: __init__ is called there

    class Transactions:
        def __init__(self, database):
            self.current = Current(database)
            self.log = []

        @contextlib.contextmanager
        def begin(self, name):
            self.current.stack.append(name)
            self.log.append(f"begin {name}")
            try:
                yield
            finally:
                # What is left is the innermost, as it is with one thing at a time.
                self.log.append(f"end {self.current.stack.pop()}")

        def execute(self, statement):
            return f"{statement} in {' > '.join(self.current.stack)} of {self.current.database}"

    return Transactions("library.db")


def request(library, number, pause):
    """What an application does with it, for one client. `pause` is where others come in."""
    with library.begin(f"request {number}"):
        pause()
        told = library.execute("INSERT")
        pause()
    return told, f"INSERT in request {number} of library.db"


def serve_threads(library, count):
    """Each client in a thread, all in the midst of their transactions at once."""
    results = []
    together = threading.Barrier(count)
    threads = [
        threading.Thread(target=lambda number=number: results.append(request(library, number, together.wait)))
        for number in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def serve_greenlets(library, count):
    """Each client in a greenlet of this thread; a pause lets the next one run."""
    import greenlet

    hub = greenlet.getcurrent()
    results = []
    ready = [
        greenlet.greenlet(lambda number=number: results.append(request(library, number, hub.switch)))
        for number in range(count)
    ]
    while ready:
        for each in ready:
            each.switch()
        ready = [each for each in ready if not each.dead]
    return results


def wrong(results):
    """Those that were told of somebody else's transaction."""
    return [told for told, right in sorted(results) if told != right]


def main():
    import xctx

    try:
        import greenlet
    except ImportError:
        greenlet = None

    failed = False
    for name, local, serves_greenlets in [("threading", threading.local, False), ("xctx", xctx.local, True)]:
        print(f"from {name} import local")
        mistakes = wrong(serve_threads(legacy_library(local), 4))
        print(f"    4 threads: {len(mistakes)} wrong")
        failed |= bool(mistakes)
        if greenlet is not None:
            mistakes = wrong(serve_greenlets(legacy_library(local), 4))
            print(f"    4 greenlets of one thread: {len(mistakes)} wrong")
            for told in mistakes[:1]:
                print(f"        such as: {told}")
            failed |= bool(mistakes) == serves_greenlets

    if greenlet is not None:
        # Both at once: greenlets within each of several threads, all with the one library object.
        library = legacy_library(xctx.local)
        results = []
        threads = [threading.Thread(target=lambda: results.extend(serve_greenlets(library, 4))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        mistakes = wrong(results)
        print(f"    4 greenlets in each of 4 threads: {len(mistakes)} wrong of {len(results)}")
        failed |= bool(mistakes) or len(results) != 16

    print("wrong!" if failed else "as it should be")
    return failed


if __name__ == "__main__":
    sys.exit(main())
