"""A carried value as text, and the value of a text that came from outside.

A header has no types: 12345 may be a number, or the id of a user. So text is read as JSON only where the declaration
allows something other than text; if that fails, it is taken as text, where text is allowed. A text that would be read
as something else is written in the quotes of JSON; every other text goes as it is, for readers in any language.

A value that was taken in can be written again, with the next request that goes out, and what is written can be taken in
by others. So these are refused on both sides: what JSON does not have, numbers that read as infinite, a surrogate
alone, and what is nested so deep that code deeper in the stack could not read it.
"""

import json
from math import isfinite
from typing import Any

from xctx._wire.fields import Field
from xctx._wire.forms import Form

DEEPEST = 64


def refused(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def finite(text: str) -> float:
    number = float(text)
    return number if isfinite(number) else refused(text)


# Made once: json.loads and json.dumps with arguments make these for each call.
decode = json.JSONDecoder(parse_constant=refused, parse_float=finite).decode
encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def check_depth(text: str) -> None:
    if text.count("[") + text.count("{") > DEEPEST:
        depth = deepest = 0
        for character in text:
            depth += (character in "[{") - (character in "]}")
            deepest = max(deepest, depth)
        if deepest > DEEPEST:
            raise ValueError(f"it is nested {deepest} deep")


def parsed(text: str) -> Any:
    check_depth(text)
    value = decode(text)
    if "\\" in text:  # a surrogate alone, which only an escape can give, has no UTF-8
        encode(value).encode()
    return value


def is_only_text(form: Form) -> bool:
    return len(form.kinds) == 1 and "text" in form.kinds


def written(form: Form, value: Any) -> str:
    """A value as text, by its form."""
    data = form.out(value)
    if type(data) is str and reads_as_text(form, data):
        return data
    text = encode(data)
    check_depth(text)
    return text


def reads_as_text(form: Form, text: str) -> bool:
    """Whether a text that is written as it is will not be read as something else."""
    if is_only_text(form) and not text.startswith('"'):
        return True
    try:
        data = parsed(text)
    except ValueError:
        return True
    if type(data) is not str:
        try:
            form.into(data)
        except Exception:  # of the program's classes as well
            return True
    return False


def read(form: Form, text: str) -> Any:
    """The value of a text, by its form."""
    if is_only_text(form) and not text.startswith('"'):
        return form.into(text)
    try:
        data = parsed(text)
    except ValueError:
        if "text" not in form.kinds:
            raise
        return form.into(text)
    if "text" not in form.kinds:
        return form.into(data)
    try:
        return form.into(data)
    except Exception:
        return form.into(text)


def check_types(types: tuple[type, ...] | None, value: Any) -> None:
    """That a value which a codec of the program writes, or has read, is an instance of what it declares."""
    if types is not None and ((type(value) is bool and bool not in types) or not isinstance(value, types)):
        raise TypeError(f"{value!r:.200} is no {' or '.join(each.__name__ for each in types)}")


def to_text(field: Field, value: Any) -> str:
    """A value as text.

    Raises:
        Exception: of any kind, as the codec of the program may raise any; it cannot be written.
    """
    if field.form is not None:
        return written(field.form, value)
    check_types(field.types, value)
    text = field.encode(value)  # type: ignore[misc]
    if not isinstance(text, str):
        raise TypeError(f"{field.encode!r} gave {text!r:.200}: a str was wanted")
    return str.__str__(text)


def from_text(field: Field, text: str) -> Any:
    """The value of a text that came from outside.

    Raises:
        Exception: of any kind; it is no such value.
    """
    if field.form is not None:
        return read(field.form, text)
    value = field.decode(text)  # type: ignore[misc]
    if field.types is not None and type(value) is int and float in field.types and int not in field.types:
        value = float(value)
    check_types(field.types, value)
    return value
