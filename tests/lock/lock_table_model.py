"""How rows of a lock's table come to processes and are used again (xctx/_lock/mapping.c), step by step, for `search`.

Rows get memory as they are needed: the file grows. Each process has one thread. It begins at any time, as a forked
child does, claims a row, reads and writes in turn, gives the row back, and ends. It may be killed before any step.
It may be *lost*: others take it for dead, but it goes on, as on a file system on which a process counts as dead once it
has closed a descriptor. It is lost at moments at which it holds the lock, waits for it, or is about to ask for it; not
between a look at its row and the store that follows, which nothing could prevent from being late.

The lock itself is as simple as can be: units that wait poll, and none lets readers in. lock_model.py has the rest.

Checked in each state, of units that are not lost: none holds the lock beside a writer, and none goes on with what a
dead writer left without OwnerDied. Checked at the end: nothing is left in the rows and in the word, except what the
dead have and no unit had to wait for.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

SLOT, A, K = 0xF, 16, 32
ENDED = ("ended", "dead")
HOLDS = {"reads": "S", "writes": "X"}
# Where a process may be lost.
RESTS = ("begin", "reads", "writes", "wait for writer", "wait for slot", "wait for readers")


class Row(NamedTuple):
    owner: int = 0  # a process, counted from 1; less than 0: it was taken from that one; 0: it is free
    cleaner: int = 0
    inside: int = 0
    mode: str = ""


class Process(NamedTuple):
    pc: str = "unborn"
    op: int = 0
    row: int = -1
    at: int = 0  # how far it has looked
    used: int = 0  # as it was when it read that
    wanted: int = 0  # so many rows are to have memory
    wrapped: bool = False
    lost: bool = False
    target: int = -1  # the row that it cleans up, or wants to,
    owner: int = 0  # whose that was,
    then: str = ""  # and where it goes on afterwards


class State(NamedTuple):
    word: int
    used: int
    hint: int
    memory: int  # so many rows have any,
    reserved: int  # and so many are known to have
    rows: tuple
    processes: tuple
    dirty: bool
    crashes: int
    losses: int


@dataclass
class Table:
    """A table, and the processes that use it.

    Attributes:
        programs: of each process: operations, S to read and X to write.
        rows: how many there are.
        memory: how many of them have memory in the beginning; None for all.
        crashes, losses: how many processes may be killed, and lost.
        broken: one step that is left out, to see that the search finds what it is there for.
        reached: where the search has been.
    """

    programs: list
    rows: int
    crashes: int = 0
    losses: int = 0
    memory: int | None = None
    broken: str = ""
    reached: set = field(default_factory=set)

    def start(self):
        processes = (Process(),) * len(self.programs)
        memory = self.rows if self.memory is None else self.memory
        rows = (Row(),) * self.rows
        return State(0, 0, 0, memory, memory, rows, processes, False, self.crashes, self.losses)

    def has_ended(self, state):
        return all(process.pc in ENDED for process in state.processes)

    def shown(self, state):
        rows = [tuple(row) for row in state.rows]
        return f"{state.word:#04x} {state.used} {rows} {[(p.pc, p.row, p.lost) for p in state.processes]}"

    def successors(self, state):
        for which, process in enumerate(state.processes):
            if process.pc in ENDED:
                continue
            if state.crashes and process.pc != "unborn":
                yield state._replace(
                    crashes=state.crashes - 1,
                    dirty=state.dirty or (process.pc == "writes" and not process.lost),
                    processes=put(state.processes, which, Process("dead")),
                )
            if state.losses and not process.lost and process.pc in RESTS:
                yield state._replace(
                    losses=state.losses - 1,
                    processes=put(state.processes, which, process._replace(lost=True)),
                )
            self.reached.add(process.pc)
            for pc in CHOICES.get(process.pc, (process.pc,)):
                step = Step(self, state, which)
                getattr(step, pc.replace(" ", "_"))()
                yield step.after()

    def wrong(self, state):
        held = [HOLDS[p.pc] for p in state.processes if p.pc in HOLDS and not p.lost]
        if "X" in held and len(held) > 1:
            return "somebody beside a writer"
        if state.used > state.memory or any(row != Row() for row in state.rows[state.memory :]):
            return "a row is used that has no memory"
        if any(row.inside < 0 for row in state.rows):
            return "more have left a row than were in"
        if state.dirty and held and not state.word & K:
            return "what a dead writer left is taken for whole"
        if self.has_ended(state):
            gone = {number for number, p in enumerate(state.processes, 1) if p.pc == "dead" or p.lost}
            for row in state.rows:
                if abs(row.owner) not in gone and (row.owner or row.inside or row.mode):
                    return "a row is left in use"
            slot = state.word & SLOT
            if slot and abs(state.rows[slot - 1].owner) not in gone:
                return "the slot is left taken"
        return None


# Those that wait ask again, or look for the dead.
CHOICES = {
    "wait for writer": ("enter", "look"),
    "wait for slot": ("take", "look"),
    "wait for readers": ("load used", "look"),
    "full": ("claim again", "look"),
}


class Step:
    """One step of one process."""

    def __init__(self, model, state, which):
        self.model, self.state, self.which = model, state, which
        self.me = state.processes[which]
        self.token = which + 1

    def after(self):
        return self.state._replace(processes=put(self.state.processes, self.which, self.me))

    def to(self, pc, **changes):
        self.me = self.me._replace(pc=pc, **changes)

    def row(self, at=None, **changes):
        at = self.me.row if at is None else at
        if changes:
            new = self.state.rows[at]._replace(**changes)
            self.state = self.state._replace(rows=put(self.state.rows, at, new))
        return self.state.rows[at]

    def change(self, **changes):
        self.state = self.state._replace(**changes)

    def lacks(self, what):
        return self.model.broken == what

    def has_row(self):
        return self.row().owner == self.token or self.lacks("who is lost looks at its row")

    def lives(self, token):
        if token < 0:
            return False
        process = self.state.processes[token - 1]
        return process.pc != "dead" and not process.lost

    # take_free_row

    def unborn(self):
        if self.lacks("a child has a row of its own") and self.which and self.state.processes[0].row >= 0:
            return self.to("begin", row=self.state.processes[0].row)  # its parent's
        self.to("claim", at=self.state.hint)

    def claim(self):
        at = self.me.at
        if at == len(self.state.rows):
            return self.to("full") if self.me.wrapped else self.to("claim", at=0, wrapped=True)
        if at >= self.state.reserved:
            return self.to("reserve", wanted=min(2 * self.state.reserved, len(self.state.rows)))
        if self.row(at).owner and not self.lacks("rows have one owner"):
            return self.to("claim", at=at + 1)
        self.row(at, owner=self.token)
        self.to("grow", row=at, at=0)

    def reserve(self):
        if not self.lacks("rows get memory before they are used"):
            self.change(memory=max(self.state.memory, self.me.wanted))
        self.to("say reserved")

    def say_reserved(self):
        # Another process may have reserved more meanwhile.
        self.change(reserved=max(self.state.reserved, self.me.wanted))
        self.to("claim", wanted=0)

    def claim_again(self):
        self.to("claim", at=0)

    def grow(self):
        if not self.lacks("a row is counted before its first use"):
            self.change(used=max(self.state.used, self.me.row + 1))
        self.to("hint")

    def hint(self):
        self.change(hint=self.me.row + 1)
        self.to("begin")

    # Reading

    def begin(self):
        if self.me.op == len(self.model.programs[self.which]):
            self.to("give row back")
        elif self.me.lost and not self.lacks("who is lost looks at its row"):
            self.to("give row back", op=len(self.model.programs[self.which]))  # it is told
        else:
            self.to("enter" if self.model.programs[self.which][self.me.op] == "S" else "take")

    def enter(self):
        if self.me.lost and self.lost_while_it_waits():
            return
        self.row(inside=self.row().inside + 1)
        self.to("entered")

    def entered(self):
        self.to("step back" if self.state.word & A else "reads")

    def step_back(self):
        self.row(inside=self.row().inside - 1)
        self.to("wait for writer")

    def reads(self):
        if self.has_row():
            self.row(inside=self.row().inside - 1)
        self.next()

    def next(self):
        self.to("begin", op=self.me.op + 1, at=0)

    # Writing

    def take(self):
        if self.me.lost and self.lost_while_it_waits():
            return
        if self.state.word & SLOT:
            return self.to("wait for slot")
        self.change(word=self.state.word | self.me.row + 1 | A)
        self.to("load used", at=0)

    def load_used(self):
        if self.me.lost and self.lost_while_it_waits():
            return
        self.to("scan", used=self.state.used)

    def scan(self):
        at = self.me.at
        if at >= self.me.used:
            self.to("seat")
        else:
            self.to("wait for readers") if self.row(at).inside else self.to("scan", at=at + 1)

    def seat(self):
        self.row(mode="X")
        self.to("writes")

    def writes(self):
        if self.state.word & K and not self.me.lost:
            self.change(word=self.state.word & ~K, dirty=False)  # mark_consistent, once it has mended what was left
            return
        if not self.has_row():
            return self.next()  # it is told
        self.row(mode="")
        self.to("clear")
        if self.me.lost:
            self.clear()

    def clear(self):
        self.change(word=self.state.word & ~(SLOT | A))
        self.next()

    def lost_while_it_waits(self):
        if self.lacks("who is lost looks at its row"):
            return False
        if self.row().owner == self.token and self.state.word & SLOT == self.me.row + 1:
            self.change(word=self.state.word & ~(SLOT | A))
        self.to("give row back", op=len(self.model.programs[self.which]))  # it is told
        return True

    # xctx_unclaim_row

    def give_row_back(self):
        if self.row().owner == self.token:
            self.row(owner=0)
            if not self.me.lost:
                return self.to("free again", target=self.me.row)
        self.to("ended")

    def free_again(self):
        self.change(hint=min(self.state.hint, self.me.target))
        self.to("ended")

    # xctx_look_for_dead, clean_up_if_dead

    def look(self):
        pc = self.me.pc
        if pc == "wait for readers":
            in_the_way = [at for at in range(self.me.at, self.me.used) if self.row(at).inside]
        elif pc == "full":
            in_the_way = range(len(self.state.rows))
        else:
            in_the_way = [(self.state.word & SLOT) - 1] if self.state.word & SLOT else []
        for at in in_the_way:
            owner = self.row(at).owner
            if owner and owner != self.token and not self.lives(owner):
                return self.to("become cleaner", target=at, owner=owner, then=pc)

    def become_cleaner(self):
        before = self.row(self.me.target).cleaner
        if before and self.lives(before):
            return self.to(self.me.then)
        self.row(self.me.target, cleaner=self.token)
        self.to("owner again")

    def owner_again(self):
        now = self.row(self.me.target).owner
        if now != self.me.owner and not self.lacks("cleaners look at the owner again"):
            return self.to("cleaned")
        if not self.lacks("the row is taken first"):
            self.row(self.me.target, owner=-abs(now))
        self.to("clean slot")

    def clean_slot(self):
        owner = self.state.processes[abs(self.me.owner) - 1]
        if owner.pc == "writes" and owner.row == self.me.target:  # it was lost while it wrote
            self.change(dirty=True)
        if self.state.word & SLOT != self.me.target + 1:
            return self.to("clean mode")
        self.to("tell" if self.row(self.me.target).mode == "X" else "give slot up")

    def tell(self):
        self.change(word=self.state.word | K)
        self.to("give slot up")

    def give_slot_up(self):
        self.change(word=self.state.word & ~(SLOT | A))
        self.to("clean mode")

    def clean_mode(self):
        self.row(self.me.target, mode="")
        self.to("clean readers")

    def clean_readers(self):
        self.row(self.me.target, inside=0)
        self.to("free")

    def free(self):
        self.row(self.me.target, owner=0)
        self.to("lower hint")

    def lower_hint(self):
        self.change(hint=min(self.state.hint, self.me.target))
        self.to("cleaned")

    def cleaned(self):
        self.row(self.me.target, cleaner=0)
        self.to(self.me.then, target=-1, owner=0, then="")


def put(items, index, item):
    return (*items[:index], item, *items[index + 1 :])
