from typing import final

from typing_extensions import disjoint_base

@disjoint_base
class BindingVariable: ...

@final
class Errands:
    def __call__(self, address: int, reference: object) -> None: ...
