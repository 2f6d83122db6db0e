from typing import final

@final
class Application:
    def __call__(self, reference: object, /) -> None: ...

@final
class Repeatable: ...
