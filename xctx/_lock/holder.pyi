from typing import Literal

from typing_extensions import disjoint_base

@disjoint_base
class Holder(tuple[Literal["shared", "upgradable", "exclusive"], int, int, int]):
    """A holder of a lock: (mode, pid, the kernel's number of the thread, how many units).

    Thread-safety: it does not change once it is in the list.
    """

    interpreter: int
