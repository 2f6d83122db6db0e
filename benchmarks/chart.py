"""A table and a chart of benchmark results: how many times faster xctx is than each peer, on a logarithmic scale."""

import math
from html import escape

ROW, LEFT, WIDTH, RIGHT = 20, 330, 420, 70


def comparisons(results):
    """(operation, peer, times faster, nanoseconds of xctx, of the peer) for each case and peer."""
    for case in results["cases"]:
        own = case["contenders"][0]
        for peer in case["contenders"][1:]:
            operation = f"{case['group']}: {case['name']}"
            yield operation, peer["name"], 1 / peer["ratio"], own["nanoseconds"], peer["nanoseconds"]


def table(results):
    """The results as a reStructuredText table."""
    lines = [f".. list-table:: {results['interpreter']}, nanoseconds an operation", "   :header-rows: 1", ""]
    header = ["operation", "peer", "xctx", "peer's", "times faster"]
    rows = [header] + [
        [operation, peer, f"{own:.0f}", f"{other:.0f}", f"{faster:.2g}"]
        for operation, peer, faster, own, other in comparisons(results)
    ]
    for row in rows:
        lines += [f"   {'*' if at == 0 else ' '} - {cell}" for at, cell in enumerate(row)]
    return "\n".join(lines) + "\n"


def svg(results):
    """The results as an SVG chart: a bar a peer, from 1 (as fast) to the right (xctx is faster) or left (slower)."""
    rows = list(comparisons(results))
    if not rows:
        return ""
    low = min(0.0, math.floor(min(math.log10(row[2]) for row in rows)))
    high = max(1.0, math.ceil(max(math.log10(row[2]) for row in rows)))
    height = 60 + ROW * len(rows) + 30

    def at(times):
        return LEFT + (math.log10(times) - low) / (high - low) * WIDTH

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + RIGHT}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="10" y="24" font-size="15">How many times faster than its peers is xctx? '
        f"({escape(results['interpreter'])}, log scale)</text>",
    ]
    for power in range(int(low), int(high) + 1):
        x = at(10**power)
        parts.append(f'<line x1="{x:.0f}" y1="45" x2="{x:.0f}" y2="{height - 25}" stroke="#ccc"/>')
        parts.append(f'<text x="{x:.0f}" y="{height - 8}" text-anchor="middle">{10.0**power:g}</text>')
    for number, (operation, peer, faster, _, _) in enumerate(rows):
        y = 50 + ROW * number
        left, right = sorted((at(1), at(faster)))
        color = "#2b7a4b" if faster >= 1 else "#b5533c"
        parts.append(f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end">{escape(f"{operation} / {peer}")}</text>')
        parts.append(
            f'<rect x="{left:.1f}" y="{y}" width="{max(right - left, 1):.1f}" height="{ROW - 5}" fill="{color}"/>'
        )
        parts.append(f'<text x="{max(right, at(1)) + 4:.1f}" y="{y + 12}">{faster:.2g}</text>')
    parts.append(f'<line x1="{at(1):.0f}" y1="45" x2="{at(1):.0f}" y2="{height - 25}" stroke="black"/>')
    return "\n".join([*parts, "</svg>"]) + "\n"
