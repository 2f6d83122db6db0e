"""Looks through each class and instance of xlocal, as it is made, for names that are carried to other machines.

The code that does so is imported with the first such class, so that importing xctx stays cheap. The facade imports
`carried` from here, so in any program that can mark names the marks are read.
"""

from xctx._stores.xlocal import add_hooks
from xctx._wire.carried import carried as carried

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def read_class(cls: "Any") -> None:
    """Notes in a class derived from xlocal what it carries."""
    if cls.__xctx_names__:
        from xctx._wire.fields import class_fields

        cls.__xctx_carried__ = class_fields(cls)


def read_instance(store: "Any") -> None:
    fields = getattr(type(store), "__xctx_carried__", None)
    if fields:
        from xctx._wire.fields import register

        register(store, fields)


add_hooks(on_subclass=read_class, on_instance=read_instance)
