"""What a type checker sees of a proxy: the target. It also runs."""

import contextlib
from contextvars import ContextVar
from typing import Any, assert_type

from xctx import LocalProxy, LocalWrapper, is_proxy, unwrap


class Request:
    path: str = "/"

    def get(self, n: int) -> bytes:
        return bytes(n)


def current() -> Request:
    return Request()


variable: ContextVar[Request] = ContextVar("variable")
variable.set(Request())

request = LocalProxy(variable)
assert_type(request, Request)
assert_type(request.path, str)
assert_type(request.get(1), bytes)
declared: Request = LocalProxy(variable, unbound_message="outside of a request")
assert_type(LocalProxy(current), Request)
assert_type(LocalProxy(Request), Request)
assert_type(unwrap(request), Request)
assert_type(is_proxy(request), bool)

path: str = LocalProxy(variable, "path")
assert_type(LocalProxy(variable, "path"), Any)
assert_type(LocalProxy(object(), "a.b"), Any)
wrong: int = LocalProxy(variable)  # type: ignore[assignment]

wrapper = LocalWrapper([1, 2])
assert_type(wrapper, list[int])
assert_type(wrapper[0], int)
assert_type(LocalWrapper({"a": 1.5})["a"], float)
assert_type(LocalWrapper(wrapped=Request()), Request)
assert_type(LocalWrapper.lazy(Request), Request)
assert_type(LocalWrapper.lazy(lambda: [1]), list[int])
with contextlib.suppress(TypeError):
    len(LocalWrapper(5))  # type: ignore[arg-type]


class Mine(LocalWrapper[list[int]]):
    def total(self) -> int:
        return sum(self.wrapped)


class MyProxy(LocalProxy[Request]):
    def again(self) -> Request:
        return self._get_current_object()


def announced(proxy: LocalProxy[Request], wrapper: LocalWrapper[Request]) -> None:
    assert_type(proxy._get_current_object(), Request)
    assert_type(wrapper.wrapped, Request)
