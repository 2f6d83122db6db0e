"""Compares two results and names what got slower: `python -m benchmarks.compare OLD.json NEW.json [--threshold 1.1]`.

What xctx took is measured with its peers as the ruler: where both results have the same peers in a case, its time
beside theirs is compared, so that another machine, or a busier one, falls out. Where they have none, or with
--absolute, the times themselves are. A case got slower when even the lower end of what the noise leaves open is beyond
the threshold. So that one unlucky case in two hundred is no alarm, that end lies three standard errors down.

Ends with 0 when nothing got slower, 1 when something did, 2 when the results cannot be compared.
"""

import argparse
import math
import pathlib
import sys
from dataclasses import dataclass

from benchmarks import results

ERRORS = 3.0


@dataclass(frozen=True)
class Change:
    """How xctx changed in one case: it takes `factor` times what it took, within `low` to `high`."""

    title: str
    unit: str
    factor: float
    low: float
    high: float
    ruler: tuple

    def verdict(self, threshold):
        if self.low > threshold:
            return "slower" if self.unit == "second" else "bigger"
        if self.high < 1 / threshold:
            return "faster" if self.unit == "second" else "smaller"
        return "unsure" if self.factor > threshold else "same"


def change(old, new, absolute=False):
    """The Change from one Result of a case to another."""
    theirs = {series.name: series for series in old.peers()}
    pairs = [] if absolute else [(theirs[peer.name], peer) for peer in new.peers() if peer.name in theirs]
    # What xctx does elsewhere is no ruler for what it does here: both may have changed.
    pairs = [(before, after) for before, after in pairs if not before.name.startswith("xctx")]
    if pairs:
        before = relative(old.own, [peer for peer, _ in pairs])
        after = relative(new.own, [peer for _, peer in pairs])
        factor, error = results.compared([before, after])
    else:
        factor, error = results.slowdown(old.own.runs, new.own.runs)
    margin = math.exp(ERRORS * error)
    names = tuple(peer.name for _, peer in pairs)
    return Change(new.title, new.unit, factor, factor / margin, factor * margin, names)


def relative(own, peers):
    """The logarithm of own time beside the peers' geometric mean, for each turn of each run."""
    return [
        [
            math.log(mine) - sum(math.log(peer.runs[run][turn]) for peer in peers) / len(peers)
            for turn, mine in enumerate(values)
        ]
        for run, values in enumerate(own.runs)
        if values
    ]


def changes(old, new, absolute=False):
    """(changes, gone, added): of cases in both, and the titles of those in one only."""
    before, after = ({result.title: result for result in found} for found in (old, new))
    common = [change(before[title], after[title], absolute) for title in after if title in before]
    return common, [title for title in before if title not in after], [title for title in after if title not in before]


def threshold(text):
    value = float(text)
    if not value >= 1:
        raise argparse.ArgumentTypeError(f"a factor of 1 or more, not {text}")
    return value


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__.partition("\n")[0])
    parser.add_argument("old", type=pathlib.Path)
    parser.add_argument("new", type=pathlib.Path)
    parser.add_argument("--threshold", type=threshold, default=1.1, help="slower by this factor is named (default 1.1)")
    parser.add_argument("--absolute", action="store_true", help="compare times, not times beside those of the peers")
    options = parser.parse_args(argv)
    try:
        (old, about_old), (new, about_new) = results.load(options.old), results.load(options.new)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    common, gone, added = changes(old, new, options.absolute)
    if not common:
        print("the two results have no case in common", file=sys.stderr)
        return 2
    print(*(f"{about.get('interpreter')}, {about.get('date')}" for about in (about_old, about_new)), sep=" -> ")
    told = {}
    for each in sorted(common, key=lambda each: -each.factor):
        told.setdefault(each.verdict(options.threshold), []).append(each)
    for verdict in ("slower", "bigger", "unsure", "faster", "smaller"):
        for each in told.get(verdict, []):
            ruler = f"beside {', '.join(each.ruler)}" if each.ruler else "by the clock" if each.unit == "second" else ""
            between = f"({each.low:.2f} to {each.high:.2f})"
            print(f"{verdict:8}{each.title:52}{each.factor:6.2f} times {between} {ruler}".rstrip())
    for title in gone:
        print(f"gone    {title}")
    for title in added:
        print(f"new     {title}")
    worse = len(told.get("slower", [])) + len(told.get("bigger", []))
    unsure, same = len(told.get("unsure", [])), len(told.get("same", []))
    print(f"{len(common)} cases: {worse} worse, {unsure} unsure, {same} the same")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
