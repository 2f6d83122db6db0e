"""Which files the compiled rooms of this interpreter are: those that were installed, or copies of them.

The compiled rooms keep state of the process and of its threads in C, in static variables, which two interpreters cannot
share. The main interpreter uses the files as they are. Each other interpreter loads copies, where the platform has
them: see copies.h.
"""

from xctx._runtime import copies


def prepare() -> None:
    """Before the first compiled room is imported.

    Raises:
        ImportError: xctx cannot be used in this interpreter.
    """
    if copies.is_main():
        return
    if not hasattr(copies, "take"):
        raise ImportError(
            "xctx cannot be used in this interpreter: on this platform only the main interpreter can use it. Run the "
            "program there: WSGIApplicationGroup %{GLOBAL} for mod_wsgi, single-interpreter = true for uWSGI, a "
            "ThreadPoolExecutor or ProcessPoolExecutor for an InterpreterPoolExecutor.",
            name="xctx",
        )
    from xctx._runtime import copying

    copying.install()


prepare()
