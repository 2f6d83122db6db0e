"""One process of a run: measures the cases it is told, and writes a line of JSON for each. Started by the runner.

It reads {"titles": [...], "turns": int, "seconds": float, "loops": {title: {contender: int}}, "without": [...]}.
"""

import json
import random
import sys

from benchmarks import harness, rooms


def main():
    told = json.loads(sys.stdin.readline())
    # The pipe is for results alone, whatever a peer may print.
    results, sys.stdout = sys.stdout, sys.stderr
    rooms.forbid(told["without"])
    gil = harness.no_gil()
    random.seed(0)
    by_title = {case.title: case for case in rooms.cases()}
    for title in told["titles"]:
        print(json.dumps({"begins": title}), file=results, flush=True)
        case = by_title[title]
        measured = harness.measured(case, told["turns"], told["seconds"], told["loops"].get(title))
        print(json.dumps({"title": title, **measured}), file=results, flush=True)
        if gil != harness.no_gil():
            raise RuntimeError(f"the GIL was switched on in {title!r}")


if __name__ == "__main__":
    main()
