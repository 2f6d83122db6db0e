"""W3C Baggage (https://www.w3.org/TR/baggage/): read strictly, and written so that all readers agree."""

import re
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from xctx._wire.report import Report

# Each service on the way must pass on as much as this, and may drop more. So more is neither written nor read.
MEMBERS = 64
BYTES = 8192

KEY = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
VALUE = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*")
PROPERTIES = re.compile(
    r"(?:;[ \t]*[!#$%&'*+\-.^_`|~0-9A-Za-z]+[ \t]*(?:=[ \t]*[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*[ \t]*)?)*"
)
# Fewer characters than may be written as they are: some readers take a plus for a space, others end the value at an
# equals sign.
BARE = "!$'()*-./:@[]_{}~"
BARE_IN_KEYS = "!$&'*-.^_`|~"
OWS = " \t"


class Member(NamedTuple):
    """One name and value, as they are written; and the text of the whole member, with its properties."""

    key: str
    value: str
    text: str


def members(header: str, report: Report) -> Iterator[Member]:
    """The members of a header, or of several joined by commas. A malformed part is left out, and reported."""
    for part in header.split(","):
        part = part.strip(OWS)
        if not part:
            continue
        pair, semicolon, properties = part.partition(";")
        key, equals, value = pair.partition("=")
        key, value = key.rstrip(OWS), value.strip(OWS)
        if equals and KEY.fullmatch(key) and VALUE.fullmatch(value) and PROPERTIES.fullmatch(semicolon + properties):
            yield Member(key, value, part)
        else:
            report(part, "it is no member of a W3C baggage")


def within_limits(header: str, report: Report) -> Iterator[Member]:
    """The members that every service must take: at most MEMBERS, in at most BYTES."""
    if len(header) > BYTES:  # as many bytes, if it is ASCII; anything else is malformed
        whole = header.rfind(",", 0, BYTES + 1)
        report(header[max(whole, 0) :], f"a baggage has at most {BYTES} bytes")
        header = header[: max(whole, 0)]
    for number, member in enumerate(members(header, report)):
        if number < MEMBERS:
            yield member
        else:
            report(member.text, f"a baggage has at most {MEMBERS} members")


def encoded(text: str, bare: str = BARE) -> str:
    """A value (or, with BARE_IN_KEYS, a key) as it is written.

    Raises:
        UnicodeEncodeError: there is a lone surrogate in it.
    """
    return quote(text, bare)


def decoded(value: str) -> str:
    """What was encoded. Bytes that are not UTF-8 become U+FFFD, as the specification says."""
    return unquote_to_bytes(value).decode("utf-8", "replace") if "%" in value else value
