"""Awaiting objects that only the interpreter can await, such as the generators of types.coroutine."""

from collections.abc import Awaitable
from typing import Any


async def awaiting(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
