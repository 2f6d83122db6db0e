from typing import final

@final
class Binding: ...

@final
class CopyGroup: ...
