from typing import final

from typing_extensions import disjoint_base

def track(on: bool) -> None: ...

@disjoint_base
class BindingVariable: ...

@final
class BoundEntry: ...

@final
class Errands:
    def __call__(self, address: int, reference: object) -> None: ...

def set_transparent(mark: object) -> None: ...
