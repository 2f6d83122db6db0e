"""A site of Django's in one process: middleware that binds, and a view below it that looks."""

import asyncio

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.test import AsyncRequestFactory, RequestFactory, override_settings
from django.urls import path
from helpers.django import set_up

set_up()

binds = None  # what the middleware runs the rest inside, a function giving a context manager
looks = None  # what the view calls
seen = []


def plain_view(request):
    seen.append(looks())
    return HttpResponse()


async def coroutine_view(request):
    seen.append(looks())
    return HttpResponse()


urlpatterns = [path("plain", plain_view), path("coroutine", coroutine_view)]


def plain_middleware(get_response):
    def middleware(request):
        with binds():
            return get_response(request)

    return middleware


class CoroutineMiddleware:
    sync_capable = False
    async_capable = True

    def __init__(self, get_response):
        assert iscoroutinefunction(get_response)
        self.get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request):
        with binds():
            return await self.get_response(request)


MIDDLEWARE = {"plain": f"{__name__}.plain_middleware", "coroutine": f"{__name__}.CoroutineMiddleware"}


def ask(under, middleware, view, bound, read):
    """What `read` gives in that view while `bound` is entered in that middleware."""
    global binds, looks
    binds, looks = bound, read
    with override_settings(MIDDLEWARE=[MIDDLEWARE[middleware]], ROOT_URLCONF=__name__):
        if under == "WSGI":
            response = WSGIHandler().get_response(RequestFactory().get(f"/{view}"))
        else:
            response = asyncio.run(ASGIHandler().get_response_async(AsyncRequestFactory().get(f"/{view}")))
    assert response.status_code == 200, response.content
    return seen.pop()
