from typing import final

@final
class Application:
    def __call__(self, _reference: object) -> None: ...

@final
class Repeatable: ...
