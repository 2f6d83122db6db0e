"""How much of each law a run of the tests tries.

``XCTX_EFFORT`` is one of

quick    what `make test` runs: every law, with fewer examples, shorter stress, and large families of parameters sampled
full     what `make test-full`, `make test-all` and `.ci/run` run: everything

and these go further, with either effort:

XCTX_EXAMPLES=10             ten times as many examples of hypothesis, new ones at each run (the nightly workflow)
XCTX_STRESS_SECONDS=30       each stress test takes so long (`make stress`)
XCTX_STRESS_KILLS=10000      so many processes that use locks are killed (`make stress`)
XCTX_STRESS_PROCESSES=2000   so many processes, each of ten threads, hold one lock at a moment (`make stress`)

A test says what it leaves out of the quick run: `sized(quick, full)` for a number, `examples(usual)` for hypothesis,
`STRESS_SECONDS` for a loop, and the markers `thorough` (not in the quick run at all) and `sampled` (each value of each
parameter once, rather than with each value of the others).
"""

import os

EFFORT = os.environ.get("XCTX_EFFORT") or "quick"
if EFFORT not in {"quick", "full"}:
    raise ValueError(f"XCTX_EFFORT is {EFFORT!r}: use 'quick' or 'full'")
FULL = EFFORT == "full"

# By how much the usual number of examples is multiplied. If this is set, hypothesis draws new examples at each run, as
# in the nightly workflow; if not, they are the same at each run, so that `make test` gives the same result twice.
EXAMPLES = os.environ.get("XCTX_EXAMPLES")


def sized(quick, full):
    """`quick` in the quick run, `full` in the full one."""
    return full if FULL else quick


def examples(usual):
    """How many examples hypothesis tries: `usual` in a full run, fewer in a quick one, more with XCTX_EXAMPLES."""
    if EXAMPLES:
        return usual * int(EXAMPLES)
    return sized(max(usual // 4, 5), usual)


STRESS_SECONDS = float(os.environ.get("XCTX_STRESS_SECONDS") or sized(0.2, 2))
STRESS_KILLS = int(os.environ.get("XCTX_STRESS_KILLS") or sized(30, 500))
STRESS_PROCESSES = int(os.environ.get("XCTX_STRESS_PROCESSES") or sized(20, 200))
# Programs that tests start read it too.
os.environ["XCTX_STRESS_SECONDS"] = str(STRESS_SECONDS)


def load_hypothesis_profile():
    from hypothesis import HealthCheck, settings

    # No limit on the time of one example: the machine may be busy.
    common = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow], "max_examples": examples(100)}
    settings.register_profile("same", derandomize=True, database=None, **common)
    settings.register_profile("nightly", derandomize=False, print_blob=True, **common)
    settings.load_profile("nightly" if EXAMPLES else "same")


# --- what the markers mean --------------------------------------------------------------------------------------------


def left_out(items, full=FULL):
    """The set of those collected items that the run leaves out: none in the full run."""
    if full:
        return set()
    found = {item for item in items if item.get_closest_marker("thorough")}
    families = {}
    for item in items:
        if item.get_closest_marker("sampled") and hasattr(item, "callspec") and item not in found:
            families.setdefault((item.parent, item.originalname), []).append(item)
    for family in families.values():
        # Parameters are compared by identity, which all items of a family share: some have no equality of their own.
        kept = sample([{(name, id(value)) for name, value in item.callspec.params.items()} for item in family])
        found |= {item for number, item in enumerate(family) if number not in kept}
    return found


def sample(choices):
    """Chooses a few of these sets that together have every element, and gives their indices.

    It is a greedy cover, the same at each run: at each step the set with most of the missing elements is taken, and
    among equals the one whose elements were taken least often.
    """
    missing = set().union(*choices)
    times = dict.fromkeys(missing, 0)
    taken = set()

    def gain(number):
        return len(choices[number] & missing), -sum(times[element] for element in choices[number])

    while missing:
        best = max(range(len(choices)), key=gain)
        taken.add(best)
        missing -= choices[best]
        for element in choices[best]:
            times[element] += 1
    return taken
