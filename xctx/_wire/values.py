"""A carried value as text, and the value of a text that came from outside.

A value that was taken in can be written again, with the next request that goes out. So these are refused: what JSON
does not have, numbers that read as infinite, a surrogate alone, and what is nested so deep that code deeper in the
stack could not read it.
"""

import json
from math import isfinite
from typing import Any

from xctx._wire.fields import Field

DEEPEST = 64


def refused(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def finite(text: str) -> float:
    number = float(text)
    return number if isfinite(number) else refused(text)


def parsed(text: str) -> Any:
    if text.count("[") + text.count("{") > DEEPEST:
        depth = deepest = 0
        for character in text:
            depth += (character in "[{") - (character in "]}")
            deepest = max(deepest, depth)
        if deepest > DEEPEST:
            raise ValueError(f"it is nested {deepest} deep")
    value = json.loads(text, parse_constant=refused, parse_float=finite)
    if "\\" in text:  # a surrogate alone, which only an escape can give, has no UTF-8
        json.dumps(value, ensure_ascii=False).encode()
    return value


def to_text(field: Field, value: Any) -> str:
    """A value as text.

    Raises:
        TypeError, ValueError: it cannot be written.
    """
    if field.encode is not None:
        text = field.encode(value)
        if not isinstance(text, str):
            raise TypeError(f"{field.encode!r} gave {text!r}: a str was wanted")
        return text
    if type(value) is str:
        if field.types == (str,):
            quotes = value.startswith('"')
        else:
            try:
                parsed(value)
                quotes = True
            except ValueError:
                quotes = False
        if not quotes and value == value.strip():
            return value
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def from_text(field: Field, text: str) -> Any:
    """The value of a text that came from outside.

    Raises:
        Exception: of any kind, as the codec of the program may raise any; it is no such value.
    """
    value: Any
    if field.decode is not None:
        value = field.decode(text)
    elif field.types == (str,) and not text.startswith('"'):
        value = text
    else:
        try:
            value = parsed(text)
        except ValueError:
            if field.types is not None and str not in field.types:
                raise
            value = text
    if field.types is not None:
        if type(value) is int and float in field.types and int not in field.types:
            value = float(value)  # JSON has one type of number
        if (type(value) is bool and bool not in field.types) or not isinstance(value, field.types):
            raise TypeError(f"{value!r} is no {' or '.join(each.__name__ for each in field.types)}")
    return value
