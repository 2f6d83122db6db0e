from typing import final

@final
class Block: ...

@final
class OpenByHand: ...

@final
class EnterExit: ...
