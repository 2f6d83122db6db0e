"""The interpreter that xctx is used in: one of each process, the first that imports it.

The compiled modules keep state of the process and of its threads in C, which a second interpreter would share. Cython
and CPython both refuse to load them there, but neither says what to do about it.
"""

# In Cython's words where interpreters share the GIL, and in CPython's where they do not.
REFUSALS = "Interpreter change detected", "does not support loading in subinterpreters"


def load() -> None:
    """Loads the first compiled module.

    Raises:
        ImportError: xctx cannot be used in this interpreter.
    """
    try:
        import xctx._runtime.runtime  # noqa: F401
    except ImportError as error:
        if not any(refusal in str(error) for refusal in REFUSALS):
            raise
        raise ImportError(
            "xctx cannot be used in this interpreter: only the first interpreter of a process that imports xctx can "
            "use it, which must share its GIL with the main one. Run the program in the main interpreter: "
            "WSGIApplicationGroup %{GLOBAL} for mod_wsgi, single-interpreter = true for uWSGI, a ThreadPoolExecutor "
            "or ProcessPoolExecutor for an InterpreterPoolExecutor.",
            name="xctx",
        ) from error


load()
