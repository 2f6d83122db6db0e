"""How much longer an interpreter takes to start when it imports xctx: `python benchmarks/import_time.py [STARTS]`.

Bare starts and importing ones alternate, so that what else the machine does falls on both alike; the medians are
compared. Ends with 1 when the import costs more than the limit.
"""

import statistics
import subprocess
import sys
import time

LIMIT = 15.0  # milliseconds


def start(code: str) -> float:
    """Milliseconds that an interpreter takes to start, run the code and stop."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-I", "-c", code], check=True)
    return (time.perf_counter() - begin) * 1000


def main(starts: int = 60) -> int:
    start("import xctx")  # once for the byte code and the file cache
    pairs = [(start("pass"), start("import xctx")) for _ in range(starts)]
    bare, importing = (statistics.median(times) for times in zip(*pairs, strict=True))
    cost = importing - bare
    print(f"start {bare:.1f} ms, with xctx {importing:.1f} ms: import {cost:.1f} ms (at most {LIMIT:.0f})")
    return cost > LIMIT


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
