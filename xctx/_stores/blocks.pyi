from typing import final

from typing_extensions import disjoint_base

def track(on: bool) -> None: ...

@disjoint_base
class BindingVariable: ...

@final
class BoundEntry: ...
