"""Reads the tables of the manual (``.. list-table::``), for the tests that check what they say."""

import re


def tables(text):
    """Each ``list-table`` of a page, as (line before it that is a comment, or None; rows of cells)."""
    for match in re.finditer(
        r"(?:^\.\. (?P<comment>[a-z]+: .*)\n\n)?^\.\. list-table::.*\n(?P<body>(?:(?: +.*)?\n)+)", text, re.M
    ):
        rows = []
        for line in match["body"].splitlines():
            if found := re.match(r" {3}\* - ?(.*)", line):
                rows.append([found[1]])
            elif found := re.match(r" {5}- ?(.*)", line):
                rows[-1].append(found[1])
            elif rows and line.startswith("       "):
                rows[-1][-1] += " " + line.strip()
        yield match["comment"], rows
