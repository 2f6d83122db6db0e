"""Patches what the environment says, in an interpreter that a patched program has started, before it runs anything.

Each interpreter imports a module of this name, if there is one. This one takes its folder off the path, and imports
the one that it hides first.
"""

import importlib
import os
import sys


def _begin() -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [each for each in sys.path if not each or os.path.abspath(each) != here]
    ours = sys.modules.pop("sitecustomize", None)
    try:
        importlib.import_module("sitecustomize")
    except ImportError as exc:
        if exc.name != "sitecustomize":
            raise
    finally:
        if ours is not None:
            sys.modules.setdefault("sitecustomize", ours)
    try:
        from xctx._patch.environment import fulfil_what_is_told
    except ImportError as exc:
        print(f"xctx: this interpreter is not patched, though XCTX_PATCH asks for it: {exc}", file=sys.stderr)
    else:
        fulfil_what_is_told()


_begin()
