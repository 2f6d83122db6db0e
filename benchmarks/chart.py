"""Charts of results, as SVG: how many times faster xctx is than its peers, on a logarithmic scale."""

import math
from html import escape

from benchmarks import results

ROW, LEFT, WIDTH, RIGHT = 18, 350, 420, 80
TOP, BOTTOM = 66, 34
FASTER, SLOWER, ROD = "#2b7a4b", "#b5533c", "#8a8f98"


def summary_rows(found):
    """A row for each group and peer, for time and for memory: the geometric mean of its cases, and their range."""
    by_pair = {}
    for result in found:
        for peer in result.peers():
            if not peer.reference:
                times = 1 / results.ratio(result.own, peer).value
                by_pair.setdefault((result.group, peer.name, result.unit), []).append(times)
    rows, last = [], None
    for (group, peer, unit), times in by_pair.items():
        if group != last:
            rows.append((group, None))
            last = group
        mean = math.exp(sum(map(math.log, times)) / len(times))
        what = peer if unit == "second" else f"{peer}, memory"
        label = what if len(times) == 1 else f"{what} ({len(times)} cases)"
        rows.append((label, (mean, min(times), max(times), False)))
    return rows


def case_rows(found):
    """A row for each case and peer: the median of the turns, and where the middle half of them lies."""
    rows = []
    for result in found:
        if not result.peers():
            continue
        unit = "" if result.unit == "second" else ", memory"
        rows.append((f"{result.title}{unit}", None))
        for peer in result.peers():
            ratio = results.ratio(result.own, peer)
            rows.append((peer.name, (1 / ratio.value, 1 / ratio.high, 1 / ratio.low, peer.reference)))
    return rows


def svg(rows, title, subtitle):
    """A chart of rows (label, None) for headings and (label, (times, low, high, is a measuring rod)) for bars.

    A bar goes from 1 (as fast) to the right where xctx is faster, to the left where it is slower; the line across its
    end shows `low` to `high`.
    """
    bars = [row for _, row in rows if row is not None]
    ends = [math.log10(value) for row in bars for value in row[:3]]
    low = min(0.0, *map(math.floor, ends)) if ends else 0.0
    high = max(1.0, *map(math.ceil, ends)) if ends else 1.0
    height = TOP + ROW * len(rows) + BOTTOM
    bottom = height - BOTTOM + 6

    def at(times):
        return LEFT + (math.log10(times) - low) / (high - low) * WIDTH

    def text(x, y, what, **style):
        attributes = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in style.items())
        return f'<text x="{x:.1f}" y="{y:.1f}"{attributes}>{escape(what)}</text>'

    def line(x1, y1, x2, y2, stroke):
        return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{stroke}"/>'

    width = LEFT + WIDTH + RIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="12" role="img">',
        f"<title>{escape(title)}</title>",
        '<rect width="100%" height="100%" fill="white"/>',
        text(10, 24, title, font_size=15, font_weight="bold"),
        text(10, 43, subtitle, fill="#555"),
    ]
    for power in range(int(low), int(high) + 1):
        x = at(10.0**power)
        parts += [line(x, TOP - 8, x, bottom, "#ddd"), text(x, bottom + 16, f"{10.0**power:g}", text_anchor="middle")]
    for number, (label, row) in enumerate(rows):
        y = TOP + ROW * number
        if row is None:
            parts.append(text(10, y + 13, label, font_weight="bold"))
            continue
        times, least, most, rod = row
        left, right = sorted((at(1), at(times)))
        colour = ROD if rod else FASTER if times >= 1 else SLOWER
        parts.append(text(LEFT - 8, y + 13, label, text_anchor="end"))
        parts.append(
            f'<rect x="{left:.1f}" y="{y + 2}" width="{max(right - left, 1):.1f}" height="{ROW - 5}" fill="{colour}"/>'
        )
        if most > least:
            parts.append(line(at(least), y + ROW / 2, at(most), y + ROW / 2, "#222"))
        parts.append(text(max(right, at(most), at(1)) + 5, y + 13, f"{times:.2g}" if times < 100 else f"{times:.0f}"))
    parts.append(line(at(1), TOP - 8, at(1), bottom, "black"))
    return "\n".join([*parts, "</svg>"]) + "\n"
