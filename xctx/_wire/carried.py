"""carried: the mark of a name that an xlocal carries to other machines.

It has a module of its own, so that importing xctx stays cheap: the modules that read the mark are not.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# token of RFC 7230, without the percent sign, which receivers do not agree on.
TOKEN = frozenset("!#$&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class carried:
    """Declares that a name of an xlocal is carried to other machines, by :mod:`xctx.wire`.

    It is written in the annotation, with or without arguments::

        class Current(xctx.xlocal):
            request_id: Annotated[str, xctx.carried]
            tenant: Annotated[UUID, xctx.carried("tenant-id", encode=str, decode=UUID)]
            user: User                                            # stays in this process

    Text is written as it is, an Enum as its value, a UUID or a time as text, everything else as JSON. :doc:`wire` says
    which types can be carried, and what is checked of their values. Values of other types need `encode` and `decode`.

    Args:
        name: the name in the header, the same in each language. Default: the name in Python.
        encode: makes a str of a value.
        decode: makes a value of a str that came from outside, in the middle of a request. If it raises, the str was
            wrong, and the name is left unbound.
        accept: False to take it from no request or message: only this process decides what is bound.
        send: False to put it into no request or message: it ends here.

    Raises:
        TypeError: `encode` or `decode` is given without the other, or cannot be called; `name` is not a str.
        ValueError: `name` has a character that no key of a W3C baggage may have; both `accept` and `send` are False.

    Thread-safety: never changes.
    """

    __slots__ = {  # noqa: RUF023
        "accept": "Whether it is taken from requests and messages.",
        "send": "Whether it is put into requests and messages.",
        "name": "The name in the header; None if that is the name in Python.",
        "encode": "Makes a str of a value; None for JSON.",
        "decode": "Makes the value of a str; None for JSON.",
    }

    def __init__(
        self,
        name: "str | None" = None,
        *,
        encode: "Callable[[Any], str] | None" = None,
        decode: "Callable[[str], Any] | None" = None,
        accept: bool = True,
        send: bool = True,
    ) -> None:
        if name is not None:
            check_key(name)
        if (encode is None) is not (decode is None):
            raise TypeError(f"encode and decode go together, one of them is None: {encode!r}, {decode!r}")
        for codec in (encode, decode):
            if codec is not None and not callable(codec):
                raise TypeError(f"{codec!r} cannot be called: a function that encodes or decodes was wanted")
        if not accept and not send:
            raise ValueError("neither accepted nor sent, a name is not carried: leave out carried")
        self.name = name
        self.accept = bool(accept)
        self.send = bool(send)
        self.encode = encode
        self.decode = decode

    def __repr__(self) -> str:
        told = [] if self.name is None else [repr(self.name)]
        told += [f"{flag}=False" for flag in ("accept", "send") if not getattr(self, flag)]
        return f"carried({', '.join(told)})"


def check_key(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"a carried name is a str, not {name!r}")
    if not name or not TOKEN.issuperset(name):
        raise ValueError(
            f"{name!r} cannot stand on the wire: letters and digits of ASCII and !#$&'*+-.^_`|~ can; "
            'carried("another-name") gives another name there'
        )
    return name
