"""Results as people read them: on a terminal, as a reStructuredText table, as charts.

Run:  python -m benchmarks.report FILE.json     (writes the table and the charts beside it)
"""

import argparse
import pathlib
import re
import sys

from benchmarks import chart, results


def rows(found):
    """(result, peer's series, Ratio) of each case and peer; (result, None, None) of a case without any."""
    for result in found:
        if not result.peers():
            yield result, None, None
        for peer in result.peers():
            yield result, peer, results.ratio(result.own, peer)


def console(found):
    """The table for a terminal: ratios below 1 mean that xctx is faster, or smaller."""
    lines, shown = ["", "xctx beside its peers: a ratio below 1 means that xctx is faster, or smaller", ""], None
    for result, peer, ratio in rows(found):
        if result is not shown:
            own = results.told(result.own.median(), result.unit, result.rate)
            outliers = result.own.outliers()
            lines.append(f"{result.title:52}{own:>16}" + (f"   ({outliers} outliers)" if outliers else ""))
            shown = result
        if peer is None:
            continue
        theirs = results.told(peer.median(), result.unit, result.rate)
        sure = "" if ratio.spread <= results.UNSTEADY else "  unsteady"
        target = ""
        if peer.target is not None:
            target = f"  target {peer.target:.3g}: {'reached' if ratio.value <= peer.target else 'MISSED'}"
        lines.append(f"    {peer.name:48}{theirs:>16}   ratio {ratio.value:6.3f} ± {ratio.spread:.0%}{target}{sure}")
    return "\n".join(lines)


def table(found, about):
    """The results as a reStructuredText table."""
    title = f"{about.get('interpreter', 'Python')}: xctx and its peers"
    lines = [f".. list-table:: {title}", "   :header-rows: 1", "   :widths: 40 25 12 12 11", ""]
    cells = [["operation", "peer", "xctx", "peer's", "times better"]]
    for result, peer, ratio in rows(found):
        own = results.told(result.own.median(), result.unit, result.rate)
        if peer is None:
            cells.append([result.title, "none", own, "", ""])
            continue
        theirs = results.told(peer.median(), result.unit, result.rate)
        sure = "" if ratio.spread <= results.UNSTEADY else f" ± {ratio.spread:.0%}"
        cells.append([result.title, peer.name, own, theirs, f"{1 / ratio.value:.2f}{sure}"])
    for row in cells:
        lines += [f"   {' ' if at else '*'} - {escaped(cell)}".rstrip() for at, cell in enumerate(row)]
    peers = [f"{name[5:]} {version}" for name, version in about.items() if name.startswith("peer_")]
    lines += [
        "",
        "Medians of turns in which the contenders alternate, and of the turns' ratios; where these spread by more than "
        f"{results.UNSTEADY:.0%}, the spread stands beside. {about.get('platform', '')}, "
        f"{about.get('cpu_count', '?')} processors; {', '.join(peers) or 'no peer installed'}.",
    ]
    return "\n".join(lines) + "\n"


def escaped(text):
    return re.sub(r"([*`_|\\])", r"\\\1", text)


def write(found, about, folder, tag):
    """Writes the table, the chart of groups and the chart of all cases."""
    named = about.get("interpreter", "Python")
    (folder / f"{tag}.rst").write_text(table(found, about), encoding="utf-8")
    title = f"How many times faster than its peers is xctx? ({named})"
    groups = chart.svg(
        chart.summary_rows(found), title, "Log scale. Bars: geometric mean of the cases; lines: the least and the most."
    )
    every = chart.svg(
        chart.case_rows(found),
        title,
        "Log scale. Bars: median of the turns; lines: their middle half; grey: no peer, but a measuring rod.",
    )
    (folder / f"{tag}.svg").write_text(groups, encoding="utf-8")
    (folder / f"{tag}-cases.svg").write_text(every, encoding="utf-8")


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=pathlib.Path)
    path = parser.parse_args(argv).file
    try:
        found, about = results.load(path)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    print(console(found))
    write(found, about, path.parent, path.stem)
    return 0


if __name__ == "__main__":
    sys.exit(main())
