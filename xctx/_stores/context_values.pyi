from typing import final

@final
class ContextValues: ...
