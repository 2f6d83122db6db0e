"""Compares two results and names what got slower: `python -m benchmarks.compare OLD.json NEW.json [--threshold 1.1]`.

What xctx took is measured with its peers as the ruler: where both results have the same peers in a case, its time
beside theirs is compared, so that another machine, or a busier one, falls out. Where they have none, or with
--absolute, the times themselves are. A case got slower when even the lower end of what the noise leaves open is beyond
the threshold.

The noise is that between processes, as found in both results: turns of one process share its memory layout and its hash
seed, and say little about the next. So that one unlucky case in hundreds is no alarm, the lower end is where one in
seven hundred would lie, by Student's distribution. Results of one process each leave everything open.

Ends with 0 when nothing got slower, 1 when something did, 2 when the results cannot be compared.
"""

import argparse
import math
import pathlib
import statistics
import sys
from dataclasses import dataclass

from benchmarks import results

# Student's t for a probability of 0.9973, that of three standard deviations, by degrees of freedom.
THREE_SIGMA = {1: 235.8, 2: 19.21, 3: 9.22, 4: 6.62, 5: 5.51, 6: 4.90, 7: 4.53, 8: 4.28, 9: 4.09, 10: 3.96}
ROBUST = 5  # processes, from which on one that was disturbed is no longer let widen the spread


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
    else:
        before, after = relative(old.own, []), relative(new.own, [])
    factor, margin = between(before, after)
    names = tuple(peer.name for _, peer in pairs)
    return Change(new.title, new.unit, factor, factor / margin, factor * margin, names)


def relative(own, peers):
    """The logarithm of own time beside the peers' geometric mean, if there are any, for each turn of each run."""
    return [
        [
            math.log(mine) - sum(math.log(peer.runs[run][turn]) for peer in peers) / max(len(peers), 1)
            for turn, mine in enumerate(values)
        ]
        for run, values in enumerate(own.runs)
        if values
    ]


def between(before, after):
    """(factor, margin): how many times what it was the one is of the other, and what the noise may multiply it by.

    Args:
        before, after: logarithms, a list for each process.
    """
    middles, variance, freedom = [], 0.0, -2
    for runs in (before, after):
        medians = [statistics.median(run) for run in runs]
        middles.append(statistics.median(medians))
        freedom += len(medians)
        if len(medians) == 1:
            variance = math.inf
        else:
            sigma = results.centre(medians)[1] if len(medians) >= ROBUST else statistics.stdev(medians)
            # The median of so many is less sure than their mean would be, by the square root of pi / 2.
            variance += sigma**2 / len(medians) * math.pi / 2
    error = three_sigma(freedom) * math.sqrt(variance)
    return math.exp(middles[1] - middles[0]), math.exp(error) if error < 100 else math.inf


def three_sigma(freedom):
    """How many standard errors away one in seven hundred lies; infinitely many where none was measured."""
    if freedom < 1:
        return math.inf
    # Beyond the table, the expansion of Student's quantile at three.
    return THREE_SIGMA.get(freedom) or 3 + 30 / (4 * freedom) + 1656 / (96 * freedom**2)


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
