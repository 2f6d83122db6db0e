"""Which files the compiled rooms of this interpreter are: those that were installed, or copies of them.

The compiled rooms keep state of the process and of its threads in C, in static variables, which two interpreters cannot
share. The main interpreter uses the files as they are. Each other interpreter loads copies, where the platform has them:
see copies.h.
"""

from xctx._runtime import copies

# In Cython's words where interpreters share the GIL, and in CPython's where they do not.
REFUSALS = "Interpreter change detected", "does not support loading in subinterpreters"


def load() -> None:
    """Loads the first compiled room.

    Raises:
        ImportError: xctx cannot be used in this interpreter.
    """
    if not copies.is_main() and hasattr(copies, "take"):
        from xctx._runtime import copying

        copying.install()
    try:
        import xctx._runtime.runtime  # noqa: F401
    except ImportError as error:
        if not any(refusal in str(error) for refusal in REFUSALS):
            raise
        raise ImportError(
            "xctx cannot be used in this interpreter: on this platform only the first interpreter of a process that "
            "imports xctx can use it, which must share its GIL with the main one. Run the program in the main "
            "interpreter: WSGIApplicationGroup %{GLOBAL} for mod_wsgi, single-interpreter = true for uWSGI, a "
            "ThreadPoolExecutor or ProcessPoolExecutor for an InterpreterPoolExecutor.",
            name="xctx",
        ) from error


load()
