"""Finds the messages of the exceptions that the sources raise, with what is filled in replaced by an ellipsis."""

import re

LITERAL = re.compile(r"""\s*(f?)[br]?(?:"((?:[^"\\\n]|\\.)*)"|'((?:[^'\\\n]|\\.)*)')""")
RAISES = re.compile(r"\braise (?P<kind>[A-Z]\w*|kind)\(")
SETS = re.compile(r"\bPyErr_(?:Format|SetString)\(\s*(?:PyExc_)?(?P<kind>[A-Z]\w*),\s*")
WARNS = re.compile(r"\bwarnings\.warn\(")


def in_source(text):
    """Each (name of the exception, message) of a source; messages put together at run time are left out."""
    for pattern in (RAISES, SETS):
        for match in pattern.finditer(text):
            said = literals(text, match.end())
            if said:
                yield match["kind"], said
    for match in WARNS.finditer(text):
        said = literals(text, match.end())
        if said:
            yield "OwnerDiedWarning", said


def literals(text, at):
    """The literals that stand side by side as the first argument of a call, as one; '' where there is none."""
    said = ""
    while match := LITERAL.match(text, at):
        part = (match[2] or match[3] or "").replace('\\"', '"').replace("%%", "%")
        said += re.sub(r"\{[^{}]*\}", "…", part) if match[1] else re.sub(r"%[.\d]*z?[a-zA-Z]", "…", part)
        at = match.end()
    return said
