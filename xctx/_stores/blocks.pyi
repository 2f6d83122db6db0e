from typing import final

from typing_extensions import disjoint_base

@disjoint_base
class BindingVariable: ...

@final
class BoundEntry: ...

def set_transparent(mark: object) -> None: ...
