"""What was measured, as pyperf keeps it, and the figures drawn from it.

A result file is one of pyperf's (`python -m pyperf show`, `compare_to`, `stats` read it): a benchmark for each
contender of each case, a run for each process, and in it a value for each turn. Values of one turn stand at the same
place, so ratios are taken turn by turn and their median is reported: a disturbance longer than a turn falls on both
sides.

All spreads are robust: the median absolute deviation, scaled to be the standard deviation of what is normal.
"""

import statistics
from dataclasses import dataclass, field

TO_SIGMA = 1.4826
OUTLIER = 5.0  # robust standard deviations from the median
UNSTEADY = 0.1  # a spread of the ratio above which a reader is warned


@dataclass
class Series:
    """The figures of one contender.

    Attributes:
        runs: a list of values for each process.
        warmups: the value of each process that was thrown away.
        loops: how often the operation was done for a value, by process; `inner` of them in a row.
    """

    name: str
    runs: list = field(default_factory=list)
    warmups: list = field(default_factory=list)
    loops: list = field(default_factory=list)
    inner: int = 1
    reference: bool = False
    target: float | None = None

    def values(self):
        return [value for run in self.runs for value in run]

    def median(self):
        return statistics.median(self.values())

    def outliers(self):
        """How many values lie far from the median."""
        middle, sigma = centre(self.values())
        return sum(abs(value - middle) > OUTLIER * sigma for value in self.values()) if sigma else 0


@dataclass
class Result:
    """The figures of one case: xctx's series first.

    Attributes:
        unit: "second", "byte", or "integer" for instructions, as pyperf names it.
        rate: what a second's worth of is told rather than the seconds of one ("requests"), or "".
    """

    group: str
    name: str
    unit: str = "second"
    rate: str = ""
    series: list = field(default_factory=list)

    @property
    def title(self):
        return f"{self.group}: {self.name}"

    @property
    def own(self):
        return self.series[0]

    def peers(self):
        return self.series[1:]


@dataclass(frozen=True)
class Ratio:
    """What xctx takes beside a peer: below 1 is faster, or smaller.

    Attributes:
        value: the median of the turns' ratios.
        spread: their robust standard deviation, as a part of the value.
        low, high: where the middle half of them lies.
    """

    value: float
    spread: float
    low: float
    high: float


def centre(values):
    """(median, robust standard deviation)"""
    middle = statistics.median(values)
    return middle, TO_SIGMA * statistics.median(abs(value - middle) for value in values)


def ratio(own, peer):
    """The Ratio of two series, turn by turn."""
    turns = [mine / theirs for a, b in zip(own.runs, peer.runs, strict=True) for mine, theirs in zip(a, b, strict=True)]
    middle, sigma = centre(turns)
    low, _, high = statistics.quantiles(turns, n=4, method="inclusive") if len(turns) > 1 else (middle,) * 3
    return Ratio(middle, sigma / middle, low, high)


# --- files -----------------------------------------------------------------------------------------------------------


def save(results, path, about):
    """Writes a file of pyperf's.

    Args:
        about: name -> str or number, of the whole run. What names a machine or a directory does not belong there.
    """
    suite_of(results, about).dump(str(path), replace=True)


def suite_of(results, about):
    import pyperf

    benchmarks = []
    for result in results:
        for place, series in enumerate(result.series):
            metadata = {
                "name": f"{result.title} / {series.name}",
                "unit": result.unit,
                "group": result.group,
                "case": result.name,
                "contender": series.name,
                "place": place,
                "reference": int(series.reference),
                **about,
            }
            if result.rate:
                metadata["rate"] = result.rate
            if series.target is not None:
                metadata["target"] = series.target
            if series.inner > 1:
                metadata["inner_loops"] = series.inner
            runs = []
            for number, values in enumerate(series.runs):
                loops = series.loops[number] if number < len(series.loops) else 1
                warmups = [(loops, series.warmups[number])] if number < len(series.warmups) else None
                loops = {"loops": loops} if loops > 1 else {}
                runs.append(pyperf.Run(values, warmups, metadata | loops, collect_metadata=False))
            benchmarks.append(pyperf.Benchmark(runs))
    return pyperf.BenchmarkSuite(benchmarks)


def load(path):
    """(results, about) of a file that save() wrote.

    Raises:
        ValueError: it is no such file; the message says what is wrong with it.
        OSError: it cannot be read.
    """
    import pyperf

    try:
        suite = pyperf.BenchmarkSuite.load(str(path))
    except OSError:
        raise
    except Exception as error:
        raise ValueError(f"{path} is no result file of pyperf's ({type(error).__name__}: {error})") from error
    found = {}
    for benchmark in suite:
        metadata = benchmark.get_metadata()
        try:
            key = metadata["group"], metadata["case"]
            result = found.setdefault(key, Result(*key, benchmark.get_unit(), metadata.get("rate", "")))
            runs = benchmark.get_runs()
            series = Series(
                metadata["contender"],
                [list(run.values) for run in runs],
                [value for run in runs for _, value in run.warmups],
                [run.get_loops() for run in runs],
                metadata.get("inner_loops", 1),
                bool(metadata["reference"]),
                metadata.get("target"),
            )
        except KeyError as error:
            raise ValueError(f"{path}: {benchmark.get_name()!r} has no {error}: not written by this runner") from error
        result.series.append((metadata["place"], series))
    for result in found.values():
        result.series = [series for _, series in sorted(result.series, key=lambda each: each[0])]
    return list(found.values()), suite.get_metadata()


# --- words -----------------------------------------------------------------------------------------------------------


def told(figure, unit="second", rate=""):
    """A figure as a reader wants it: `23.4 ns`, `5.8 kB`, `4.79 M` instructions, `2,310 requests/s`."""
    if rate:
        return f"{1 / figure:,.0f} {rate}/s"
    if unit == "integer":
        return f"{figure / 1e6:.2f} M" if figure >= 1e6 else f"{figure:,.0f}"
    steps = {
        "second": [(1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")],
        "byte": [(1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "bytes")],
    }[unit]
    size, name = next((step for step in steps if figure >= step[0]), steps[-1])
    scaled = figure / size
    return f"{scaled:.0f} {name}" if scaled >= 100 or (size, name) == (1.0, "bytes") else f"{scaled:.3g} {name}"
