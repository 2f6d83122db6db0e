from typing import final

@final
class VariableLayer: ...
