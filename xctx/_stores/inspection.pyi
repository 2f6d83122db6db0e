from typing import Any

from xctx._core import Unit
from xctx._stores.local import local

def stores_of(unit: Unit) -> list[tuple[local, dict[str, Any]]]: ...
def units_of(store: local) -> list[tuple[Unit, dict[str, Any]]]: ...
