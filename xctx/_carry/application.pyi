from typing import final

@final
class Application: ...
