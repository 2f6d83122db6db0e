"""The lock's protocol (xctx/_lock/protocol.h), step by step, and a search through each order of its steps.

A *unit* runs a program of a few operations, one after the other; units whose row is the same are one process. A step
is one access of the shared memory; so is a loop around a compare-and-swap, because it takes effect at once or not
at all. Where a crash is allowed, a process may die before any step; its registers are gone then, and only what it had
in the shared memory is left. Sleepers do what a futex does. They wake without being woken only where a unit has died:
so without a death, a lost wake-up shows as a state from which nothing goes on.

All accesses but the stores of `mode` are sequentially consistent. With `late`, such a store may reach the memory at any
time before the unit's next access that changes the word or a count, or its death: release order promises no more.

Checked in each state: no unit holds the lock beside a writer, and at most one the upgradable mode; no unit goes on with
what a dead writer left without OwnerDied, and none gets it without a cause; a reader waits for two writers at most.
Checked at the end: all live units have finished and left no trace, and every state leads to such an end.
"""

from dataclasses import dataclass, field

WRITER_SLOT = 0xF
A, K, READERS_SLEEP, WRITERS_SLEEP, DRAINER_SLEEPS, HELPERS_SLEEP, STARVING, P = (1 << bit for bit in range(4, 12))

# What a state is made of. A row is (in, waiting, flags); `CLEANERS` are who clears up each row, or None; what was
# written is `DIRTY` where its writer has died.
WORD, ROWS, DEAD, CLEANERS, DIRTY, CRASHES, PASSES, UNITS = range(8)

# A unit's registers. `PHASE` is that of its try: reader, slot, drain or upgrade. The counters of the lock never come
# round here: what matters of them is whether they have moved since a unit read them, so that is what it has.
# `PENDING` is its announcement that may be passed over, `SEEN` the slot of one that it is about to pass over.
# `LATE` is a row and the mode of it that the unit has stored and nobody else has seen yet, or None.
PC, OP, PHASE, ASLEEP, PATIENT, ADMITTED, AT, COUNTER, BITS, STACK, WAITED, CLEANING, PENDING, SEEN, LATE = range(15)
FRESH = ("next", 0, "", 0, 0, 0, 0, 0, 0, (), 0, None, 0, 0, None)
UNREAD, STILL, MOVED = range(3)  # the wake counter; in `PENDING`, that of the passes
PATIENT_ONCE, STARVES = 1, 2  # how patient

SLEEPS = {"reader": READERS_SLEEP, "slot": WRITERS_SLEEP, "drain": DRAINER_SLEEPS, "upgrade": DRAINER_SLEEPS}
POLLS = {"reader": "reader", "slot": "slot", "drain": "poll readers", "upgrade": "poll readers"}
HOLDS = {"leave": "S", "announce": "U", "held U": "U", "held X": "X", "both U": "U", "both X": "X"}
ENDED = ("done", "dead")


@dataclass
class Model:
    """A lock, and those who use it.

    Attributes:
        programs: of each unit: operations. S, U, X: acquire shared, upgradable or exclusive, then release. XS, XU, US:
            and downgrade before. UX: and upgrade before. With a `t` at the end it may give up instead of sleeping
            (UXt: upgrading); with an `h` a helper sleeps for it, as for a greenlet. G: a helper that sleeps for a
            starving writer which has given up meanwhile.
        rows: of each unit: which row it uses.
        crashes: how many processes may die.
        passes: how often a unit that sleeps may find an announcement not followed up, and pass over it.
        late: whether others see a mode later than it is stored.
        broken: one step that is left out, to see that the search finds what it is there for.
        reached: where the search has been.
    """

    programs: list
    rows: list
    crashes: int = 0
    passes: int = 0
    late: bool = False
    broken: str = ""
    reached: set = field(default_factory=set)

    def start(self):
        count = max(self.rows) + 1
        units = tuple(tuple(self.settle(which, list(FRESH))) for which in range(len(self.programs)))
        return (0, ((0, 0, ""),) * count, (False,) * count, (None,) * count, False, self.crashes, self.passes, units)

    def operation(self, unit, which):
        return self.programs[which][unit[OP]]

    def successors(self, state):
        rows, dead, cleaners, units = state[ROWS], state[DEAD], state[CLEANERS], state[UNITS]
        for which, unit in enumerate(units):
            row = self.rows[which]
            if unit[PC] in ENDED:
                continue
            if unit[LATE] is not None:
                seen = put(units, which, change(unit, LATE, None))
                yield (state[WORD], arrived(rows, unit), *state[DEAD:UNITS], seen)
            if state[CRASHES]:
                # What a process has stored is there before anybody hears of its death.
                left = rows
                for w, u in enumerate(units):
                    left = arrived(left, u) if self.rows[w] == row else left
                dirty = state[DIRTY] or left[row][2] == "X"
                left = rows if self.broken == "what the dead stored is there" else left
                yield (
                    state[WORD],
                    left,
                    put(dead, row, True),
                    tuple(None if who is not None and self.rows[who] == row else who for who in cleaners),
                    dirty,
                    state[CRASHES] - 1,
                    state[PASSES],
                    tuple(change(FRESH, PC, "dead") if self.rows[w] == row else u for w, u in enumerate(units)),
                )
            if unit[ASLEEP] and self.operation(unit, which) == "G":
                yield (*state[:UNITS], put(units, which, change(unit, ASLEEP, 0)))  # it does not sleep for ever
                continue
            if unit[ASLEEP]:
                if (
                    state[PASSES]
                    and unit[PHASE] in ("reader", "slot")
                    and state[WORD] & P
                    and not any(r[0] for r in rows)
                ):
                    awake = change(unit, ASLEEP, 0, PC, "pass")
                    yield (*state[:PASSES], state[PASSES] - 1, put(units, which, awake))
                if any(dead):
                    awake = change(unit, ASLEEP, 0, PC, "look", STACK, (0,))
                    yield (*state[:UNITS], put(units, which, awake))
                if "t" in self.operation(unit, which):
                    late = "last look" if unit[PHASE] == "slot" else "cancel"
                    yield (*state[:UNITS], put(units, which, change(unit, ASLEEP, 0, PC, late)))
                continue
            if (
                unit[PHASE]
                and not unit[COUNTER]
                and unit[PC] == POLLS[unit[PHASE]]
                and "t" in self.operation(unit, which)
            ):
                # Woken, and interrupted before it looks.
                yield (*state[:UNITS], put(units, which, change(unit, PC, "cancel")))
            self.reached.add(unit[PC])
            yield from Step(self, state, which).successors()

    def settle(self, which, unit):
        """Goes on to the next thing that touches something shared."""
        while unit[PC] in ("next", "finished"):
            if unit[PC] == "finished":
                unit[:] = change(FRESH, OP, unit[OP] + 1)
            elif unit[OP] == len(self.programs[which]):
                unit[:] = change(FRESH, PC, "done", OP, unit[OP])
            elif self.operation(unit, which)[0] == "S":
                unit[PC] = "enter"
            elif self.operation(unit, which)[0] == "G":
                unit[PC] = "stale arm"
            else:
                unit[PC] = unit[PHASE] = "slot"
        return unit

    def has_ended(self, state):
        return all(unit[PC] in ENDED for unit in state[UNITS])

    def shown(self, state):
        units = [unit[PC] + ("*" if unit[ASLEEP] else "") for unit in state[UNITS]]
        return f"{state[WORD]:#05x} {state[ROWS]} {units}"

    def wrong(self, state):
        """What must never be, in words, or None."""
        word, rows, dead, _, dirty, _, _, units = state
        held = [HOLDS[unit[PC]] for unit in units if unit[PC] in HOLDS]
        if "X" in held and len(held) > 1:
            return "somebody beside a writer"
        if held.count("U") > 1:
            return "two upgradable holders"
        if dirty and held and not word & K:
            return "what a dead writer left is taken for whole"
        if word & K and not dirty:
            return "told of a death that was none"
        if any(unit[WAITED] > 2 for unit in units):
            return "a reader waits for more than two writers"
        if all(unit[PC] in ENDED for unit in units):
            if any(row != (0, 0, "") for row, gone in zip(rows, dead, strict=True) if not gone):
                return "a row is left in use"
            if word & (A | P | WRITER_SLOT) and not dead[(word & WRITER_SLOT) - 1]:
                return "the slot is left taken"
        return None


class Step:
    """One step of one unit."""

    def __init__(self, model, state, which):
        self.model, self.which = model, which
        self.state, self.unit = list(state), list(state[UNITS][which])
        self.row = model.rows[which]
        self.op = model.operation(self.unit, which)
        self.choices = [None]

    def successors(self):
        getattr(self, "pass_" if self.unit[PC] == "pass" else self.unit[PC].replace(" ", "_"))()
        units = self.state[UNITS]
        if self.unit[PC] == "held X" and units[self.which][PC] not in ("held X", "both X"):
            # A writer more that those who wait to read have seen come.
            units = tuple(change(u, WAITED, u[WAITED] + 1) if u[PHASE] == "reader" else u for u in units)
        units = put(units, self.which, tuple(self.model.settle(self.which, self.unit)))
        for choice in self.choices:
            woken = units if choice is None else put(units, choice, change(units[choice], ASLEEP, 0))
            yield (*self.state[:UNITS], woken)

    # What steps are made of

    def lacks(self, what):
        return self.model.broken == what

    def to(self, pc):
        self.unit[PC] = pc

    def call(self, pc, then):
        self.unit[STACK] = (then, *self.unit[STACK])
        self.unit[PC] = pc

    def back(self):
        self.unit[PC], *rest = self.unit[STACK]
        self.unit[STACK] = tuple(rest)

    def arrive(self):
        """What it has stored is there before what it changes now."""
        if self.unit[LATE] is not None:
            self.state[ROWS] = arrived(self.state[ROWS], self.unit)
            self.unit[LATE] = None

    def store_mode(self, mode, at=None):
        if self.model.late:
            self.arrive()
            self.unit[LATE] = (self.row if at is None else at, mode)
        else:
            self.count(0, flags=mode, at=at)

    def word(self, clear=0, put=0):
        self.arrive()
        before = self.state[WORD]
        self.state[WORD] = before & ~clear | put
        return before

    def count(self, inside, waiting=0, flags=None, at=None):
        self.arrive()
        at = self.row if at is None else at
        was = self.state[ROWS][at]
        new = (was[0] + inside, was[1] + waiting, was[2] if flags is None else flags)
        assert min(new[:2]) >= 0
        self.state[ROWS] = put(self.state[ROWS], at, new)

    def everyone(self, register, value, where):
        self.state[UNITS] = tuple(
            change(u, register, value) if where(w, u) else u for w, u in enumerate(self.state[UNITS])
        )
        if where(self.which, self.unit):
            self.unit[register] = value

    # Readers: xctx_enter, xctx_step_back, xctx_poll_reader

    def enter(self):
        self.count(+1)
        self.to("entered")

    def entered(self):
        if self.state[WORD] & A and not self.lacks("readers mind A"):
            return self.to("step back")
        self.read()

    def read(self):
        self.unit[PHASE] = ""
        self.to("leave")

    def step_back(self):
        self.count(-1, +1)
        self.unit[PHASE], self.unit[ADMITTED] = "reader", 0
        self.left_row("sleep" if self.unit[COUNTER] else "arm")

    def reader(self):
        if self.unit[ADMITTED]:
            return self.read()
        if self.state[WORD] & A:
            return self.to("sleep" if self.unit[COUNTER] else "arm")
        self.to("enter late")

    def enter_late(self):
        if self.unit[ADMITTED]:
            return self.read()
        self.count(+1, -1)
        self.unit[PHASE] = ""
        self.to("entered")

    def leave(self):
        self.count(-1)
        self.left_row("finished")

    def left_row(self, then):
        if self.state[ROWS][self.row][0]:
            return self.to(then)  # a writer waits for empty rows
        self.call("left", then)

    # Writers: xctx_poll_slot, xctx_poll_readers_left, xctx_announce_upgrade

    def slot(self):
        word, patient = self.state[WORD], self.unit[PATIENT]
        if word & WRITER_SLOT or (word & STARVING and patient != STARVES):
            return self.to("sleep" if self.unit[COUNTER] else "arm")
        writes = self.op[0] == "X"
        answers = patient == STARVES or (patient and "h" not in self.op)
        self.word(0, self.row + 1 | (A if writes else 0) | (WRITERS_SLEEP if answers else 0))
        self.unit[PHASE], self.unit[AT], self.unit[COUNTER], self.unit[PATIENT] = "drain", 0, UNREAD, 0
        self.unit[PENDING] = UNREAD
        self.to("drain" if writes else "seated")

    def last_look(self):
        if self.state[WORD] & WRITER_SLOT:
            return self.to("cancel")
        self.unit[PATIENT] = STARVES
        self.slot()

    def poll_readers(self):
        if self.unit[PENDING] == MOVED:
            return self.begin_anew()
        self.to("drain")

    def drain(self):
        rows = self.state[ROWS]
        if self.unit[AT] == len(rows):
            self.to("drained" if self.unit[PENDING] else "seated")
        elif rows[self.unit[AT]][0] and not self.lacks("drain"):
            self.to("begin pending") if not self.unit[PENDING] else self.to("sleep" if self.unit[COUNTER] else "arm")
        else:
            self.unit[AT] += 1

    def begin_pending(self):
        self.word(0, P)
        self.unit[PENDING] = STILL
        self.to("sleep" if self.unit[COUNTER] else "arm")

    def drained(self):
        """xctx_end_pending."""
        if self.unit[PENDING] == MOVED and not self.lacks("who is passed over finds out"):
            return self.begin_anew()
        self.word(P | DRAINER_SLEEPS)
        self.unit[PENDING] = UNREAD
        self.to("seated")

    def begin_anew(self):
        self.unit[PENDING] = UNREAD
        if self.unit[PHASE] == "upgrade":
            return self.to("announce")
        self.unit[PHASE], self.unit[COUNTER] = "slot", UNREAD  # it sleeps for something else by now: another flag
        self.to("slot")

    # One that passes over an announcement: xctx_pass_over

    def pass_(self):
        word = self.state[WORD]
        if not word & P:
            return self.to(POLLS[self.unit[PHASE]])
        self.unit[SEEN] = word & WRITER_SLOT
        self.unit[BITS] = A | P
        if self.state[ROWS][self.unit[SEEN] - 1][2] != "U":
            self.unit[BITS] |= WRITER_SLOT
        self.to("pass over")

    def pass_over(self):
        seen, self.unit[SEEN] = self.unit[SEEN], 0
        without, self.unit[BITS] = self.unit[BITS], 0
        if not self.state[WORD] & P or self.state[WORD] & WRITER_SLOT != seen:
            return self.to(POLLS[self.unit[PHASE]])
        sleepers = READERS_SLEEP | HELPERS_SLEEP | (0 if self.lacks("who is passed over is woken") else DRAINER_SLEEPS)
        sleepers |= WRITERS_SLEEP if without & WRITER_SLOT else 0
        word = self.word(without | sleepers)
        self.everyone(PENDING, MOVED, lambda w, u: u[PENDING])
        self.everyone(SEEN, 0, lambda w, u: u[SEEN])  # to them the word has changed, whoever has the slot now
        self.unit[BITS] = word & (sleepers | (STARVING if without & WRITER_SLOT else 0))
        if self.unit[BITS]:
            return self.call("wake", POLLS[self.unit[PHASE]])
        self.to(POLLS[self.unit[PHASE]])

    def seated(self):
        mode = "U" if self.op[0] == "U" and self.unit[PHASE] != "upgrade" else "X"
        self.store_mode(mode)
        self.unit[PHASE], self.unit[COUNTER], self.unit[AT] = "", UNREAD, 0
        self.to("announce" if mode == "U" and self.op[:2] == "UX" else "held " + mode)

    def announce(self):
        self.word(0, A | P)
        self.unit[PHASE], self.unit[AT], self.unit[PENDING] = "upgrade", 0, STILL
        self.to("drain")

    # Sleeping: xctx_prepare_sleep and the futex

    def arm(self):
        self.unit[COUNTER] = STILL
        self.to("set flag")

    def sleep_flags(self):
        """In the word, and what it sleeps for."""
        hungry = self.unit[PHASE] == "slot" and self.unit[PATIENT] == STARVES
        own = STARVING if hungry else SLEEPS[self.unit[PHASE]]
        return (HELPERS_SLEEP | own & STARVING) if "h" in self.op else own

    def set_flag(self):
        if self.unit[PHASE] == "slot" and self.unit[PATIENT]:
            self.unit[PATIENT] = STARVES
        self.word(0, self.sleep_flags())
        self.to(POLLS[self.unit[PHASE]])

    def sleep(self):
        gate, self.unit[COUNTER] = self.unit[COUNTER], UNREAD
        if gate == STILL or self.lacks("wake counter"):
            self.unit[ASLEEP] = self.sleep_flags()
        self.unit[PATIENT] = max(self.unit[PATIENT], PATIENT_ONCE) if self.unit[PHASE] == "slot" else 0
        self.to(POLLS[self.unit[PHASE]])

    # Waking: xctx_wake, xctx_after_leaving

    def wake(self):
        self.everyone(COUNTER, MOVED, lambda w, u: u[COUNTER])
        self.to("wake starving" if self.unit[BITS] & STARVING else "futex wake")

    def wake_starving(self):
        starving = [w for w, u in enumerate(self.state[UNITS]) if u[ASLEEP] & STARVING]
        if starving:
            self.choices = starving
            self.unit[BITS] &= ~WRITERS_SLEEP
            return self.to("futex wake")
        self.to("end starving")

    def end_starving(self):
        self.word(STARVING)
        self.to("futex wake" if self.lacks("starving writers look again at the end") else "count again")

    def count_again(self):
        self.everyone(COUNTER, MOVED, lambda w, u: u[COUNTER])
        self.to("wake all starving")

    def wake_all_starving(self):
        self.everyone(ASLEEP, 0, lambda w, u: u[ASLEEP] & STARVING)
        self.to("futex wake")

    def futex_wake(self):
        bits = self.unit[BITS] & ~(WRITERS_SLEEP | STARVING)
        self.everyone(ASLEEP, 0, lambda w, u: u[ASLEEP] & bits)
        self.to("wake one")

    def wake_one(self):
        bits, self.unit[BITS] = self.unit[BITS], 0
        self.choices = [w for w, u in enumerate(self.state[UNITS]) if u[ASLEEP] & bits & WRITERS_SLEEP] or [None]
        self.back()

    def left(self):
        word = self.state[WORD]
        if not word & A or not word & (DRAINER_SLEEPS | HELPERS_SLEEP) or self.lacks("who leaves wakes"):
            return self.back()
        self.unit[BITS] = word & (DRAINER_SLEEPS | HELPERS_SLEEP)
        self.to("left helpers" if word & HELPERS_SLEEP else "wake")

    def left_helpers(self):
        self.word(HELPERS_SLEEP)
        self.to("wake")

    # Giving back: xctx_step_down, xctx_admit_readers, xctx_clear_and_wake

    def held_U(self):
        self.down("S" if self.op[:2] == "US" else "")

    def held_X(self):
        if self.state[WORD] & K:
            self.word(K)  # mark_consistent, once it has mended what one who died left
            self.state[DIRTY] = False
            return self.to("held X")
        keep = self.op.strip("th")[1:]
        self.down("U" if self.op[0] == "U" else keep)

    def down(self, keep):
        if keep == "S":
            self.count(+1)  # nothing is held by name until the slot is given up
            return self.to(self.unit[PC].replace("held", "both"))
        self.down_flags(keep)

    def both_U(self):
        self.down_flags("S")

    def both_X(self):
        self.down_flags("S")

    def down_flags(self, keep):
        self.store_mode("U" if keep == "U" else "")
        self.unit[BITS] = A | (0 if keep == "U" else WRITER_SLOT)
        self.unit[AT] = 0
        self.call("admit", {"S": "leave", "U": "held U", "": "finished"}[keep])

    def admit(self):
        at, rows = self.unit[AT], self.state[ROWS]
        if at == len(rows) or self.lacks("admission"):
            self.unit[AT] = 0
            return self.to("clear")
        if rows[at][1]:
            self.count(rows[at][1], -rows[at][1], at=at)
            self.everyone(ADMITTED, 1, lambda w, u: self.model.rows[w] == at and u[PHASE] == "reader")
        self.unit[AT] += 1

    def clear(self):
        clear, self.unit[BITS] = self.unit[BITS], 0
        naps = READERS_SLEEP | HELPERS_SLEEP | (WRITERS_SLEEP if clear & WRITER_SLOT else 0)
        word = self.word(clear | naps | DRAINER_SLEEPS)
        self.unit[BITS] = word & (naps | (STARVING if clear & WRITER_SLOT else 0))
        if self.unit[BITS] and not self.lacks("who clears wakes"):
            return self.to("wake")
        self.unit[BITS] = 0
        self.back()

    # Giving up: xctx_cancel

    def cancel(self):
        phase, self.unit[PHASE] = self.unit[PHASE], ""
        if phase == "reader":
            if self.unit[ADMITTED]:
                return self.to("leave")
            self.count(0, -1)
            return self.to("finished")
        if phase != "slot":
            keep = "U" if phase == "upgrade" else ""
            pending, self.unit[PENDING] = self.unit[PENDING], UNREAD
            if not pending:
                return self.down_flags(keep)
            if pending == MOVED:
                return self.to("held U" if keep else "finished")
            self.word(P | DRAINER_SLEEPS)
            return self.to("cancel upgrade" if keep else "cancel slot")
        if "h" in self.op and self.unit[PATIENT] != STARVES:
            return self.to("finished")  # its helper is woken beside all others
        self.hand_on()

    def cancel_upgrade(self):
        self.down_flags("U")

    def cancel_slot(self):
        self.down_flags("")

    # A helper that nobody needs any more: LocalQueue.help

    def stale_arm(self):
        self.unit[COUNTER] = STILL
        self.to("stale flags")

    def stale_flags(self):
        self.word(0, HELPERS_SLEEP | STARVING)
        self.to("stale sleep")

    def stale_sleep(self):
        gate, self.unit[COUNTER] = self.unit[COUNTER], UNREAD
        if gate == STILL:
            self.unit[ASLEEP] = HELPERS_SLEEP | STARVING
        self.to("hand on")

    def hand_on(self):
        if self.lacks("a stale helper hands on") and self.op == "G":
            return self.to("finished")
        word = self.word(0, WRITERS_SLEEP if self.state[WORD] & WRITER_SLOT else 0)
        if word & WRITER_SLOT or self.lacks("who gives up wakes"):
            return self.to("finished")
        self.unit[BITS] = WRITERS_SLEEP | word & STARVING
        self.call("wake", "finished")

    # After the dead: xctx_look_for_dead, xctx_clean_up_dead_row. On the stack: how far it has looked

    def look(self):
        at, phase = self.unit[STACK][0], self.unit[PHASE]
        rows, dead, cleaners = self.state[ROWS], self.state[DEAD], self.state[CLEANERS]
        if phase in ("drain", "upgrade"):
            at = max(at, self.unit[AT])
            while at < len(rows) and not (rows[at][0] and dead[at] and cleaners[at] is None):
                at += 1
            found, further = at < len(rows), at + 1
        else:
            slot = (self.state[WORD] & WRITER_SLOT) - 1
            found, further = at == 0 and slot >= 0 and dead[slot] and cleaners[slot] is None, 1
            at = slot
        if not found:
            self.unit[STACK] = ()
            return self.to(POLLS[phase])
        self.state[CLEANERS] = put(cleaners, at, self.which)
        self.unit[CLEANING] = at
        self.unit[STACK] = (self.unit[AT], further)
        self.to("clean")

    def clean(self):
        at, word = self.unit[CLEANING], self.state[WORD]
        if word & WRITER_SLOT == at + 1 and word & P and not self.lacks("a dead one's slot is nobody else's"):
            self.word(P)
        else:
            return self.clean_slot()
        self.to("clean slot")

    def clean_slot(self):
        at = self.unit[CLEANING]
        if self.state[WORD] & WRITER_SLOT != at + 1:
            return self.to("clean mode")
        self.unit[BITS], self.unit[AT] = WRITER_SLOT | A, 0
        self.call("admit", "clean mode")
        if self.state[ROWS][at][2] == "X" and not self.lacks("telling"):
            self.to("tell")

    def tell(self):
        self.word(0, K)
        self.to("admit")

    def clean_mode(self):
        self.store_mode("", self.unit[CLEANING])
        self.to("clean readers")

    def clean_readers(self):
        inside, waiting, _ = self.state[ROWS][self.unit[CLEANING]]
        self.count(-inside, -waiting, at=self.unit[CLEANING])
        self.call("left", "cleaned")

    def cleaned(self):
        self.state[CLEANERS] = put(self.state[CLEANERS], self.unit[CLEANING], None)
        self.unit[CLEANING] = None
        self.unit[AT], further = self.unit[STACK]
        self.unit[STACK] = (further,)
        self.to("look")


def arrived(rows, unit):
    """The rows with what a unit has stored."""
    if unit[LATE] is None:
        return rows
    at, mode = unit[LATE]
    return put(rows, at, (*rows[at][:2], mode))


def put(items, index, item):
    return (*items[:index], item, *items[index + 1 :])


def change(unit, *pairs):
    unit = list(unit)
    for at in range(0, len(pairs), 2):
        unit[pairs[at]] = pairs[at + 1]
    return tuple(unit)


class Wrong(AssertionError):
    """The steps that led to something that must never be."""


def search(model, limit=3_000_000):
    """Goes through all states. Gives how many there are.

    Raises:
        Wrong: one of them must never be, or does not lead to an end.
    """
    start = model.start()
    came_from = {start: None}
    back = {start: []}
    ends = []
    todo = [start]
    while todo:
        state = todo.pop()
        fault = model.wrong(state)
        if fault:
            raise Wrong(fault + "\n" + story(model, came_from, state))
        any_step = False
        for after in model.successors(state):
            any_step = True
            if after not in came_from:
                came_from[after] = state
                back[after] = [state]
                todo.append(after)
            else:
                back[after].append(state)
        if model.has_ended(state):
            ends.append(state)
        elif not any_step:
            raise Wrong("nobody goes on\n" + story(model, came_from, state))
        if len(came_from) > limit:
            raise MemoryError(f"more than {limit} states")
    leads = set(ends)
    while ends:
        for before in back[ends.pop()]:
            if before not in leads:
                leads.add(before)
                ends.append(before)
    if len(leads) < len(came_from):
        stuck = next(state for state in came_from if state not in leads)
        raise Wrong("this leads to no end\n" + story(model, came_from, stuck))
    return len(came_from)


def story(model, came_from, state):
    steps = []
    while state is not None:
        steps.append(model.shown(state))
        state = came_from[state]
    return "\n".join(reversed(steps))
