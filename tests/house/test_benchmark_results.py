"""What is drawn from the figures of a benchmark: ratios, files, charts, and what got slower. On made-up figures."""

import random
import re
import sys
import xml.etree.ElementTree
from pathlib import Path

import pytest

pytest.importorskip("pyperf")
ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))

from benchmarks import chart, compare, harness, report, results  # noqa: E402
from benchmarks.results import Result, Series  # noqa: E402

ABOUT = {"interpreter": "CPython 3.99", "peer_wrapt": "9.9", "platform": "Linux x86_64", "cpu_count": 2}
NS = 1e-9


def noisy(middle, spread, seed, processes=8, turns=9):
    rand = random.Random(seed)
    return [[middle * (1 + rand.gauss(0, spread)) for _ in range(turns)] for _ in range(processes)]


def made(own, peer=100 * NS, spread=0.01, seed=1, name="reading", **fields):
    """A Result of xctx and a peer, whose figures are about these."""
    series = [Series("xctx", noisy(own, spread, seed))]
    if peer is not None:
        series.append(Series("peer", noisy(peer, spread, seed + 1000)))
    return Result("made up", name, series=series, **fields)


# Ratios


def test_a_ratio_is_taken_turn_by_turn():
    # The machine is three times as slow for half of the run, so the median of each side alone could be of either half.
    own = Series("xctx", [[10, 10, 10, 30], [30, 30, 10, 10]])
    peer = Series("peer", [[20, 20, 20, 60], [60, 60, 20, 20]])
    ratio = results.ratio(own, peer)
    assert (ratio.value, ratio.spread, ratio.low, ratio.high) == (0.5, 0, 0.5, 0.5)


def test_a_wild_turn_moves_neither_ratio_nor_spread_much():
    own = Series("xctx", [[10.0, 10.1, 9.9, 10.2, 9.8, 5000.0]])
    peer = Series("peer", [[10.0] * 6])
    ratio = results.ratio(own, peer)
    assert ratio.value == pytest.approx(1.005)
    assert ratio.spread < 0.05
    assert own.outliers() == 1
    assert peer.outliers() == 0


def test_the_spread_is_the_standard_deviation_of_what_is_normal():
    middle, sigma = results.centre(noisy(1.0, 0.05, 3, 1, 10_000)[0])
    assert middle == pytest.approx(1, abs=0.005)
    assert sigma == pytest.approx(0.05, rel=0.05)


def test_one_turn_is_enough_for_a_ratio():
    assert results.ratio(Series("xctx", [[2.0]]), Series("peer", [[4.0]])) == results.Ratio(0.5, 0, 0.5, 0.5)


# Files


def test_a_result_is_read_back_as_it_was_written(tmp_path):
    first = made(20 * NS)
    first.own.warmups, first.own.loops, first.own.inner = [NS] * 8, [7] * 8, 10
    first.peers()[0].target, first.peers()[0].reference = 0.5, True
    second = Result("made up", "memory", "byte", "", [Series("xctx", [[10], [12]])])
    third = Result("served", "page", "second", "requests", [Series("xctx", [[0.1], [0.2]])])
    results.save([first, second, third], tmp_path / "a.json", ABOUT)
    found, about = results.load(tmp_path / "a.json")
    # A series without loops is one of one loop.
    for result in (first, second, third):
        for series in result.series:
            series.loops = series.loops or [1] * len(series.runs)
    assert found == [first, second, third]
    assert {name: about[name] for name in ABOUT} == ABOUT


@pytest.mark.parametrize("text", ["", "{}", '{"cases": []}', '{"version": "1.0", "benchmarks": []}'])
def test_what_is_no_result_is_told(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=r"a\.json is no result file"):
        results.load(tmp_path / "a.json")


def test_a_result_of_another_program_is_told(tmp_path):
    import pyperf

    run = pyperf.Run([1.0], metadata={"name": "other"}, collect_metadata=False)
    pyperf.BenchmarkSuite([pyperf.Benchmark([run])]).dump(str(tmp_path / "a.json"))
    with pytest.raises(ValueError, match="'other' has no 'group': not written by this runner"):
        results.load(tmp_path / "a.json")


# What got slower


@pytest.fixture
def compared(tmp_path, capsys):
    """compared(old, new, *options): (exit status, stdout, stderr) of the script."""

    def run(old, new, *options):
        for name, found in (("old", old), ("new", new)):
            results.save(found, tmp_path / f"{name}.json", ABOUT)
        status = compare.main([str(tmp_path / "old.json"), str(tmp_path / "new.json"), *options])
        return status, *capsys.readouterr()

    return run


def test_what_got_slower_is_named(compared):
    status, stdout, _ = compared(
        [made(20 * NS), made(20 * NS, name="writing", seed=5)],
        [made(30 * NS, seed=2), made(20 * NS, name="writing", seed=6)],
    )
    assert status == 1
    (line,) = [line for line in stdout.splitlines() if line.startswith("slower")]
    assert re.match(r"slower +made up: reading +1\.[45]\d times \(1\.[45]\d to 1\.[45]\d\) beside peer$", line)
    assert "2 cases: 1 worse, 0 unsure, 1 the same" in stdout


def test_the_same_is_no_slower(compared):
    for seed in range(50):
        status, stdout, _ = compared([made(20 * NS, spread=0.05)], [made(20 * NS, spread=0.05, seed=seed + 2)])
        assert status == 0, stdout


def test_what_may_be_noise_is_no_alarm(compared):
    old, new = made(20 * NS, spread=0.02), made(23 * NS, spread=0.02, seed=2)
    for result, seed in ((old, 11), (new, 12)):
        # Processes differ far more than the turns of each.
        for run, factor in zip(result.own.runs, noisy(1, 0.25, seed, 1, 8)[0], strict=True):
            run[:] = [value * factor for value in run]
    status, stdout, _ = compared([old], [new], "--threshold", "1.01")
    assert status == 0, stdout


@pytest.mark.parametrize(("processes", "wanted"), [(1, 0), (2, 0), (8, 1)])
def test_many_turns_of_few_processes_do_not_make_it_sure(compared, processes, wanted):
    sides = []
    for middle in (20, 26):
        # Processes differ a little, the turns of one hardly.
        factors = noisy(middle * NS, 0.02, middle, 1, processes)[0]
        runs = [[factor * value for value in noisy(1, 0.001, 3, 1, 500)[0]] for factor in factors]
        sides.append([Result("made up", "reading", series=[Series("xctx", runs)])])
    status, stdout, _ = compared(*sides)
    assert status == wanted
    assert ("slower" if wanted else "unsure") in stdout.splitlines()[1]


def test_one_disturbed_process_hides_nothing(compared):
    old, new = made(20 * NS, None), made(30 * NS, None, seed=2)
    new.own.runs[3] = [value * 4 for value in new.own.runs[3]]
    assert compared([old], [new])[0] == 1


def test_three_sigma_are_more_where_less_was_measured():
    # The table, and the expansion that goes on where it ends.
    factors = [compare.three_sigma(freedom) for freedom in range(40)]
    assert factors == sorted(factors, reverse=True)
    assert factors[14] == pytest.approx(3.64, abs=0.03)
    assert factors[30] == pytest.approx(3.27, abs=0.01)


def test_a_slower_machine_is_no_slower_library(compared):
    both = [made(20 * NS)], [made(40 * NS, 200 * NS, seed=2)]
    assert compared(*both)[0] == 0
    status, stdout, _ = compared(*both, "--absolute")
    assert status == 1
    assert "by the clock" in stdout


def test_xctx_elsewhere_is_no_ruler(compared):
    old, new = made(20 * NS), made(40 * NS, 200 * NS, seed=2)
    for result in (old, new):
        result.peers()[0].name = "xctx, one thread"
    status, stdout, _ = compared([old], [new])
    assert status == 1
    assert "by the clock" in stdout


def test_only_peers_of_both_results_are_the_ruler():
    old, new = made(20 * NS), made(20 * NS, seed=2)
    new.series.append(Series("newcomer", noisy(NS, 0.01, 3)))
    assert compare.change(old, new).ruler == ("peer",)
    assert compare.change(old, new).factor == pytest.approx(1, rel=0.02)


def test_what_got_faster_is_told_too(compared):
    status, stdout, _ = compared([made(20 * NS)], [made(10 * NS, seed=2)])
    assert status == 0
    assert re.search(r"^faster +made up: reading +0\.\d+ times", stdout, re.MULTILINE)


@pytest.mark.parametrize(("new", "word", "wanted"), [(1500, "bigger", 1), (500, "smaller", 0)])
def test_memory_counts_as_time_does(compared, new, word, wanted):
    status, stdout, _ = compared([made(1000, None, unit="byte")], [made(new, None, seed=2, unit="byte")])
    assert status == wanted
    assert re.search(rf"^{word} +made up: reading", stdout, re.MULTILINE)


def test_the_threshold_is_the_callers(compared):
    both = [made(20 * NS)], [made(30 * NS, seed=2)]
    assert compared(*both, "--threshold", "2")[0] == 0
    assert compared(*both, "--threshold", "1.2")[0] == 1


@pytest.mark.parametrize("text", ["0.9", "nan", "much"])
def test_a_threshold_below_one_is_refused(text, capsys):
    with pytest.raises(SystemExit) as exit:
        compare.main(["a", "b", "--threshold", text])
    assert exit.value.code == 2
    assert "--threshold" in capsys.readouterr().err


def test_cases_that_came_and_went_are_told(compared):
    status, stdout, _ = compared(
        [made(20 * NS), made(20 * NS, name="old one")], [made(20 * NS), made(20 * NS, name="new one")]
    )
    assert status == 0
    assert "gone    made up: old one" in stdout
    assert "new     made up: new one" in stdout


def test_results_without_a_common_case_cannot_be_compared(compared):
    status, _, stderr = compared([made(20 * NS)], [made(20 * NS, name="other")])
    assert (status, stderr) == (2, "the two results have no case in common\n")


def test_files_that_cannot_be_read_are_told(tmp_path, capsys):
    assert compare.main([str(tmp_path / "none.json"), str(tmp_path / "none.json")]) == 2
    assert "none.json" in capsys.readouterr().err


# Charts and tables


@pytest.fixture
def shown():
    """Results with all that a chart has to show: faster, slower, a measuring rod, memory, letters that need escapes."""
    faster, slower = made(10 * NS, 1000 * NS), made(50 * NS, 10 * NS, name="writing <&> `a` __slots__ *", seed=4)
    slower.series.append(Series("floor", noisy(5 * NS, 0.01, 9), reference=True))
    served = Result("served", "page", "second", "requests", [Series("xctx", [[1e-3]]), Series("peer", [[2e-3]])])
    memory = Result("grown", "memory", "byte", "", [Series("xctx", [[500]]), Series("peer", [[5_800_000]])])
    alone = Result("alone", "nobody beside", series=[Series("xctx", [[NS]])])
    return [faster, slower, served, memory, alone]


def drawn(rows):
    svg = chart.svg(rows, "How many? (CPython 3.99 <t>)", "Log scale.")
    return xml.etree.ElementTree.fromstring(svg)


def elements(tree, name):
    return tree.findall(f".//{{http://www.w3.org/2000/svg}}{name}")


def test_a_chart_is_well_formed_and_names_the_interpreter(shown):
    for rows in (chart.summary_rows(shown), chart.case_rows(shown)):
        texts = [text.text for text in elements(drawn(rows), "text")]
        assert "How many? (CPython 3.99 <t>)" in texts
        assert [label for label, _ in rows] == [text for text in texts if text in {label for label, _ in rows}]


def test_bars_go_right_where_xctx_is_faster_and_left_where_it_is_slower(shown):
    tree = drawn(chart.case_rows(shown))
    lines = [line for line in elements(tree, "line") if line.get("stroke") == "black"]
    one = float(lines[0].get("x1"))
    bars = [bar for bar in elements(tree, "rect") if bar.get("fill") != "white"]
    colours = [bar.get("fill") for bar in bars]
    assert colours == [chart.FASTER, chart.SLOWER, chart.ROD, chart.FASTER, chart.FASTER]
    for bar in bars:
        left, right = float(bar.get("x")), float(bar.get("x")) + float(bar.get("width"))
        assert (left == pytest.approx(one, abs=0.2)) == (bar.get("fill") == chart.FASTER)
        assert (right == pytest.approx(one, abs=0.2)) == (bar.get("fill") != chart.FASTER)
    width = float(tree.get("width"))
    assert all(0 <= float(bar.get("x")) <= width - float(bar.get("width")) for bar in bars)


def test_the_scale_is_logarithmic():
    rows = [(str(times), (times, times, times, False)) for times in (10.0, 100.0, 1000.0)]
    ten, hundred, thousand = (float(bar.get("width")) for bar in elements(drawn(rows), "rect")[1:])
    assert hundred == pytest.approx(2 * ten, abs=0.2)
    assert thousand == pytest.approx(3 * ten, abs=0.2)


def test_a_summary_is_the_geometric_mean_of_peers_only(shown):
    rows = dict(row for row in chart.summary_rows(shown) if row[1])
    mean, least, most, _ = rows["peer (2 cases)"]
    assert mean == pytest.approx((100 * 0.2) ** 0.5, rel=0.02)
    assert (least, most) == (pytest.approx(0.2, rel=0.02), pytest.approx(100, rel=0.02))
    assert not any("floor" in label for label in rows)
    assert rows["peer, memory"][0] == pytest.approx(5_800_000 / 500)


def test_a_chart_of_nothing_is_still_one():
    assert drawn([]).get("width")


def test_a_table_has_a_row_for_each_peer(shown):
    text = report.table(shown, ABOUT)
    rows = re.findall(r"^   \* - .*(?:\n     -.*){4}$", text, re.MULTILINE)
    assert len(rows) == 1 + 6
    assert text.startswith(".. list-table:: CPython 3.99")
    assert "made up: writing <&> \\`a\\` \\_\\_slots\\_\\_ \\*" in text
    assert "1,000 requests/s" in text
    assert "5.8 MB" in text
    assert "wrapt 9.9" in text


def test_what_is_written_lies_where_the_readme_looks(shown, tmp_path):
    report.write(shown, ABOUT, tmp_path, harness.tag())
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"{harness.tag()}{end}" for end in (".rst", ".svg", "-cases.svg")}
    (image,) = re.findall(r"image:: benchmarks/results/(\S+)", (ROOT / "README.rst").read_text())
    assert re.fullmatch(r"cpython-3\.\d+t?\.svg", image)


def test_the_report_is_made_again_from_the_file(shown, tmp_path, capsys):
    results.save(shown, tmp_path / "a.json", ABOUT)
    assert report.main([str(tmp_path / "a.json")]) == 0
    assert (tmp_path / "a.rst").read_text() == report.table(shown, ABOUT)
    assert "unsteady" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("figure", "unit", "rate", "text"),
    [
        (23.44e-9, "second", "", "23.4 ns"),
        (4.1e-6, "second", "", "4.1 µs"),
        (250e-6, "second", "", "250 µs"),
        (2.5, "second", "", "2.5 s"),
        (1e-12, "second", "", "0.001 ns"),
        (1 / 2310, "second", "requests", "2,310 requests/s"),
        (208, "byte", "", "208 bytes"),
        (5800, "byte", "", "5.8 kB"),
        (1.26e9, "byte", "", "1.26 GB"),
    ],
)
def test_figures_are_told_as_people_read_them(figure, unit, rate, text):
    assert results.told(figure, unit, rate) == text
