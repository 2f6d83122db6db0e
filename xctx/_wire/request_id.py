"""The id of a request: taken from its header, or from its baggage, or made; bound under a name, and answered with."""

import re
from collections.abc import Callable
from typing import Any

from xctx._stores.xlocal import xlocal
from xctx._wire.carried import TOKEN
from xctx._wire.fields import fields_of
from xctx._wire.values import from_text, to_text

__all__ = ["RequestId"]

# What ids are made of: nothing that ends a header, closes the quotes of a log or of HTML, or fills a disk.
USUAL = re.compile(r"[0-9A-Za-z._~+/=:@-]{1,128}")
# What can stand in a header at all.
PRINTABLE = re.compile(r"[\x21-\x7e]+")


def is_usual(text: str) -> bool:
    return USUAL.fullmatch(text) is not None


def made() -> str:
    import uuid

    return uuid.uuid4().hex


class RequestId:
    """Given to a middleware, binds an id for each request, and answers with it::

        app = xctx.wsgi.Middleware(app, request_id=xctx.wire.RequestId(current))
        app = xctx.asgi.Middleware(app, request_id=xctx.wire.RequestId(current))

    The id is what the client sends in a header, if it is valid; or else what came in the ``baggage`` under the same
    name, if that is valid; or else it is made. It is bound for the whole request, and the response has it in the same
    header, unless the application sets that itself.

    Args:
        store: the xlocal that it is bound in.
        name: the name that it is bound to. If the name is declared as :class:`xctx.carried`, the id is a value of its
            type, such as a UUID; otherwise it is a str.
        header: the header.
        accept: False to take no id from outside: each one is made.
        valid: says whether an id from outside may be used. Default: 1 to 128 letters, digits and ``._~+/=:@-``. What
            is not printable ASCII without spaces is never used.
        make: makes one. Default: 32 random hexadecimal digits.

    Raises:
        TypeError: `store` is no xlocal, or declares no such name; `valid` or `make` cannot be called.
        ValueError: `header` cannot be the name of a header.

    Thread-safety: never changes; `valid` and `make` are called in any thread.
    """

    __slots__ = ("_accept", "_field", "_make", "_valid", "header", "name", "store")

    def __init__(
        self,
        store: xlocal,
        /,
        name: str = "request_id",
        *,
        header: str = "X-Request-ID",
        accept: bool = True,
        valid: Callable[[str], object] | None = None,
        make: Callable[[], str] | None = None,
    ) -> None:
        fields = fields_of(store)
        store(**{name: None})  # says what is wrong with the name
        for called in (valid, make):
            if called is not None and not callable(called):
                raise TypeError(f"{called!r} cannot be called: a function that judges or makes ids was wanted")
        if not isinstance(header, str) or not header or not TOKEN.issuperset(header):
            raise ValueError(f"{header!r} cannot be the name of a header")
        self.store = store
        self.name = name
        self.header = header
        self._field = fields.get(name) if fields else None
        self._accept = accept
        self._valid = is_usual if valid is None else valid
        self._make = made if make is None else make

    def add_to(self, values: dict[xlocal, dict[str, Any]], sent: str | None) -> str:
        """Puts the id among what arrived, and returns it as it is answered.

        Args:
            values: what the baggage had.
            sent: what the header had, or None.

        Raises:
            TypeError, ValueError: what was made is no id; or whatever the functions of the program raise.
        """
        names = values.setdefault(self.store, {})
        if self._accept:
            if sent is not None and self._put(names, sent):
                return sent
            came = names.get(self.name)
            if came is not None and self._field is not None:
                text = to_text(self._field, came)
                if self._is_valid(text):
                    return text
        text = self._make()
        if not isinstance(text, str) or not PRINTABLE.fullmatch(text):
            raise ValueError(f"{self._make!r} made {text!r:.200}: printable ASCII without spaces was wanted")
        names[self.name] = text if self._field is None else from_text(self._field, text)
        return text

    def _put(self, names: dict[str, Any], text: str) -> bool:
        if not self._is_valid(text):
            return False
        try:
            names[self.name] = text if self._field is None else from_text(self._field, text)
        except Exception:  # it is no value of the type that is declared
            return False
        return True

    def _is_valid(self, text: str) -> bool:
        return PRINTABLE.fullmatch(text) is not None and bool(self._valid(text))
