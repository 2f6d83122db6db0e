"""The ``baggage`` headers in what programs use for headers: mappings, lists of pairs, of str or of bytes."""

from collections.abc import Iterable
from typing import Any

from xctx._wire.report import Report

HEADER = "baggage"


def text_of(value: Any) -> str | None:
    """The value of a header as text, or None where it is no text."""
    if isinstance(value, str):
        return value
    if isinstance(value, (bytes, bytearray)):
        return value.decode("latin-1")
    if isinstance(value, (list, tuple)):
        parts = [text_of(each) for each in value]
        return None if None in parts else ",".join(parts)  # type: ignore[arg-type]
    return None


def is_header(pair: Any) -> bool:
    """Whether a pair of a carrier is a ``baggage`` header, in upper or lower case."""
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        return False
    key = pair[0]
    return key.lower() == HEADER if isinstance(key, str) else isinstance(key, bytes) and key.lower() == b"baggage"


def headers_of(carrier: Any) -> list[tuple[Any, Any]]:
    """The ``baggage`` headers of a carrier, with their keys as they are there."""
    return [
        (pair[0], pair[1]) for pair in (carrier.items() if hasattr(carrier, "items") else carrier) if is_header(pair)
    ]


def joined(found: Iterable[tuple[Any, Any]], report: Report) -> str:
    """The text of several headers as that of one."""
    texts = []
    for _, value in found:
        text = text_of(value)
        if text is None:
            report(HEADER, f"its value is a {type(value).__name__}, not text")
        else:
            texts.append(text)
    return ",".join(texts)


def put(carrier: Any, found: list[tuple[Any, Any]], text: str) -> None:
    """Puts one header in place of those that were found."""
    if isinstance(carrier, list):
        wants_bytes = isinstance((found or carrier or [("",)])[0][0], bytes)
        pair = (HEADER.encode(), text.encode("ascii")) if wants_bytes else (HEADER, text)
        carrier[:] = [each for each in carrier if not is_header(each)] + [pair]
        return
    # In an email.message.Message, which http.client has for headers, setting an item adds one where others replace.
    keys = {key for key, _ in found}
    if len(keys) > 1 or (keys and hasattr(carrier, "replace_header")):
        for key in keys:
            if key in carrier:
                del carrier[key]
    carrier[found[0][0] if found else HEADER] = text
